"""The gate: what it stops, what it tells, and what it lets pass."""

import math
from dataclasses import replace
from statistics import fmean

import pytest

from capsbench.comparing import check, gate
from capsbench.comparing.judged import list_judged
from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.measures.spec import built_in_specs
from capsbench.records.record import Measurement, Row
from capsbench.records.store import Store
from tests.comparing.records import NETWORKS, SEEDS, cell, draws, record, title, write
from tests.making import FINE, counted, make_failed


def test_the_reference_passes_its_own_gate(reference):
    checked = check(reference, reference)
    assert checked.findings == []
    assert checked.exit_code == 0
    assert checked.identical == 20


def test_one_seed_trained_alike_passes(reference, tmp_path):
    for seed in range(100, 120):
        checked = check(reference, write(tmp_path / str(seed), draws(seed)))
        assert checked.exit_code == 0, checked.findings


def test_one_network_that_became_worse_is_a_regression_and_the_others_are_not(reference, tmp_path):
    worse = record(0.85, seed=9, routing="em")
    out = write(tmp_path / "out", [*(each for each in draws(9) if each.cell.routing != "em"), worse])
    checked = check(reference, out)
    (found,) = checked.select("regression")
    assert found.contender.startswith("matrix-capsules em")
    assert found.name == "test accuracy"
    assert found.text == "test accuracy: " + f"{100 * _mean(reference, 'em'):.1f} % in the reference, now 85.0 %"
    assert found.p < 0.001
    assert checked.exit_code == 1


def _mean(folder, routing):
    records, _ = Store(folder).records()
    return fmean(r.rows[2].value for r in records if r.cell.routing == routing)


def test_what_all_networks_lose_a_little_of_is_found_in_their_mean(reference, tmp_path):
    lower = write(tmp_path / "out", draws(9, accuracy=0.925))
    found = check(reference, lower, tolerance=0.5).select("regression")
    assert ("all contenders", "test accuracy") in {(each.contender, each.name) for each in found}


def test_what_is_better_is_told_and_passes(reference, tmp_path):
    checked = check(reference, write(tmp_path / "out", draws(9, area=0.9)))
    assert {each.name for each in checked.select("better")} == {"area under the affine curves"}
    assert checked.exit_code == 0


def test_a_loss_within_the_tolerance_passes_however_sure_it_is(reference, tmp_path):
    out = write(tmp_path / "out", draws(9, accuracy=0.85))
    assert check(reference, out, tolerance=5).exit_code == 1
    assert check(reference, out, tolerance=15).exit_code == 0


@pytest.mark.parametrize("parameters", [999, 1001])
def test_parameters_and_flops_may_not_differ_at_all(reference, tmp_path, parameters):
    checked = check(reference, write(tmp_path / "out", draws(9, parameters=parameters)))
    assert {each.name for each in checked.select("regression")} == {"parameters", "FLOPs an image"}
    assert f"parameters: 1,000 in the reference, now {parameters:,}" in {each.text for each in checked.findings}


def test_a_slower_machine_is_no_regression_and_a_slower_network_is(reference, tmp_path):
    assert check(reference, write(tmp_path / "machine", draws(9, step=100.0))).exit_code == 0
    slow = [record(0.95, 9, step=50.0, routing="em"), *draws(9, NETWORKS[:2] + NETWORKS[3:])]
    (found,) = check(reference, write(tmp_path / "network", slow)).select("regression")
    assert found.name == "time of a training step"
    assert found.text.endswith("1.00 times the median contender's in the reference, now 5.00 times")
    assert check(reference, tmp_path / "network", slower=6).exit_code == 0


def test_the_same_cell_on_the_same_machine_has_to_have_the_same_bits(reference, tmp_path):
    out = write(tmp_path / "out", draws(0, area=0.7001))
    checked = check(reference, out)
    assert checked.exit_code == 0
    assert len(checked.select("changed")) == len(NETWORKS)
    text = "1 numbers of seed 0 are not those of this machine before (affine)"
    assert {each.text for each in checked.select("changed")} == {text}


def test_of_another_machine_no_bits_are_expected(reference, tmp_path):
    out = write(tmp_path / "out", draws(0, area=0.7001, provenance={"torch": "2.16.0"}))
    assert check(reference, out).select("changed") == []


