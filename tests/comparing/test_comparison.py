"""Two folders side by side."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from capsbench.comparing import compare
from capsbench.comparing.comparison import Comparison
from capsbench.comparing.formats import changes_readable, summary_of
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.records.record import Measurement, Row
from capsbench.records.store import Store
from capsbench.stats.differences import paired_seeds
from tests.comparing.records import SEEDS, cell, keep_predictions, record, write
from tests.making import make_failed, make_record, with_rows

SCORES = {0: 0.90, 1: 0.92, 2: 0.91, 3: 0.93, 4: 0.92}


def five(**changes):
    """Five seeds of one contender; ``accuracy`` changes what each scored."""
    change = changes.pop("accuracy", 0.0)
    change = change if isinstance(change, dict) else dict.fromkeys(SEEDS, change)
    return [record(SCORES[seed] + change[seed], seed, **changes) for seed in SEEDS]


def with_full_affine(made, area):
    """The record with ``affine:full`` beside ``affine``."""
    rows = [Row("affine", "area under the curve", "rotation", area, "fraction")]
    return replace(made, measures={**made.measures, "affine:full": Measurement(rows)})


def replace_area(made, seed):
    """The record with an area that is larger, by chance more or less."""
    rows = [row._replace(value=0.72 + seed / 1000) if row.measure == "affine" else row for row in made.rows]
    return with_rows(made, rows)


def only(found):
    """The one change of a comparison."""
    (row,) = found.changes.itertuples(index=False)
    return row


def test_a_folder_is_no_different_from_itself(tmp_path):
    folder = write(tmp_path, [*five(), *five(routing="em")])
    found = compare(folder, folder)
    assert found.nothing
    assert (found.matched, found.equal) == (2, 2)
    assert found.provenance == {}


def test_two_trainings_of_the_same_bits_are_equal_whatever_they_took(tmp_path):
    a, b = (write(tmp_path / str(step), five(step=step)) for step in (10.0, 11.0))
    found = compare(a, b)
    assert (found.matched, found.equal, found.nothing) == (1, 1, True)
    assert found.changes["metric"].tolist() == ["duration", "latency p50"]
    assert found.changes["timed"].all()


@pytest.mark.parametrize(
    "difference",
    [
        {"only_a": ["em"]},
        {"only_b": ["em"]},
        {"not_comparable": [("em", "other test images")]},
        {"changes": pd.DataFrame({"timed": [True, False]})},
    ],
    ids=lambda difference: next(iter(difference)),
)
def test_every_difference_alone_is_one_but_that_of_a_time(difference):
    assert Comparison("a", "b", changes=pd.DataFrame({"timed": [True]})).nothing
    assert not Comparison("a", "b", **difference).nothing


def test_times_are_a_family_of_their_own(tmp_path):
    a = write(tmp_path / "a", five(area=0.7))
    b = write(tmp_path / "b", [replace_area(made, seed) for seed, made in enumerate(five(step=11.0))])
    found = compare(a, b)
    (area,) = found.changes[~found.changes["timed"]].itertuples(index=False)
    assert area.metric == "area under the curve"
    assert area.p_holm == area.p


def test_a_change_of_every_seed_is_a_difference_and_one_of_chance_is_not(tmp_path):
    a = write(tmp_path / "a", five())
    worse = {0: -0.05, 1: -0.06, 2: -0.055, 3: -0.05, 4: -0.06}
    chance = {0: 0.02, 1: -0.02, 2: 0.01, 3: -0.01, 4: 0.005}
    row = only(compare(a, write(tmp_path / "b", five(accuracy=worse))))
    assert row.difference == pytest.approx(-0.055)
    assert (row.test, row.seeds_a, row.seeds_b, row.holds) == ("seeds", 5, 5, True)
    assert not only(compare(a, write(tmp_path / "c", five(accuracy=chance)))).holds


def test_two_networks_are_told_apart_image_by_image(tmp_path):
    a, b = (write(tmp_path / name, [record(accuracy)]) for name, accuracy in (("a", 1.0), ("b", 0.8)))
    keep_predictions(a, record(1.0), [True] * 100)
    keep_predictions(b, record(0.8), [True] * 80 + [False] * 20)
    row = only(compare(a, b))
    assert row.test == "images"
    assert row.p == pytest.approx(2 * 0.5**20)
    assert row.holds


def test_of_one_seed_without_predictions_a_change_is_told_and_not_judged(tmp_path):
    row = only(compare(write(tmp_path / "a", [record(0.9)]), write(tmp_path / "b", [record(0.8)])))
    assert (row.test, row.holds) == ("none", False)
    assert row.difference == pytest.approx(-0.1)


def test_other_seeds_of_one_contender_are_compared_without_pairs(tmp_path):
    a = write(tmp_path / "a", five())
    b = write(tmp_path / "b", [record(score - 0.1, seed + 5) for seed, score in SCORES.items()])
    row = only(compare(a, b))
    assert (row.test, row.seeds_a, row.seeds_b, row.holds) == ("unpaired", 5, 5, True)


def test_the_same_numbers_by_other_threads_are_no_change(tmp_path):
    a, b = write(tmp_path / "a", five()), write(tmp_path / "b", five(threads=2))
    found = compare(a, b)
    assert (found.matched, len(found.changes)) == (1, 0)
    assert found.only_a == found.only_b == []
    assert found.not_comparable == [
        ("capsnet dynamic x3 tiny, digits: times and memory", "other hardware: threads 1 and 2")
    ]


def test_times_of_other_hardware_are_not_compared_and_accuracies_are(tmp_path):
    a = write(tmp_path / "a", five(step=10.0))
    b = write(tmp_path / "b", five(step=20.0, accuracy=-0.1, provenance={"cpu": "another"}))
    found = compare(a, b)
    assert only(found).metric == "accuracy"
    ((what, reason),) = found.not_comparable
    assert what.endswith(": times and memory")
    assert reason == "other hardware: cpu a CPU and another"
    assert found.provenance == {"cpu": ("a CPU", "another")}


def test_another_setting_of_a_measure_is_not_compared(tmp_path):
    a = write(tmp_path / "a", five())
    b = write(tmp_path / "b", five(area=0.1, measure="accuracy,affine:full,speed"))
    found = compare(a, b)
    assert len(found.changes) == 0
    assert found.not_comparable == [
        ("capsnet dynamic x3 tiny, digits: affine", "measured as affine and as affine:full")
    ]


def test_of_two_settings_of_a_measure_the_one_of_both_sides_is_compared(tmp_path):
    """A has the areas of ``affine`` and of ``affine:full``, B those of ``affine:full`` alone."""
    worse = {0: 0.50, 1: 0.49, 2: 0.51, 3: 0.50, 4: 0.49}
    a = write(tmp_path / "a", [with_full_affine(made, 0.6) for made in five(area=0.9)])
    b = write(
        tmp_path / "b",
        [record(SCORES[seed], seed, area=worse[seed], measure="accuracy,affine:full,speed") for seed in SEEDS],
    )
    found = compare(a, b)
    row = only(found)
    assert (row.measure, row.a, row.b, row.holds) == ("affine:full", pytest.approx(0.6), pytest.approx(0.498), True)
    assert found.not_comparable == found.only_b == []
    assert found.only_a == ["capsnet dynamic x3 tiny, digits: 1 number of affine"]
    back = only(compare(b, a))
    assert (back.a, back.b) == (row.b, row.a)


def test_both_settings_of_a_measure_are_compared(tmp_path):
    a = write(tmp_path / "a", [with_full_affine(made, 0.6) for made in five(area=0.9)])
    b = write(tmp_path / "b", [with_full_affine(made, 0.5) for made in five(area=0.8)])
    changes = compare(a, b).changes.set_index("measure")
    assert changes.loc["affine", ["a", "b"]].tolist() == pytest.approx([0.9, 0.8])
    assert changes.loc["affine:full", ["a", "b"]].tolist() == pytest.approx([0.6, 0.5])


def test_numbers_of_another_version_are_not_compared(tmp_path):
    def raised(made):
        return replace(made, measures={**made.measures, "affine": replace(made.measures["affine"], version=2)})

    a = write(tmp_path / "a", five())
    b = write(tmp_path / "b", [raised(made) for made in five(area=0.1)])
    found = compare(a, b)
    assert len(found.changes) == 0
    assert found.not_comparable == [
        ("capsnet dynamic x3 tiny, digits: affine", "measured by version 1 and by version 2")
    ]


def test_a_users_source_that_was_edited_is_not_compared(tmp_path):
    def of(digest, accuracy):
        made = record(accuracy)
        fields = {**made.cell.model_dump(), "code": {"routing": digest}}
        return make_record(type(made.cell)(**fields), made.rows, provenance=made.provenance)

    found = compare(write(tmp_path / "a", [of("aa", 0.9)]), write(tmp_path / "b", [of("bb", 0.1)]))
    assert len(found.changes) == 0
    assert found.not_comparable == [("capsnet dynamic x3 tiny, digits", "another source of the user's own routing")]


def test_the_module_that_was_edited_is_named(tmp_path):
    def of(digest):
        made = record(0.9)
        cell = made.cell.model_copy(update={"code": {"routing": digest}})
        sources = {"routing": {"mine": "same", "helper": digest}}
        return replace(made, cell=cell, training=replace(made.training, sources=sources))

    ((_, reason),) = compare(write(tmp_path / "a", [of("aa")]), write(tmp_path / "b", [of("bb")])).not_comparable
    assert "helper" in reason
    assert "mine" not in reason


def test_other_test_images_are_not_compared(tmp_path):
    a, b = (write(tmp_path / name, [record(accuracy)]) for name, accuracy in (("a", 1.0), ("b", 0.5)))
    keep_predictions(a, record(1.0), [True] * 4, labels=[0, 1, 2, 3])
    keep_predictions(b, record(0.5), [True, False] * 2, labels=[3, 2, 1, 0])
    found = compare(a, b)
    assert len(found.changes) == 0
    assert found.not_comparable == [("capsnet dynamic x3 tiny, digits", "other test images: their labels differ")]


def test_what_one_side_alone_has_is_named(tmp_path):
    a = write(tmp_path / "a", [record(0.9), record(0.9, routing="em")])
    b = write(tmp_path / "b", [record(0.9), record(0.9, iters=1)])
    found = compare(a, b)
    assert found.only_a == ["matrix-capsules em x3 tiny, digits"] or found.only_a == [
        "matrix-capsules em x2 tiny, digits"
    ]
    assert found.only_b == ["capsnet dynamic x1 tiny, digits"]


def test_a_measure_and_a_seed_that_one_side_alone_has_are_named(tmp_path):
    """All other numbers are the same."""

    def without_affine(made):
        return with_rows(made, [row for row in made.rows if row.measure != "affine"])

    a = write(tmp_path / "a", five())
    b = write(tmp_path / "b", [without_affine(each) if each.cell.seed == 0 else each for each in five()[:4]])
    found = compare(a, b)
    assert not found.nothing
    assert found.only_a == [
        "capsnet dynamic x3 tiny, digits: 1 number of affine",
        "capsnet dynamic x3 tiny, digits: seed 4",
    ]
    assert found.only_b == []
    back = compare(b, a)
    assert (back.only_a, back.only_b) == ([], found.only_a)
    assert len(found.changes) == len(back.changes) == 0


def test_of_other_seeds_a_measure_that_one_side_alone_has_is_named(tmp_path):
    a = write(tmp_path / "a", five())
    rows = [Row("overlap", "error", "image", 0.1, "fraction")]
    b = write(tmp_path / "b", [record(0.92, seed + 5, rows=rows) for seed in SEEDS])
    found = compare(a, b)
    assert (found.only_a, found.only_b) == ([], ["capsnet dynamic x3 tiny, digits: 1 number of overlap"])


def test_what_is_the_same_for_all_seeds_is_no_change_whatever_the_seeds(tmp_path):
    """Parameters, FLOPs and times are those of `record`."""
    a, b = write(tmp_path / "a", [record(0.9, 0)]), write(tmp_path / "b", [record(0.8, 1), record(0.7, 2)])
    assert only(compare(a, b)).metric == "accuracy"


def test_a_transfer_from_another_identity_of_the_same_network_is_the_same_number(tmp_path):
    """The condition of a transfer is its source's identity, which differs with the threads it ran on."""

    def pair(threads, success):
        source = record(0.9, routing="em", threads=threads)
        row = Row("transfer", "success rate", source.cell.id, success, "fraction")
        return [source, record(0.9, rows=[row], threads=threads)]

    found = compare(write(tmp_path / "a", pair(1, 0.2)), write(tmp_path / "b", pair(2, 0.3)))
    assert only(found).condition == cell(routing="em").title


