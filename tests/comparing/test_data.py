"""Contenders whose data sets gave other images or labels are not passed, and not compared, as if they had not."""

from dataclasses import replace

import pytest

from capsbench.comparing import check, compare
from capsbench.comparing.data import other_data
from capsbench.comparing.side import Contender
from tests.comparing.records import SEEDS, record, write


def of(labels="aa", images="bb", seed=0, measured=None, iters=3, **facts):
    """A record of a data set with these digests; ``measured`` is that of the data its accuracy was taken on."""
    made = record(0.9 + seed / 100, seed, provenance=facts, iters=iters)
    parts = {"test labels": labels, "test images": images}
    training = replace(made.training, data=f"{labels}-{images}", sources={"data": parts})
    taken = {**made.measures, "accuracy": replace(made.measures["accuracy"], data=measured)}
    return replace(made, training=training, measures=taken)


def without(made):
    """The record as it was written before there were digests of data."""
    return replace(made, training=replace(made.training, data=None, sources={}))


OTHER = [
    (of(), (), False),
    (of(labels="cc"), ("test labels",), True),
    (of(images="cc"), ("test images",), True),
    (of(images="cc", cpu="another CPU"), ("test images",), False),
    (of(labels="cc", cpu="another CPU"), ("test labels",), True),
    (of(measured="cc-bb"), ("data of accuracy",), True),
    (without(of(labels="cc")), (), False),
]


@pytest.mark.parametrize(("made", "parts", "certain"), OTHER)
def test_what_differs_in_the_data_and_whether_more_than_last_bits(made, parts, certain):
    found = other_data(Contender({0: of(measured="aa-bb")}), Contender({0: made}))
    assert (found.parts, found.certain) == (parts, certain)


def test_what_differs_is_collected_from_all_seeds():
    """Pixels of another machine differ, of one seed in the training's data and of the next in those of a measure."""
    before = Contender({seed: of(seed=seed, measured="aa-bb") for seed in (0, 1)})
    training = of(images="cc", seed=0, measured="aa-bb", cpu="another CPU")
    measured = of(seed=1, measured="aa-dd", cpu="another CPU")
    assert other_data(before, Contender({0: training, 1: measured})) == (("test images", "data of accuracy"), False)
    labels = of(labels="cc", seed=1, measured="aa-bb", cpu="another CPU")
    assert other_data(before, Contender({0: training, 1: labels})) == (("test images", "test labels"), True)


@pytest.mark.parametrize(("made", "parts", "certain"), OTHER)
def test_a_check_passes_no_other_labels(tmp_path, made, parts, certain):
    reference = write(tmp_path / "reference", [of(seed=seed, measured="aa-bb") for seed in SEEDS])
    checked = check(reference, write(tmp_path / "out", [made]))
    kinds = [finding.kind for finding in checked.findings if finding.name == "data"]
    assert kinds == ([] if not parts else ["failed"] if certain else ["changed"])
    assert checked.exit_code == (3 if certain else 0)
    assert (len(checked.tests) == 0) is certain


@pytest.mark.parametrize(
    ("before", "now", "noted"), [(of, of, 0), (of, without, 1), (without, of, 1), (without, without, 0)]
)
def test_a_check_notes_once_that_data_are_known_of_one_side_alone(tmp_path, before, now, noted):
    def side(name, make):
        made = [of(seed=seed, iters=iters) for seed in SEEDS for iters in (1, 3)]
        return write(tmp_path / name, [without(each) for each in made] if make is without else made)

    checked = check(side("reference", before), side("out", now))
    assert sum(line.startswith("data not known") for line in checked.notes) == noted
    assert checked.exit_code == 0


@pytest.mark.parametrize(("made", "parts", "certain"), OTHER)
def test_other_data_cannot_be_compared(tmp_path, made, parts, certain):
    found = compare(write(tmp_path / "a", [of(measured="aa-bb")]), write(tmp_path / "b", [made]))
    told = [(name.endswith(": data"), reason) for name, reason in found.not_comparable if "other data" in reason]
    assert [whole for whole, _ in told] == ([not certain] if parts else [])
    assert all(part in reason for _, reason in told for part in parts)
