"""The suites that ship with capsbench: in full they are the papers' tables, and in small they run from end to end."""

import pytest
import torch

import capsbench
from capsbench import registry
from capsbench.data.formats.published import PublishedSet
from capsbench.data.images import Images, Splits
from capsbench.data.sets.affine_sets import AffineSet
from capsbench.data.sets.affnist import AffNIST
from capsbench.data.sets.digits import Digits
from capsbench.data.sets.smallnorb import SmallNORB
from capsbench.measures.build import measures_of
from capsbench.planning.suites import read_suite, suite_names
from capsbench.planning.suites.published import rows_of
from capsbench.registry import measure_name, measure_setting
from capsbench.reporting.build import report

PAPERS = ("sabour2017", "hinton2018", "gu2021")


@pytest.fixture(scope="module", params=PAPERS)
def paper(request):
    """(the suite, its cells of one seed)."""
    return read_suite(request.param), capsbench.cells(request.param, seeds=0)


def test_each_published_row_is_measured_by_one_contender(paper):
    suite, cells = paper
    for row in suite.published:
        found = [cell for cell in cells if any(each is row for each in rows_of(cell, suite.published))]
        assert len(found) == (0 if row.not_reproduced else 1), row.row
        assert row.condition == "test" or row.condition in ("clean", "familiar")


def test_a_papers_suite_is_of_its_size_and_of_all_its_data(paper):
    _, cells = paper
    assert {(cell.size, cell.train_size) for cell in cells} == {("paper", None)}


def test_sabour2017_is_trained_as_the_authors_code_does():
    cells = capsbench.cells("sabour2017", seeds=0)
    (cell,) = (c for c in cells if (c.dataset, c.iterations, c.reconstruction) == ("mnist", 3, True))
    assert (cell.batch_size, cell.learning_rate, cell.schedule, cell.decay) == (128, 0.001, "exponential", 0.96)
    assert cell.decay_steps == 2000
    assert cell.epochs * 430 == pytest.approx(300_000, rel=0.01)  # 55,000 images are 430 batches
    assert {c.decay_steps for c in cells if c.dataset == "multimnist"} == {20_000}


def test_hinton2018_is_trained_as_the_authors_say_and_for_one_number_of_steps():
    cells = [cell for cell in capsbench.cells("hinton2018", seeds=0) if cell.routing]
    batch_and_rate = {(c.batch_size, c.learning_rate, c.decay, c.decay_steps, c.weight_decay) for c in cells}
    assert batch_and_rate == {(64, 0.003, 0.96, 20_000, 2e-7)}
    steps = {"smallnorb": 342, "mnist": 860, "smallnorb-azimuth": 114, "smallnorb-elevation": 114}  # batches an epoch
    assert all(cell.epochs * steps[cell.dataset] == pytest.approx(73_000, rel=0.01) for cell in cells)


def test_few_examples_keeps_to_one_question():
    """Fewer images, everything else but the passes over them alike."""
    cells = capsbench.cells("few-examples", seeds=0)
    alike = {(c.network, c.routing): set() for c in cells}
    for cell in cells:
        alike[cell.network, cell.routing].add(cell.model_copy(update={"train_size": None, "epochs": 1}).id)
    assert all(len(ids) == 1 for (network, _), ids in alike.items() if network != "matched")
    assert {cell.train_size for cell in cells} == {100, 300, 1000, 3000, 10_000, None}


def few_images(dataset):
    """What ``load`` gives in place of a data set's files: a few images of noise, with every class among them."""
    draw = torch.Generator().manual_seed(0)

    def images(count):
        return Images(torch.rand(count, *dataset.image, generator=draw), torch.arange(count) % dataset.classes)

    return lambda self, folder: Splits(images(20), images(10), images(10), {"familiar": images(10)})


@pytest.fixture
def in_small(monkeypatch, without_pictures):
    """Data sets are a few images of noise, and there are no pictures."""
    for dataset in (registry.get("dataset", name) for name in registry.names("dataset")):
        if issubclass(dataset, Digits | PublishedSet | SmallNORB):
            monkeypatch.setattr(dataset, "load", few_images(dataset))
    monkeypatch.setattr(AffNIST, "warp_test", AffineSet.warp_test)


@pytest.mark.usefixtures("in_small", "in_one_process")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in PAPERS else ()) for name in suite_names()]
)
def test_a_suite_runs_from_end_to_end(name, tmp_path):
    measure = (
        "accuracy,transformation" if name in ("ci", "smoke") else "accuracy"
    )  # some of its networks are not about classes
    outcome = capsbench.run(suite=name, out=tmp_path, size="tiny", epochs=1, train_size=20, seeds=0, measure=measure)
    assert outcome.failed == []
    assert outcome.left_out == {}
    made = report(tmp_path)
    assert len(made.summary) == len(outcome.finished)
    rows = read_suite(name).published
    assert len(made.published) == len(rows)
    for row, (_, line) in zip(rows, made.published.iterrows(), strict=True):
        if row.not_reproduced:
            assert line["verdict"] == f"not reproduced: {row.not_reproduced}"
        else:
            assert line["verdict"] == "not comparable (size tiny, train-size 20)"
            assert (line["n"], line["at"]) == (1, "tiny, train-size 20, epochs 1")


def test_the_demo_trains_as_long_as_everything_on_digits_and_measures_what_is_measured_by_default():
    """But for what takes long, which is measured at its quickest, since networks train until they no longer improve."""
    matrix = read_suite("demo").matrices[0]
    assert {cell.epochs for cell in capsbench.cells("demo")} == {Digits.epochs}
    applies = {name for cell in capsbench.cells("demo", seeds=0) for name in measures_of(cell, None)}
    assert {measure_name(spec): measure_setting(spec) for spec in matrix["measure"]} == {
        name: "quick" if name in ("adversarial", "affine", "equivariance") else "default" for name in applies
    }