def test_a_transfer_is_a_share_of_the_images_that_are_on_record_of_its_source(tmp_path):
    """Of 40, which shares that are multiples of 0.1 do not tell."""
    before, after = [0.2, 0.3, 0.2], [0.4, 0.5, 0.4]

    def side(threads, shares):
        source = record(0.9, routing="em", threads=threads)
        images = Row("transfer", "images", source.cell.id, 40, "images")
        rows = [Row("transfer", "success rate", source.cell.id, share, "fraction") for share in shares]
        return [source, *(record(0.9, seed, rows=[images, row], threads=threads) for seed, row in enumerate(rows))]

    found = compare(write(tmp_path / "a", side(1, before)), write(tmp_path / "b", side(2, after)))
    assert only(found).half == pytest.approx(paired_seeds(after, before, 1 / 40).half)


def test_transfers_from_networks_that_only_share_a_title_are_not_compared(tmp_path):
    def pair(epochs, success):
        source = record(0.9, routing="em", epochs=epochs)
        row = Row("transfer", "success rate", source.cell.id, success, "fraction")
        return [source, record(0.9, rows=[row])]

    found = compare(write(tmp_path / "a", pair(5, 0.2)), write(tmp_path / "b", pair(30, 0.3)))
    assert len(found.changes) == 0
    transfer = "capsnet dynamic x3 tiny, digits: 1 number of transfer"
    assert found.only_a == [transfer, "matrix-capsules em x2 tiny, digits, epochs 5"]
    assert found.only_b == [transfer, "matrix-capsules em x2 tiny, digits"]


