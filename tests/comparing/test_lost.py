"""Numbers that a reference has and a run lost."""

from dataclasses import replace

import pytest

from capsbench.comparing import check
from capsbench.comparing.lost import Lost, LostRows, NumberName
from capsbench.measures.spec import Judged, MeasureSpec, Metric
from capsbench.records.record import Measurement, Row
from tests.comparing.records import SEEDS, cell, record, write

ROTATION, SHEAR = (Row("affine", "area under the curve", family, 0.7, "fraction") for family in ("rotation", "shear"))
WEAK, STRONG = (
    Row("adversarial", "robust accuracy", "Linf, worst case", 0.5, "fraction", level) for level in (0.1, 0.3)
)
LATENCY = Row("speed", "latency p50", "inference", 5.0, "ms")
AT_INFERENCE = Row("cost", "parameters", "inference", 900.0, "parameters")
HELD, NOISE = (Row("adversarial", "sanity check", name, 1.0, "held") for name in ("larger epsilon", "noise"))
DRAWN = Row("adversarial", "robust accuracy", "Linf, cw loss", 0.6, "fraction", 0.3)
"""Judged numbers of every kind, and a row whose name another seed need not have."""

ROWS = (SHEAR, WEAK, STRONG, LATENCY, AT_INFERENCE, HELD, NOISE, DRAWN)
CURVES, WORST = "area under the affine curves", "robust accuracy, worst case in Linf"
MEASURES = "accuracy,affine,speed,adversarial,cost"


def network(seed, *lost, routing="dynamic", **numbers):
    """A record with all of the rows but some."""
    whole = record(0.95, seed, rows=ROWS, measure=MEASURES, routing=routing, **numbers)
    measures = {
        spec: replace(taken, rows=[row for row in taken.rows if row not in lost])
        for spec, taken in whole.measures.items()
    }
    rows = [row for row in whole.training.rows if row[:2] not in {row[:2] for row in lost}]
    return replace(whole, measures=measures, training=replace(whole.training, rows=rows))


@pytest.fixture
def reference(tmp_path):
    return write(tmp_path / "reference", [network(seed) for seed in SEEDS])


PARAMETERS = Row("training", "parameters", "network", 1000, "parameters")
STEP = Row("speed", "latency p50", "training step", 10.0, "ms")
FLOPS = Row("cost", "flops", "inference", 2000.0, "FLOP/image")


@pytest.mark.parametrize("seed", [0, 9])
@pytest.mark.parametrize(
    ("lost", "name", "text"),
    [
        ([SHEAR], CURVES, f"only 1 of 2 rows of {CURVES}; the reference has all"),
        ([STRONG], WORST, f"only 1 of 2 rows of {WORST}; the reference has all"),
        ([WEAK, STRONG], WORST, f"no {WORST}; the reference has it"),
        ([LATENCY], "time of inference", "no time of inference; the reference has it"),
        ([STEP], "time of a training step", "no time of a training step; the reference has it"),
        ([AT_INFERENCE], "parameters at inference", "no parameters at inference; the reference has it"),
        ([FLOPS], "FLOPs an image", "no FLOPs an image; the reference has it"),
        ([PARAMETERS], "parameters", "no parameters; the reference has it"),
        ([NOISE], "sanity check of attacks, noise", "no sanity check of attacks, noise; the reference has it"),
    ],
)
def test_a_lost_judged_number_is_missing_whatever_the_seed(reference, tmp_path, seed, lost, name, text):
    checked = check(reference, write(tmp_path / "out", [network(seed, *lost)]))
    title = f"{cell(seed).title}"
    assert [finding[:4] for finding in checked.findings] == [
        ("missing", title.rpartition(", seed ")[0], name, f"{title}: {text}")
    ]
    assert (checked.exit_code, checked.identical) == (3, 0)


@pytest.mark.parametrize(("seed", "kinds"), [(0, ["changed"]), (9, [])])
def test_a_lost_row_of_another_number_is_a_change_of_the_same_seed_alone(reference, tmp_path, seed, kinds):
    checked = check(reference, write(tmp_path / "out", [network(seed, DRAWN)]))
    assert [finding.kind for finding in checked.findings] == kinds
    assert checked.exit_code == 0