def test_what_is_missing_or_failed_is_not_let_pass(reference, tmp_path):
    dynamic, _, em, _ = draws(9)
    incomplete = replace(em, measures={"accuracy": em.measures["accuracy"]}, wanted=["accuracy"])
    failed = make_failed(cell(9, routing="uniform"), "the loss became nan in epoch 1")
    checked = check(reference, write(tmp_path / "out", [dynamic, incomplete, failed]))
    told = {(each.kind, each.contender.partition(",")[0], each.text) for each in checked.select("missing", "failed")}
    assert told == {
        (
            "failed",
            "capsnet uniform x1 tiny",
            "capsnet uniform x1 tiny, digits, seed 9: the loss became nan in epoch 1",
        ),
        ("missing", "capsnet dynamic x1 tiny", "in the reference, and not in the latest run"),
        ("missing", em.cell.title.partition(",")[0], f"{em.cell.title}: affine, cost, speed not measured"),
    }
    assert checked.exit_code == 3


def without_rows(made, *specs):
    """The record whose measures of these specs gave no rows."""
    empty = {spec: replace(made.measures[spec], rows=[]) for spec in specs}
    return replace(made, measures={**made.measures, **empty})


@pytest.mark.parametrize("seed", [0, 9])
@pytest.mark.parametrize("specs", [("affine",), ("speed",), ("accuracy", "affine", "cost", "speed")])
def test_a_measure_that_gave_no_rows_and_gave_some_in_the_reference_is_missing(reference, tmp_path, seed, specs):
    dynamic, *others = draws(seed)
    checked = check(reference, write(tmp_path / "out", [without_rows(dynamic, *specs), *others]))
    (found,) = checked.select("missing")
    cell_of = f"{dynamic.cell.title}: no numbers of"
    assert found[:4] == (
        "missing",
        title(dynamic),
        "measures",
        f"{cell_of} {', '.join(specs)}; the reference has some",
    )
    assert checked.exit_code == 3
    assert checked.identical == (0 if seed else len(others))


def test_a_measure_that_gives_no_rows_on_either_side_passes(tmp_path):
    reference = write(tmp_path / "reference", [without_rows(each, "affine") for s in SEEDS for each in draws(s)])
    checked = check(reference, reference)
    assert (checked.findings, checked.identical) == ([], len(SEEDS) * len(NETWORKS))


def test_a_regression_comes_before_a_failure(reference, tmp_path):
    assert check(reference, write(tmp_path / "out", [record(0.5, 9, routing="em")])).exit_code == 1


def test_what_is_new_is_told(reference, tmp_path):
    new = record(0.9, 9, routing="self-routing")
    checked = check(reference, write(tmp_path / "out", [*draws(9), new]))
    assert [each.kind for each in checked.findings] == ["new"]
    assert checked.exit_code == 0


def test_a_users_routing_that_was_edited_is_held_against_what_it_was(tmp_path):
    def of(digest, seed, accuracy):
        made = record(accuracy, seed)
        fields = {**made.cell.model_dump(), "code": {"routing": digest}}
        return replace(made, cell=type(made.cell)(**fields))

    scores = dict(zip(SEEDS, (0.95, 0.96, 0.94, 0.95, 0.955), strict=True))
    reference = write(tmp_path / "reference", [of("aa", seed, score) for seed, score in scores.items()])
    assert check(reference, write(tmp_path / "alike", [of("bb", 0, 0.953)])).findings == []
    assert check(reference, write(tmp_path / "worse", [of("bb", 0, 0.8)])).exit_code == 1


@pytest.mark.parametrize("bad", ["aa", "bb"])
def test_the_source_that_ran_last_is_that_of_the_last_run_whatever_the_clock_says(tmp_path, bad):
    """The clock was set back, or both ran within a second."""

    def of(digest, run):
        made = record(0.5 if digest == bad else 0.95)
        fields = {**made.cell.model_dump(), "code": {"routing": digest}}
        return replace(made, cell=type(made.cell)(**fields), training=replace(made.training, run=run))

    reference = write(tmp_path / "reference", [record(score, seed) for seed, score in enumerate((0.95, 0.96, 0.94))])
    for name, runs in (("out", {"aa": 1, "bb": 2}), ("back", {"aa": 2, "bb": 1})):
        out = write(tmp_path / name, [of(digest, run) for digest, run in runs.items()])
        ran_last = max(runs, key=lambda digest: runs[digest])
        assert check(reference, out).exit_code == (1 if ran_last == bad else 0)


def test_seeds_that_agree_by_chance_on_few_images_make_no_regression(tmp_path):
    """Five seeds with 95 of 100 images right, and now 93: two images, and no spread to hold them against but rounding."""
    reference = write(tmp_path / "reference", [record(0.95, seed) for seed in SEEDS])
    found = check(reference, write(tmp_path / "out", [record(0.93, 10)]))
    (test,) = found.tests[found.tests["name"] == "test accuracy"].to_dict("records")
    assert test["worse"] > 0.01
    assert check(reference, write(tmp_path / "worse", [record(0.85, 10)])).exit_code == 1