def test_titles_say_which_option_differs_between_the_folders_and_within_one(tmp_path):
    rates = [record(accuracy, lr=rate) for rate, accuracy in ((0.02, 0.9), (0.1, 0.8), (0.05, 0.7))]
    a, b = write(tmp_path / "a", rates[:2]), write(tmp_path / "b", [record(0.85, lr=0.1), rates[2]])
    found = compare(a, b)
    name = "capsnet dynamic x3 tiny, digits"
    assert only(found).title == f"{name}, learning rate 0.1"
    assert (found.only_a, found.only_b) == ([name], [f"{name}, learning rate 0.05"])


def test_contenders_of_one_folder_that_differ_in_their_machine_say_so(tmp_path):
    a = write(tmp_path / "a", [record(0.9, threads=threads) for threads in (1, 2)])
    b = write(tmp_path / "b", [record(0.8, threads=1)])
    found = compare(a, b)
    name = "capsnet dynamic x3 tiny, digits"
    assert only(found).title == f"{name}, threads 1"
    assert found.only_a == [f"{name}, threads 2"]


def test_records_that_cannot_be_read_are_a_line_each_and_the_rest_is_compared(tmp_path):
    a, b = write(tmp_path / "a", five()), write(tmp_path / "b", five(accuracy=-0.1))
    damaged, old = (Store(b).record_path(cell(seed).id) for seed in (0, 1))
    damaged.write_text("{")
    old.write_text(json.dumps({**json.loads(old.read_text()), "schema": 0}))
    Store(b).write(make_failed(cell(0, iters=1), "the loss became nan in epoch 1"))
    found = compare(a, b)
    assert only(found).seeds_b == 3
    assert len(found.faults) == 3
    assert all(line.startswith("B: ") for line in found.faults)
    for said in ("not a whole record", "schema 0", "failed: the loss became nan"):
        assert sum(said in line for line in found.faults) == 1