def test_a_run_without_a_loss_has_no_findings(reference, tmp_path):
    checked = check(reference, write(tmp_path / "out", [network(0), network(9)]))
    assert (checked.findings, checked.identical) == ([], 1)


def test_a_number_that_some_seeds_of_the_reference_lack_is_not_expected_of_another_seed(tmp_path):
    reference = write(tmp_path / "reference", [network(seed, *([LATENCY] if seed == 3 else [])) for seed in SEEDS])
    assert check(reference, write(tmp_path / "nine", [network(9, LATENCY)])).findings == []
    assert check(reference, write(tmp_path / "three", [network(3, LATENCY)])).findings == []
    (finding,) = check(reference, write(tmp_path / "two", [network(2, LATENCY)])).findings
    assert (finding.kind, finding.name) == ("missing", "time of inference")


def test_a_measure_without_any_row_is_one_finding(reference, tmp_path):
    """Neither its judged numbers nor its bits are told a second time."""
    checked = check(reference, write(tmp_path / "out", [network(0, WEAK, STRONG, HELD, NOISE, DRAWN)]))
    (finding,) = checked.findings
    assert finding[:1] + finding[2:4] == (
        "missing", "measures", f"{cell(0).title}: no numbers of adversarial; the reference has some",
    )  # fmt: skip


def test_a_measure_that_was_not_taken_is_one_finding(reference, tmp_path):
    whole = network(0)
    measures = {spec: taken for spec, taken in whole.measures.items() if spec != "adversarial"}
    checked = check(reference, write(tmp_path / "out", [replace(whole, measures=measures, wanted=[*measures])]))
    assert [(finding.kind, finding.name, finding.text) for finding in checked.findings] == [
        ("missing", "measures", f"{cell(0).title}: adversarial not measured")
    ]


def test_numbers_of_another_version_of_their_measure_are_not_expected(reference, tmp_path):
    lost = network(9, STRONG)
    newer = replace(lost.measures["adversarial"], version=2)
    out = write(tmp_path / "out", [replace(lost, measures={**lost.measures, "adversarial": newer})])
    assert [finding.kind for finding in check(reference, out).findings] == ["not judged"]


def test_an_error_of_zero_has_no_logarithm_and_is_lost(tmp_path):
    def decoded(seed, error):
        row = Row("transformation", "squared error", "inside", error, "per image")
        return record(0.95, seed, rows=[row], measure="accuracy,transformation")

    reference = write(tmp_path / "reference", [decoded(seed, 4.0 + seed) for seed in SEEDS])
    (finding,) = check(reference, write(tmp_path / "out", [decoded(9, 0.0)])).findings
    assert (finding.kind, finding.name) == ("missing", "squared error of transformed images")


ROUTINGS = ("dynamic", "em", "uniform")


def transferred(seed, routings=ROUTINGS, lost=()):
    """Networks, each with the success of attacks of all of them but some."""
    return [
        record(
            0.95,
            seed,
            routing=target,
            measure="accuracy,transfer",
            rows=[
                Row("transfer", "success rate", cell(seed, routing=source).id, 0.5, "fraction")
                for source in routings
                if (source, target) not in lost
            ],
        )
        for target in routings
    ]


@pytest.mark.parametrize("seed", [0, 9])
def test_a_transfer_is_expected_from_networks_of_the_run_alone(tmp_path, seed):
    reference = write(tmp_path / "reference", [made for seed in SEEDS for made in transferred(seed)])
    fewer = check(reference, write(tmp_path / "fewer", transferred(seed, ROUTINGS[:2])))
    assert [finding.text for finding in fewer.findings] == ["in the reference, and not in the latest run"]
    (finding,) = check(reference, write(tmp_path / "out", transferred(seed, lost=[("em", "dynamic")]))).findings
    title = cell(seed).title
    assert (finding.kind, finding.name) == ("missing", "success of transferred attacks")
    assert finding.text == f"{title}: only 2 of 3 rows of success of transferred attacks; the reference has all"