def test_another_setting_beside_the_judged_one_is_told(tmp_path):
    full = Measurement([Row("affine", "area under the curve", "rotation", 0.1, "fraction")])
    reference = write(tmp_path / "reference", [record(0.95, seed) for seed in SEEDS])
    out = write(tmp_path / "out", [replace(made := record(0.95), measures={**made.measures, "affine:full": full})])
    checked = check(reference, out)
    assert checked.worse == []
    assert any("affine:full" in note for note in checked.notes)


def test_a_reference_of_two_seeds_shows_no_regression_and_says_so(tmp_path):
    reference = write(tmp_path / "reference", [*draws(0), *draws(1)])
    checked = check(reference, write(tmp_path / "out", draws(9, accuracy=0.2)))
    assert {each.kind for each in checked.findings} == {"not judged"}
    assert "2 seeds" in checked.findings[0].text
    of_three = write(tmp_path / "three", [made for seed in range(3) for made in draws(seed)])
    assert check(of_three, of_three).select("not judged") == []


def attacked(seed, failed):
    check_row = Row("adversarial", "sanity check", "noise far weaker", float(not failed), "held")
    return [record(0.95, seed, rows=[check_row], **network) for network in NETWORKS]


def test_a_check_on_attacks_that_begins_to_fail_is_a_regression(tmp_path):
    reference = write(tmp_path / "reference", [each for seed in SEEDS for each in attacked(seed, failed=False)])
    assert check(reference, write(tmp_path / "held", attacked(9, failed=False))).exit_code == 0
    (found,) = check(reference, write(tmp_path / "failed", attacked(9, failed=True))).select("regression")
    assert found.text == "sanity check of attacks, noise far weaker: failed 0 of 20 times in the reference, now 4 of 4"


def test_a_number_that_should_be_low_may_not_rise(tmp_path):
    def detected(seed, rate):
        return [
            record(
                0.95, seed, rows=[Row("detection", "undetected rate", "worst case", rate, "fraction", 0.1)], **network
            )
            for network in NETWORKS
        ]

    rates = {0: 0.20, 1: 0.21, 2: 0.19, 3: 0.2, 4: 0.22}
    reference = write(tmp_path / "reference", [each for seed, rate in rates.items() for each in detected(seed, rate)])
    assert check(reference, write(tmp_path / "higher", detected(9, 0.6))).exit_code == 1
    lower = check(reference, write(tmp_path / "lower", detected(9, 0.0)))
    assert lower.exit_code == 0
    assert lower.select("better")


def transferred(seed, success, sources=NETWORKS):
    """A record of each network, and of the first how often images that mislead each of ``sources`` mislead it."""
    shown = [
        Row("transfer", "success rate", cell(seed, **source).id, success[place], "fraction")
        for place, source in enumerate(sources)
        if place
    ]
    return [record(0.95, seed, rows=[] if place else shown, **network) for place, network in enumerate(sources)]


def test_transfers_are_judged_by_the_sources_that_both_runs_have(tmp_path):
    rates = [None, 0.1, 0.2, 0.9]
    reference = write(tmp_path / "reference", [each for seed in SEEDS for each in transferred(seed, rates)])
    fewer = write(tmp_path / "fewer", transferred(9, rates, NETWORKS[:3]))
    (test,) = check(reference, fewer).tests.query("name == 'success of transferred attacks'").to_dict("records")
    assert (test["reference"], test["current"]) == ("15.0 %", "15.0 %")
    assert check(reference, write(tmp_path / "worse", transferred(9, [None, 0.5, 0.5, 0.9]))).select("regression")


def test_an_error_without_a_scale_is_compared_as_a_ratio(tmp_path):
    number = next(each for each in list_judged(built_in_specs(), "mean") if each.judged.relative)
    row = Row(number.measure, number.metric.name, "inside", 4.0, "per image")
    assert number.find_rows(record(0.9, rows=[row]), {}) == {("inside", None): 4.0}
    assert number.average([4.0]) == pytest.approx(math.log(4))
    assert number.describe(math.log(4)) == "4"


def test_the_folder_of_results_is_checked_unless_another_is_named(reference, tmp_path, monkeypatch):
    write(tmp_path / "results", draws(9, parameters=999))
    monkeypatch.chdir(tmp_path)
    checked = check("reference")
    assert (checked.against, checked.out) == ("reference", "results")
    assert {finding.name for finding in checked.select("regression")} == {"parameters", "FLOPs an image"}


