"""Claims of the literature against records whose numbers were chosen by the test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from capsbench.presenting.marks import COLLAPSED, UNLIKE
from capsbench.presenting.material import Material, NoDataError
from capsbench.presenting.verdicts import PRIMARY
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.reporting.sections.budget import Estimate, OfSeeds, judge_above, judge_near, judge_no_advantage
from capsbench.reporting.sections.hypotheses import HYPOTHESES, OURS, SECTION, Finding, judge_claims
from tests.making import STUCK, counted, make_failed, with_rows

Make = Callable[..., Record]
CAPSNET: dict[str, Any] = {"network": "capsnet", "routing": "dynamic", "loss": "margin"}


@pytest.fixture
def verdicts(tmp_path: Path) -> Callable[[list[Record]], dict[int, list[str]]]:
    """Number of the claim -> its verdicts on some records."""

    def judge(records: list[Record]) -> dict[int, list[str]]:
        made: dict[int, list[str]] = {}
        for found in judge_claims(Material.from_records(records, Store(tmp_path))):
            made.setdefault(found.number, []).append(found.verdict)
        return made

    return judge


def seeds(make: Make, accuracies: list[float], **fields: Any) -> list[Record]:
    return [make(accuracy, seed=seed, **fields) for seed, accuracy in enumerate(accuracies)]


def having(record: Record, *rows: Row) -> Record:
    return with_rows(record, [*record.rows, *rows])


@pytest.mark.parametrize(
    ("estimate", "is_above", "is_nothing", "is_near"),
    [
        (Estimate(2.0, 0.5, 3), "supported", "refuted", "refuted"),
        (Estimate(-2.0, 0.5, 3), "refuted", "supported", "refuted"),
        (Estimate(0.3, 0.5, 3), "undecided", "supported", "supported"),
        (Estimate(0.3, 0.9, 3), "undecided", "undecided", "undecided"),
        (Estimate(0.3, 0.1, 3), "supported", "supported", "supported"),  # above 0, and yet too little to count
        (Estimate(9.0, 0.0, 2), "not tested", "not tested", "not tested"),
    ],
)
def test_when_an_estimate_decides(estimate: Estimate, is_above: str, is_nothing: str, is_near: str) -> None:
    assert judge_above(estimate) == is_above
    assert judge_no_advantage(estimate) == is_nothing
    assert judge_near(estimate, published=0.0, tolerance=1.0) == is_near


def test_an_estimate_is_a_t_interval() -> None:
    mean, half, n, _ = Estimate.of(OfSeeds(pd.Series([1.0, 2.0, 4.0])))
    assert (mean, n) == (pytest.approx(7 / 3), 3)
    assert half == pytest.approx(4.302653 * math.sqrt((7 / 3 + 1 / 12) / 3))  # of whole points


@pytest.mark.parametrize("share", [93.0, 100.0])
def test_seeds_that_agree_leave_an_interval_of_an_image_more_or_less(share: float) -> None:
    assert Estimate.of(OfSeeds(pd.Series([share] * 3))).half == pytest.approx(4.302653 * math.sqrt(1 / 36))


def test_more_iterations_are_paired_over_seeds(capsules: Make, verdicts: Callable[..., Any]) -> None:
    one, three = ([0.90, 0.80, 0.70], [0.91, 0.81, 0.712])
    records = [*seeds(capsules, one, iterations=1), *seeds(capsules, three, iterations=3)]
    assert verdicts(records) == {13: ["supported"]}
    assert verdicts([*seeds(capsules, three, iterations=1), *seeds(capsules, one, iterations=3)]) == {13: ["refuted"]}


def test_a_claim_reads_the_verdict_of_the_headline(capsules: Make, matched: Make, tmp_path: Path) -> None:
    """With few images the capsule network is ahead by what the table says, of the same family and with the same interval."""
    records = [
        make(value + 0.001 * seed, seed=seed, train_size=size)
        for size, ours, theirs in ((100, 0.90, 0.85), (1000, 0.95, 0.95))
        for make, value in ((capsules, ours), (matched, theirs))
        for seed in (0, 1, 2)
    ]
    material = Material.from_records(records, Store(tmp_path))
    (found,) = [each for each in judge_claims(material) if each.number == 14]
    row = material.summary.iloc[0]
    assert (found.verdict, found.family) == ("supported", PRIMARY)
    assert f"{row['difference_points.matched']:+.1f} ± {row['difference_ci95.matched']:.1f} points" in found.numbers


@pytest.mark.parametrize("count", [1, 2])
def test_of_few_seeds_no_claim_is_tested(capsules: Make, tmp_path: Path, count: int) -> None:
    records = [*seeds(capsules, [0.9] * count, iterations=1), *seeds(capsules, [0.5] * count, iterations=3)]
    (found,) = judge_claims(Material.from_records(records, Store(tmp_path)))
    assert (found.verdict, found.n) == ("not tested", count)


def test_a_claim_on_trainings_of_two_machines_is_marked(capsules: Make, tmp_path: Path) -> None:
    one, three = (seeds(capsules, [0.9, 0.91, 0.9], iterations=count) for count in (1, 3))
    elsewhere = [
        replace(each, training=replace(each.training, provenance={**each.provenance, "cpu": "another"}))
        for each in three
    ]
    (found,) = judge_claims(Material.from_records([*one, *elsewhere], Store(tmp_path)))
    assert found.unlike == "machine"
    assert found.numbers.endswith(UNLIKE.sign)


def test_contenders_of_another_budget_are_not_compared(capsules: Make, verdicts: Callable[..., Any]) -> None:
    records = [*seeds(capsules, [0.9, 0.9], iterations=1), *seeds(capsules, [0.95, 0.95], iterations=3, epochs=20)]
    assert verdicts(records) == {}


def test_under_affine_warps(capsules: Make, verdicts: Callable[..., Any]) -> None:
    affine = {"dataset": "affine-mnist"}
    capsnet = seeds(capsules, [0.70, 0.71, 0.72], **CAPSNET, **affine)
    unrouted = seeds(capsules, [0.74, 0.75, 0.765], **{**CAPSNET, "routing": "uniform", "iterations": 1}, **affine)
    other = {"routing": None, "iterations": None, "loss": "cross-entropy", **affine}
    pooling = seeds(capsules, [0.80, 0.81, 0.82], network="avgpool-gu2021", **other)
    assert verdicts([*capsnet, *unrouted, *pooling]) == {2: ["supported"], 4: ["supported"]}
    worse = seeds(capsules, [0.60, 0.61, 0.62], network="avgpool-gu2021", **other)
    assert verdicts([*capsnet, *worse]) == {2: ["refuted"]}


def test_matched_accuracy_is_where_training_was_stopped(capsules: Make, verdicts: Callable[..., Any]) -> None:
    affine = {"dataset": "affine-mnist", "stop_at": 0.992}
    capsnet = seeds(capsules, [0.79, 0.80, 0.78], **CAPSNET, **affine)
    cnn = seeds(capsules, [0.66, 0.67, 0.66], network="cnn-sabour2017", routing=None, iterations=None, **affine)
    assert verdicts([*capsnet, *cnn]) == {}  # validation accuracy is 0.5: nobody has reached it
    reached = [replace(each, cell=each.cell.model_copy(update={"stop_at": 0.5})) for each in (*capsnet, *cnn)]
    assert verdicts(reached) == {1: ["supported"]}


def test_a_number_alone_is_decided_at_full_size_only(capsules: Make, verdicts: Callable[..., Any]) -> None:
    many = {"dataset": "multimnist", **CAPSNET}
    assert verdicts(seeds(capsules, [0.948, 0.949, 0.95], size="paper", **many)) == {12: ["supported"]}
    assert verdicts(seeds(capsules, [0.548, 0.549, 0.55], size="paper", **many)) == {12: ["refuted"]}
    assert verdicts(seeds(capsules, [0.548, 0.549, 0.55], **many)) == {12: ["undecided"]}
    assert verdicts(seeds(capsules, [0.948, 0.949, 0.95], size="paper", train_size=500, **many)) == {12: ["undecided"]}


def attacked(records: list[Record], worst: float, clean: float = 0.9) -> list[Record]:
    levels = {0.0: clean, 0.05: worst}
    return [
        having(
            record,
            *(
                Row("adversarial", "robust accuracy", "Linf, worst case", value + 0.01 * seed, "fraction", level)
                for level, value in levels.items()
            ),
        )
        for seed, record in enumerate(records)
    ]


@pytest.mark.parametrize(
    ("worst", "clean", "verdict"),
    [
        (0.2, 0.9, "supported"),
        (0.4, 0.9, "refuted"),
        (0.3, 0.45, "refuted"),  # as many images withstand as of the CNN, of half as many that were right
        (0.2, 0.45, "refuted"),  # fewer, and yet a larger share
        (0.10, 0.45, "supported"),
        (0.14, 0.45, "undecided"),  # by a 95 % interval of this claim alone it would be decided
    ],
)
def test_the_worst_case_beside_the_matched_cnn(
    capsules: Make, matched: Make, verdicts: Callable[..., Any], worst: float, clean: float, verdict: str
) -> None:
    """The CNN keeps 0.3 of 0.9, a third."""
    records = [
        *attacked(seeds(capsules, [0.97] * 3), worst, clean),
        *attacked(seeds(matched, [0.97] * 3), 0.3),
    ]
    assert verdicts(records) == {8: [verdict]}


def test_what_robustness_is_a_share_of_is_told(capsules: Make, matched: Make, tmp_path: Path) -> None:
    records = [*attacked(seeds(capsules, [0.97]), 0.2, 0.4), *attacked(seeds(matched, [0.97]), 0.3)]
    (found,) = judge_claims(Material.from_records(records, Store(tmp_path)))
    assert found.numbers.startswith("of the images that each has right, still right in the worst case at 0.05: ")
    assert "(robust 20.0 % of clean 40.0 %) 50.0 %" in found.numbers
    assert "(robust 30.0 % of clean 90.0 %) 33.3 %: +16.7 points" in found.numbers


@pytest.mark.parametrize(
    ("images", "verdict"),
    [(10.0, "supported"), (9.0, "undecided"), (None, "undecided")],
    ids=["enough", "few", "untold"],
)
def test_detection_needs_adversarial_images(
    capsules: Make, verdicts: Callable[..., Any], images: float | None, verdict: str
) -> None:
    level = 0.1  # the published one of what has none of its own
    made = []
    for seed, record in enumerate(seeds(capsules, [0.97] * 3, size="paper")):
        told = {"success rate": 0.5, "detected": 0.7 + 0.01 * seed} | (
            {} if images is None else {"adversarial images": images}
        )
        made.append(
            having(record, *(Row("detection", name, "pgd", value, "fraction", level) for name, value in told.items()))
        )
    assert verdicts(made) == {11: [verdict]}


def test_whose_claim_it_is_that_iterations_help(capsules: Make, tmp_path: Path) -> None:
    records = []
    for network, routing in (("capsnet", "dynamic"), ("matrix-capsules", "em"), ("capsnet", "inverted-attention")):
        for iterations in (1, 3):
            records.append(capsules(0.9, network=network, routing=routing, iterations=iterations))
    sources = [
        found.source for found in judge_claims(Material.from_records(records, Store(tmp_path))) if found.number == 13
    ]
    assert [source.partition(",")[0] for source in sources] == ["Sabour 2017", "Hinton 2018", OURS]


def test_fgsm_on_smallnorb_is_about_both_sides_of_chance(
    capsules: Make, matched: Make, verdicts: Callable[..., Any]
) -> None:
    def fgsm(records: list[Record], reading: str, left: float) -> list[Record]:
        condition = f"Linf, fgsm, {reading}, cross-entropy"
        return [
            having(record, Row("adversarial", "robust accuracy", condition, left + 0.01 * seed, "fraction", 0.2))
            for seed, record in enumerate(records)
        ]

    norb = {"dataset": "smallnorb", "size": "paper"}
    spared = fgsm(seeds(capsules, [0.9] * 3, **norb), "lengths", 0.3)
    broken = fgsm(seeds(matched, [0.8] * 3, **norb), "logits", 0.1)
    assert verdicts([*spared, *broken])[7] == ["supported", "supported"]
    assert verdicts(fgsm(seeds(matched, [0.8] * 3, **norb), "logits", 0.3))[7] == ["refuted"]


def routing_robust(record: Record, votes: float, output: float) -> Record:
    name = "routing-robustness"
    rows = [(f"{which} attack", value) for which, value in (("vote", votes), ("output", output))]
    return having(record, *(Row(name, "robust accuracy", which, value, "fraction", 0.05) for which, value in rows))


def test_the_vote_attack_beside_the_same_on_the_output(capsules: Make, verdicts: Callable[..., Any]) -> None:
    records = seeds(capsules, [0.9, 0.9, 0.9])
    weaker = [routing_robust(record, 0.5 + 0.01 * seed, 0.7) for seed, record in enumerate(records)]
    assert verdicts(weaker) == {10: ["supported"]}


def test_without_accuracy_no_claim_is_about_nothing(capsules: Make, verdicts: Callable[..., Any]) -> None:
    assert verdicts([capsules(None, dataset="multimnist", **CAPSNET)]) == {}


def transferred(capsules: Make, matched: Make, on_capsules: float, on_cnn: float, images: float = 20.0) -> list[Record]:
    """A capsule network, its CNN and a third network whose adversarial images both are shown, 3 seeds."""
    records = []
    for seed in (0, 1, 2):
        third = capsules(0.9, 5, network="resnet", routing=None, iterations=None, seed=seed)
        records.append(third)
        for target, rate in ((capsules(0.9, seed=seed), on_capsules), (matched(0.9, seed=seed), on_cnn)):
            source = third.cell.id
            success = Row("transfer", "success rate", source, rate + 0.001 * seed, "fraction", 0.05)
            itself = Row("transfer", "success rate", target.cell.id, 1.0, "fraction", 0.05)
            records.append(having(target, success, itself, Row("transfer", "images", source, images, "images", 0.05)))
    return records


def test_transfer_is_judged_by_images_of_third_networks(
    capsules: Make, matched: Make, verdicts: Callable[..., Any]
) -> None:
    assert verdicts(transferred(capsules, matched, on_capsules=0.5, on_cnn=0.3)) == {9: ["supported"]}
    assert verdicts(transferred(capsules, matched, on_capsules=0.3, on_cnn=0.5)) == {9: ["refuted"]}
    assert verdicts(transferred(capsules, matched, on_capsules=0.3, on_cnn=0.5, images=5)) == {}


def test_few_examples_are_the_fewest_of_the_records(
    capsules: Make, matched: Make, verdicts: Callable[..., Any]
) -> None:
    few = [*seeds(capsules, [0.9, 0.91, 0.9], train_size=100), *seeds(matched, [0.8, 0.81, 0.8], train_size=100)]
    many = [*seeds(capsules, [0.98] * 3), *seeds(matched, [0.98] * 3)]
    assert verdicts(few) == {}
    assert verdicts([*few, *many]) == {14: ["supported"]}


def test_the_section_says_the_numbers(capsules: Make, tmp_path: Path) -> None:
    records = [*seeds(capsules, [0.90, 0.80], iterations=1), *seeds(capsules, [0.91, 0.81], iterations=3)]
    table = SECTION.readable(SECTION.table(Material.from_records(records, Store(tmp_path))))
    assert [claim.partition(".")[0] for claim in table["claim"]] == ["13"]
    assert table["numbers"][0].endswith("em \N{MULTIPLICATION SIGN}1 85.0 [21.4, 100.0] %: +1.0 ± 3.7 points")


def test_without_anything_to_say_there_is_no_section(matched: Make, tmp_path: Path) -> None:
    with pytest.raises(NoDataError):
        SECTION.table(Material.from_records([matched()], Store(tmp_path)))


def test_every_claim_has_its_number() -> None:
    assert [hypothesis.number for hypothesis in HYPOTHESES] == [*range(1, 13), 13, 13, 13]


def found(records: list[Record]) -> list[Finding]:
    return judge_claims(Material.from_records(records, Store(Path("nowhere"))))


def decided(make: Make, matched: Make) -> dict[str, list[Record]]:
    """Records that decide a claim each: on numbers of one contender, on two, on several budgets."""
    few = [*seeds(make, [0.9, 0.91, 0.9], train_size=100), *seeds(matched, [0.8, 0.81, 0.8], train_size=100)]
    left = [routing_robust(record, 0.5, 0.7 + number / 100) for number, record in enumerate(seeds(make, [0.9] * 3))]
    overlapping = seeds(make, [0.946, 0.948, 0.95], dataset="multimnist", size="paper", iterations=3, **CAPSNET)
    return {
        "a pair": [*seeds(make, [0.90, 0.80, 0.70], iterations=1), *seeds(make, [0.91, 0.81, 0.712], iterations=3)],
        "worst case": [*attacked(seeds(make, [0.97] * 3), 0.2), *attacked(seeds(matched, [0.97] * 3), 0.3)],
        "one network": left,
        "a number": overlapping,
        "transfer": transferred(make, matched, on_capsules=0.3, on_cnn=0.5),
        "few images": [*few, *seeds(make, [0.98] * 3), *seeds(matched, [0.98] * 3)],
    }


CLAIMS = ["a pair", "worst case", "one network", "a number", "transfer", "few images"]


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_claim_is_decided_by_a_collapsed_network(capsules: Make, matched: Make, claim: str) -> None:
    records = decided(capsules, matched)[claim]
    (before,) = found(records)
    assert before.verdict in ("supported", "refuted")
    stuck = next(record for record in reversed(records) if record.cell.routing)
    (after,) = found([with_collapse(record) if record is stuck else record for record in records])
    assert (after.verdict, after.n) == ("undecided", before.n)
    assert f"{COLLAPSED.sign} has collapsed" in after.numbers


def with_collapse(record: Record) -> Record:
    """The record with the shares of a network that says one class of ten beside its numbers."""
    shares = [row for row in counted(record, **STUCK).rows if row.measure == "accuracy" and row.metric != "accuracy"]
    return having(record, *shares)


@pytest.mark.parametrize("claim", CLAIMS)
def test_no_claim_is_decided_by_the_seeds_that_are_left(capsules: Make, matched: Make, claim: str) -> None:
    records = decided(capsules, matched)[claim]
    lost = next(record.cell for record in reversed(records) if record.cell.routing).model_copy(update={"seed": 3})
    (after,) = found([*records, make_failed(lost)])
    assert (after.verdict, after.n) == ("undecided", 3)
    assert "(3 of 4 seeds) failed in 1 of 4 seeds" in after.numbers


@pytest.mark.parametrize(
    ("claim", "check", "verdict"),
    [
        ("worst case", "gradients not zero", "undecided"),
        ("worst case", "adversarial images valid", "undecided"),
        ("one network", "gradients not zero", "supported"),  # that the routing hides them is what is claimed
        ("one network", "adversarial images valid", "undecided"),
        ("transfer", "doubled steps", "refuted"),
        ("transfer", "two forward passes equal", "undecided"),
        ("a pair", "two forward passes equal", "supported"),
    ],
)
def test_no_claim_is_decided_by_a_number_of_which_a_check_failed(
    capsules: Make, matched: Make, claim: str, check: str, verdict: str
) -> None:
    records = decided(capsules, matched)[claim]
    place = next(place for place, record in enumerate(records) if record.cell.network == "matrix-capsules")
    records[place] = having(records[place], Row("adversarial", "sanity check", check, 0.0, "held"))
    (after,) = found(records)
    assert after.verdict == verdict
    assert (f"failed a sanity check ({check})" in after.numbers) == (verdict == "undecided")