def test_a_loss_has_the_rows_of_its_measures_and_numbers():
    curves = {("affine", "area under the curve", "rotation", None)}
    attacks = LostRows({("adversarial", "robust accuracy", "L2", 0.3)}, 2)
    lost = Lost({"affine:quick": curves}, {NumberName("adversarial", "robust accuracy", "worst"): attacks})
    assert lost.has(ROTATION)
    assert not lost.has(SHEAR)
    assert lost.has(Row("adversarial", "robust accuracy", "L2", 0.1, "fraction", 0.3))
    assert not lost.has(Row("adversarial", "robust accuracy", "L2", 0.1, "fraction", 0.2))
    assert (bool(lost), bool(Lost())) == (True, False)


NEAR, FAR = (Row("shifted", "accuracy", pixels, 0.5, "fraction") for pixels in ("1 pixel", "2 pixels"))


def with_own(seed, rows, *titles, rule="mean", **request):
    """A record of a user's own measure, whose spec does not have the name of its rows."""
    judged = tuple(Judged(title, rule=rule) for title in titles)
    spec = MeasureSpec("shifted", (Metric("accuracy", "fraction", higher_is_better=True, judged=judged),))
    trained = record(0.95, seed, measure="accuracy", **request)
    measures = {**trained.measures, "shifted:Shifted": Measurement([*rows], declaration=spec)}
    return replace(trained, measures=measures, wanted=[*measures])


@pytest.mark.parametrize("seed", [0, 9])
@pytest.mark.parametrize(
    ("rows", "names"), [([NEAR, FAR], []), ([NEAR], ["shifted accuracy"]), ([], ["measures"])], ids=len
)
def test_lost_numbers_of_a_users_own_measure_are_missing(tmp_path, seed, rows, names):
    """A loss is one finding; of the same seed no bits change."""
    reference = write(tmp_path / "reference", [with_own(n, [NEAR, FAR], "shifted accuracy") for n in SEEDS])
    checked = check(reference, write(tmp_path / "out", [with_own(seed, rows, "shifted accuracy")]))
    assert [(finding.kind, finding.name) for finding in checked.findings] == [("missing", name) for name in names]


def test_numbers_of_a_users_own_measure_that_was_not_taken_are_one_finding(tmp_path):
    reference = write(tmp_path / "reference", [with_own(n, [NEAR, FAR], "shifted accuracy") for n in SEEDS])
    checked = check(reference, write(tmp_path / "out", [record(0.95, measure="accuracy")]))
    assert [(finding.kind, finding.name) for finding in checked.findings] == [("missing", "measures")]


def test_a_users_own_number_does_not_hide_the_loss_of_a_built_in_one_of_its_title(tmp_path):
    reference = write(tmp_path / "reference", [with_own(seed, [NEAR, FAR], "test accuracy") for seed in SEEDS])
    lost = with_own(9, [NEAR, FAR], "test accuracy")
    beside = Row("accuracy", "accuracy", "class 3", 0.5, "fraction")
    measures = {**lost.measures, "accuracy": replace(lost.measures["accuracy"], rows=[beside])}
    checked = check(reference, write(tmp_path / "out", [replace(lost, measures=measures)]))
    text = f"{cell(9).title}: no test accuracy; the reference has it"
    assert [(finding.kind, finding.name, finding.text) for finding in checked.findings] == [
        ("missing", "test accuracy", text)
    ]


def between(seed, routings, lost=()):
    """Networks, each with an exact number of a user's own measure from all of them but some."""
    return [
        with_own(
            seed,
            [NEAR._replace(condition=cell(seed, routing=name).id) for name in routings if (name, target) not in lost],
            "own number",
            rule="exact",
            routing=target,
        )
        for target in routings
    ]


@pytest.mark.parametrize("seed", [0, 9])
def test_an_exact_number_between_networks_is_expected_from_networks_of_the_run_alone(tmp_path, seed):
    reference = write(tmp_path / "reference", [made for seed in SEEDS for made in between(seed, ROUTINGS)])
    assert check(reference, write(tmp_path / "same", between(seed, ROUTINGS))).findings == []
    fewer = check(reference, write(tmp_path / "fewer", between(seed, ROUTINGS[:2])))
    assert [(finding.kind, finding.name) for finding in fewer.findings] == [("missing", "records")]
    out = write(tmp_path / "out", between(seed, ROUTINGS, lost=[("em", "dynamic")]))
    (finding,) = check(reference, out).select("missing")
    assert finding.text == f"{cell(seed).title}: only 2 of 3 rows of own number; the reference has all"