@pytest.fixture
def judged_by(monkeypatch):
    """Puts one test of chosen p-values in the place of all, and notes the limits that tests are given."""

    def judge(worse, better):
        test = gate.Test("em", "test accuracy", "97.0 %", "95.0 %", 2.0, worse, better)
        limits = {}
        monkeypatch.setattr(
            gate, "judge_numbers", lambda pairing, tolerance: limits.update(tolerance=tolerance) or [test]
        )
        monkeypatch.setattr(gate, "judge_times", lambda pairing, slower: limits.update(slower=slower) or [])
        monkeypatch.setattr(gate, "judge_sanity_checks", lambda pairing: [])
        return limits

    return judge


@pytest.mark.parametrize(
    ("worse", "better", "kinds"),
    [(0.049, 1.0, ["regression"]), (0.05, 1.0, []), (1.0, 0.049, ["better"]), (1.0, 0.05, [])],
)
def test_a_test_of_less_than_5_per_cent_is_a_finding(reference, judged_by, worse, better, kinds):
    judged_by(worse, better)
    checked = check(reference, reference)
    assert [finding.kind for finding in checked.findings] == kinds
    assert [(finding.contender, finding.name, finding.p) for finding in checked.findings] == [
        ("em", "test accuracy", min(worse, better)) for _ in kinds
    ]
    assert checked.tests["worse"].tolist() == [worse]


def test_the_limits_are_a_share_and_a_factor(reference, judged_by):
    limits = judged_by(1.0, 1.0)
    check(reference, reference)
    assert limits == {"tolerance": 0.01, "slower": 4.0}
    check(reference, reference, tolerance=0, slower=1)
    assert limits == {"tolerance": 0, "slower": 1}
    checked = check(reference, reference, tolerance=99, slower=1.5)
    assert limits == {"tolerance": 0.99, "slower": 1.5}
    assert (checked.tolerance, checked.slower) == (99, 1.5)


@pytest.mark.parametrize(
    ("limit", "value"),
    [("tolerance", -1), ("tolerance", 100), ("slower", 0.5), ("slower", math.inf), ("slower", math.nan)],
)
def test_a_limit_out_of_its_range_is_an_error(reference, limit, value):
    with pytest.raises(UsageError) as caught:
        check(reference, reference, **{limit: value})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, limit, value)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_side_without_records_is_an_error(reference, tmp_path, name):
    """Of the run that is checked, nothing was measured; a reference without records is a mistake of the user's."""
    (tmp_path / "empty" / "records").mkdir(parents=True)
    with pytest.raises(UsageError) as of_reference:
        check(tmp_path / name, reference)
    with pytest.raises(UsageError) as of_run:
        check(reference, tmp_path / name)
    for caught, flag in ((of_reference, "against"), (of_run, "out")):
        assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, flag, tmp_path / name)
    assert not isinstance(of_reference.value, NothingMeasured)
    assert isinstance(of_run.value, NothingMeasured) == (name == "empty")


def test_an_empty_reference_says_how_to_fill_it(reference, tmp_path):
    (tmp_path / "empty" / "records").mkdir(parents=True)
    with pytest.raises(UsageError) as caught:
        check(tmp_path / "empty", reference)
    assert "{flag:update}" in caught.value.expected


def test_a_run_without_a_contender_of_the_reference_has_measured_nothing(reference, tmp_path):
    out = write(tmp_path / "other", [record(0.9, routing="self-routing")])
    with pytest.raises(NothingMeasured) as caught:
        check(reference, out)
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "out", out)


def test_a_damaged_record_of_the_reference_is_a_note_and_the_rest_is_checked(reference):
    path = next((reference / "records").iterdir())
    path.write_text("{")
    checked = check(reference, reference)
    assert checked.exit_code == 0
    assert sum("not a whole record" in note for note in checked.notes) == 2  # it is the run's as well


FLAT = {"images": 500, "predicted": 490, "labelled": 52, "right": 62}


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [(FINE, FLAT, ["collapse"]), (FINE, FINE, []), (FLAT, FLAT, []), (None, FLAT, [])],
    ids=["collapsed", "well", "as before", "of the reference nothing is known"],
)
def test_a_network_that_collapses_is_a_regression_whatever_the_tolerance(tmp_path, before, now, kinds):
    def of(seed, counts):
        made = record(0.12, seed=seed, measure="accuracy")
        return made if counts is None else counted(made, **counts)

    reference = write(tmp_path / "reference", [of(seed, before) for seed in SEEDS])
    checked = check(reference, write(tmp_path / "out", [of(seed, now) for seed in (8, 9)]), tolerance=99)
    assert [found.name for found in checked.select("regression")] == kinds
    assert checked.exit_code == (1 if kinds else 0)
    if kinds:
        (found,) = checked.select("regression")
        assert found.text.startswith("collapsed in seeds 8, 9, ")
        assert "98 % of the test images are assigned to one class, and 12 % are right" in found.text
