"""A side of a comparison: its contenders, their titles and their partners on the other side."""

from dataclasses import replace

import pytest

from capsbench.comparing.side import (
    Contender,
    Number,
    collect_numbers,
    label_of,
    make_steps,
    match_contenders,
    other_hardware,
    read_latest_run,
    read_side,
    same_bits_expected,
    title_contenders,
    title_side_cells,
    to_experiment,
    with_one_setting,
)
from capsbench.records.cell import IMAGES
from capsbench.records.record import Measurement, Row
from tests.comparing.records import cell, keep_predictions, record, write
from tests.making import make_failed


@pytest.fixture
def side(tmp_path):
    def make(*records, name="a"):
        return read_side(write(tmp_path / name, records), name)

    return make


def test_a_side_has_contenders_by_seed_and_its_failures_apart(side):
    failed = make_failed(cell(2), "nan")
    made = side(record(0.9, 1), record(0.8, 0), record(0.7, routing="em"), failed)
    contenders = {contender.cell.routing: contender for contender in made.contenders.values()}
    assert sorted(contenders["dynamic"].records) == [0, 1]
    assert len(made.records) == 3
    assert [record.cell.seed for record in made.failed] == [2]
    assert (made.failed_of(contenders["dynamic"]), made.failed_of(contenders["em"])) == (1, 0)


def test_a_side_has_what_its_measures_kept(side, tmp_path):
    made = side(record(0.5))
    keep_predictions(tmp_path / "a", record(0.5), [True, False])
    assert made.kept("accuracy", cell().id)["label"].tolist() == [0, 1]
    assert made.kept("accuracy", "another") == {}


def test_records_beside_the_latest_run_are_counted(tmp_path):
    folder = write(tmp_path / "a", [record(0.9), record(0.8, 1)])
    whole = read_latest_run(folder, "out")
    assert (len(whole.records), whole.notes, whole.run, whole.absent, whole.left) == (2, [], None, [], [])


def test_the_numbers_of_a_record_have_their_settings_and_titles():
    full = Row("affine", "area under the curve", "another", 0.6, "fraction", 0.5)
    made = record(0.9)
    made = replace(made, measures={**made.measures, "affine:full": Measurement([full])})
    found = collect_numbers(made, {"another": "em, seed 0"})
    assert found[Number("affine:full", "area under the curve", "em, seed 0", 0.5, "fraction")] == 0.6
    assert found[Number("affine", "area under the curve", "rotation", None, "fraction")] == 0.7
    assert found[Number("training", "parameters", "network", None, "parameters")] == 1000
    assert len(found) == len(made.rows)
    assert collect_numbers(make_failed(cell(), "nan"), {}) == {}
    assert (label_of(full, "affine"), label_of(full, "affine:full")) == ("affine", "affine:full")


def test_the_setting_that_most_records_have_is_judged(side):
    def full(seed):
        made = record(0.9, seed)
        return replace(
            made, measures={"affine:full" if spec == "affine" else spec: m for spec, m in made.measures.items()}
        )

    one, other = side(record(0.9, 0), full(1), full(2)), side(full(3), name="b")
    (kept, _), (line,) = with_one_setting(one, other)
    (contender,) = kept.contenders.values()
    assert [sorted({"affine", "affine:full"} & {*made.measures}) for _, made in sorted(contender.records.items())] == [
        [],
        ["affine:full"],
        ["affine:full"],
    ]
    assert line.startswith("affine:full is judged")
    assert with_one_setting(one)[0][0].contenders.keys() == one.contenders.keys()


def test_experiments_are_the_same_whatever_their_seed_and_machine():
    assert to_experiment(cell(0)) == to_experiment(cell(1)) == to_experiment(cell(0, threads=3))
    assert to_experiment(cell(0)) != to_experiment(cell(0, iters=1))


def test_contenders_match_by_identity_and_else_by_experiment(side):
    one = side(record(0.9), record(0.9, routing="em", threads=3), record(0.9, routing="uniform"))
    other = side(record(0.9, 1), record(0.9, routing="em"), record(0.9, iters=1), name="b")
    pairs = [(one.contenders[a].cell, other.contenders[b].cell) for a, b in match_contenders(one, other)]
    assert [(a.routing, a.threads, b.routing, b.threads) for a, b in pairs] == [
        ("dynamic", cell().threads, "dynamic", cell().threads),
        ("em", 3, "em", cell().threads),
    ]


def test_a_contender_of_two_machines_on_one_side_matches_none(side):
    one = side(record(0.9, threads=3), record(0.9, threads=4))
    assert match_contenders(one, side(record(0.9), name="b")) == []


def test_titles_tell_experiments_apart_and_machines_of_one_side_alone(side):
    one, other = side(record(0.9), record(0.9, iters=1)), side(record(0.9, threads=3), name="b")
    titles = title_contenders(one, other)
    assert sorted(titles.values()) == ["capsnet dynamic x1 tiny, digits", *["capsnet dynamic x3 tiny, digits"] * 2]
    both = title_contenders(side(record(0.9), record(0.9, threads=3), name="c"))
    assert len({*both.values()}) == 2
    assert title_side_cells(one)[cell(0, iters=1).id] == "capsnet dynamic x1 tiny, digits, seed 0"
    assert title_contenders() == {}


def test_titles_of_images_that_are_not_here_have_what_is_no_default(side):
    sources = {IMAGES: {"shape": "1x8x8", **{str(label): f"class {label}" for label in range(10)}}}
    records = []
    for balanced in (True, False):
        usual = record(0.9)
        moved = usual.cell.model_copy(update={"dataset": "folder:not_here", "balanced": balanced})
        records.append(replace(usual, cell=moved, training=replace(usual.training, sources=sources)))
    titles = title_contenders(side(*records))
    assert sorted(titles.values()) == [
        f"capsnet dynamic x3 tiny, folder:not_here{end}" for end in ("", ", balanced yes")
    ]


def test_hardware_that_differs_is_told():
    ours, theirs = Contender({0: record(0.9)}), Contender({0: record(0.9, provenance={"cpu": "B", "cores": 4})})
    assert other_hardware(ours, ours) == ""
    assert other_hardware(ours, theirs) == "cpu a CPU and B; cores 2 and 4"
    assert other_hardware(ours, Contender({0: record(0.9, threads=3)})).startswith("threads ")


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({}, True),
        ({"commit": "another"}, True),
        ({"torch": "2.14"}, False),
        ({"cpu": "B"}, False),
        ({"numpy": "2"}, False),
    ],
)
def test_bits_are_expected_of_one_machine_and_software(changed, same):
    assert same_bits_expected(record(0.9), record(0.9, provenance=changed)) is same


def test_steps_are_those_of_the_predictions_that_either_side_kept(side, tmp_path):
    one, other = side(record(0.9)), side(record(1.0, 1), name="b")
    keep_predictions(tmp_path / "b", record(1.0, 1), [True] * 40)
    assert make_steps(one, other).images("digits", "accuracy", "test") == {40}