def test_a_folder_that_is_not_there_empty_or_damaged_is_one_line(tmp_path):
    folder = write(tmp_path / "a", five())
    with pytest.raises(UsageError) as caught:
        compare(folder, tmp_path / "nowhere")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "B", tmp_path / "nowhere")
    (tmp_path / "empty" / "records").mkdir(parents=True)
    with pytest.raises(NothingMeasured) as nothing:
        compare(tmp_path / "empty", folder)
    assert (nothing.value.kind, nothing.value.flag, nothing.value.file) == (Kind.MISSING, "A", tmp_path / "empty")
    Store(tmp_path / "old").check_writable()
    (tmp_path / "old" / "records" / "x.json").write_text('{"schema": 0}')
    with pytest.raises(UsageError) as old:
        compare(tmp_path / "old", folder)
    assert (old.value.kind, old.value.flag, old.value.file) == (Kind.DAMAGED, "A", tmp_path / "old")
    assert "schema 0" in old.value.problem


def test_seeds_that_failed_are_counted_beside_those_that_did_not(tmp_path):
    a, b = write(tmp_path / "a", five()), write(tmp_path / "b", five(accuracy=-0.1)[:3])
    for seed in (3, 4):
        Store(b).write(make_failed(cell(seed)))
    change = only(compare(a, b))
    assert (change.seeds_a, change.failed_a, change.seeds_b, change.failed_b) == (3, 0, 3, 2)
    assert changes_readable(compare(a, b), everything=True)["seeds"].tolist() == ["3 and 3 of 5"]


def test_a_notebook_shows_the_summary_and_then_the_significant_changes(tmp_path):
    noise = {seed: seed / 10_000 for seed in SEEDS}
    better = {seed: 0.05 + noise[seed] for seed in SEEDS}
    a, b = write(tmp_path / "a", five()), write(tmp_path / "b", five(accuracy=better))
    found = compare(a, b)
    output = found.describe_output()
    assert summary_of(found)[0] in output.lead
    assert output.items == summary_of(found)[1:]
    assert output.tables[0].rows == changes_readable(found).to_numpy().tolist()
    assert compare(a, a).describe_output().tables == []
    assert len(repr(found)) < 300
