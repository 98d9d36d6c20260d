"""The measure of out-of-distribution images: its areas and rates against loops, its sets, and what is left out."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from capsbench import registry
from capsbench.data.sets.digits import Digits
from capsbench.errors import UsageError
from capsbench.measures.ood.measure import OutOfDistribution, compare_scores
from capsbench.measures.ood.sets import is_here, load_outside, make_synthetic
from capsbench.networks.build import build_network
from capsbench.records.parts import open_dataset


def loop_auroc(known, outside):
    return np.mean([(a > b) + 0.5 * (a == b) for a in known for b in outside])


def loop_fpr(known, outside):
    """The false positive rate at the largest of all scores that at least 95 % of the known ones reach."""
    reached = [score for score in sorted({*known, *outside}) if np.mean(np.array(known) >= score) >= 0.95]
    return np.mean(np.array(outside) >= reached[-1])


@pytest.mark.parametrize(("known", "outside", "levels"), [(40, 30, 5), (20, 7, 50), (1, 1, 2), (33, 60, 10**6)])
def test_areas_and_rates_are_those_of_loops_over_all_pairs_and_thresholds(known, outside, levels):
    draw = np.random.RandomState(known)
    scores = [draw.randint(levels, size=count) / levels for count in (known, outside)]
    auroc, fpr = compare_scores(*(torch.tensor(values) for values in scores))
    assert auroc == pytest.approx(loop_auroc(*scores))
    assert fpr == pytest.approx(loop_fpr(*scores))


def test_scores_that_are_apart_and_scores_that_are_equal():
    assert compare_scores(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == (1.0, 0.0)
    assert compare_scores(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])) == (0.0, 1.0)
    assert compare_scores(torch.ones(3), torch.ones(5)) == (0.5, 1.0)


# Sets


def test_synthetic_sets_are_noise_and_the_same_pixels_elsewhere():
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    dataset = open_dataset("cifar10")
    dataset.image = dataset.image._replace(height=8, width=8)
    sets = make_synthetic(images, dataset)
    noise, shuffled = sets["uniform noise"], sets["shuffled pixels"]
    assert noise.shape == shuffled.shape == images.shape
    assert 0 <= noise.min() < 0.01 < 0.99 < noise.max() <= 1
    for before, after in zip(images, shuffled, strict=True):
        assert not torch.equal(before, after)
        colours = [sorted(map(tuple, image.flatten(1).T.tolist())) for image in (before, after)]
        assert colours[0] == colours[1]
    again = make_synthetic(images, dataset)
    assert all(torch.equal(again[name], sets[name]) for name in sets)


def test_declared_sets_are_data_sets_with_as_many_channels():
    for name in registry.BUILT_IN["dataset"]:
        dataset = open_dataset(name)
        for other in dataset.out_of_distribution:
            assert open_dataset(other).image.channels == dataset.image.channels
            assert other != name


@pytest.fixture
def letters(tmp_path):
    """A data folder with 10,000 letters of one grey each."""
    folder = tmp_path / "notMNIST" / "raw"
    folder.mkdir(parents=True)
    greys = np.arange(10_000, dtype=np.int64) % 251
    images = np.repeat(greys.astype(np.uint8), 784).tobytes()
    labels = (np.arange(10_000) % 10).astype(np.uint8).tobytes()
    header = b"\0\0\x08\x03" + (10_000).to_bytes(4, "big") + (28).to_bytes(4, "big") * 2
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images, 1))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01" + header[4:8] + labels, 1))
    return tmp_path


def test_sets_are_here_with_all_of_their_files(letters, tmp_path_factory):
    assert is_here("notmnist-10k", letters)
    assert not is_here("notmnist-10k", tmp_path_factory.mktemp("empty"))
    assert is_here("digits", letters)


def test_a_set_of_damaged_files_is_an_error(letters):
    with pytest.raises(UsageError) as caught:  # sizes and sums are not the published ones
        load_outside("notmnist-10k", Digits(), letters, 10)
    assert caught.value.file.parent == letters / "notMNIST" / "raw"


def test_images_of_another_size_are_resized_as_all_from_elsewhere(tmp_path, monkeypatch):
    class Small(Digits):
        image = Digits.image._replace(height=4, width=4)

    images = load_outside("digits", Small(), tmp_path, 50)
    assert images.shape == (50, 1, 4, 4)
    test = Digits().load(tmp_path).test.images
    means = test.view(-1, 1, 4, 2, 4, 2).mean(dim=(3, 5))
    assert all((means == image).flatten(1).all(dim=1).any() for image in images)


# The measure


class Mean(nn.Module):
    """Scores by the mean grey: the larger of two logits is twice its size."""

    def forward(self, images):
        grey = images.mean(dim=(1, 2, 3))
        return torch.stack([grey, 2 * grey], dim=1)


def values_of(rows):
    values = {(row.metric, row.condition): row.value for row in rows}
    assert len(values) == len(rows)
    return values


@pytest.fixture
def scored(subject, make_cell, tmp_path):
    def score(network="resnet", module=None, images=None, **request):
        cell = make_cell(network=network, **request) if network != "capsnet" else make_cell(**request)
        torch.manual_seed(0)
        images = torch.rand(30, 1, 8, 8) if images is None else images
        kept = {}
        made = subject(cell, module or build_network(cell), images, torch.arange(len(images)) % 10, kept)
        return OutOfDistribution("quick")(replace(made, folder=tmp_path)), kept

    return score


def test_a_cnn_is_scored_by_its_logit_and_its_softmax(scored):
    rows, kept = scored(module=Mean())
    values = values_of(rows)
    logits = kept["test.activation"]
    assert logits.tolist() == pytest.approx(kept["test.share"].exp().logit().mul(2).tolist(), abs=1e-4)
    noise = kept["uniform noise.activation"]
    assert values["AUROC by activation", "uniform noise"] == pytest.approx(loop_auroc(logits, noise))
    assert values["FPR at 95 % by activation", "uniform noise"] == pytest.approx(
        loop_fpr(logits.tolist(), noise.tolist())
    )
    assert values["AUROC by activation", "shuffled pixels"] == pytest.approx(0.5, abs=0.02)  # shuffling keeps the mean
    assert not any(metric.endswith("reconstruction") for metric, _ in values)


def test_the_mean_is_over_the_sets_that_were_scored(scored):
    values = values_of(scored(module=Mean())[0])
    of_sets = [values["AUROC by share", name] for name in ("uniform noise", "shuffled pixels")]
    assert values["AUROC by share", "mean"] == pytest.approx(np.mean(of_sets))


def test_sets_without_files_are_left_out_by_name(scored):
    values = values_of(scored(module=Mean())[0])
    counts = {name: count for (metric, name), count in values.items() if metric == "images"}
    declared = dict.fromkeys(Digits.out_of_distribution, 0)
    assert counts == {"test": 30, "uniform noise": 30, "shuffled pixels": 30, **declared}


def test_a_set_in_the_data_folder_is_scored(scored, monkeypatch):
    monkeypatch.setattr(Digits, "out_of_distribution", ("digits",))
    values = values_of(scored(module=Mean())[0])
    assert values["images", "digits"] == 200
    assert ("AUROC by activation", "digits") in values


@pytest.mark.parametrize(
    "request_", [dict(), dict(routing="em", reconstruction=True, precision="bfloat16"), dict(precision="float64")]
)
def test_capsules_are_scored_by_activation_share_and_reconstruction(scored, request_):
    images = torch.rand(12, 1, 8, 8)
    cast = images.double() if request_.get("precision") == "float64" else images
    rows, kept = scored("capsnet", images=cast, **request_)
    assert {metric for metric, _ in values_of(rows)} >= {"AUROC by reconstruction", "FPR at 95 % by share"}
    assert (kept["test.reconstruction"] < 0).all()
    assert ((kept["test.share"] <= 0) & (kept["test.activation"] >= 0)).all()
    assert scored("capsnet", images=cast, **request_)[0] == rows


def test_it_applies_to_networks_that_score_classes(make_cell):
    assert OutOfDistribution.applies_to(make_cell())
    assert OutOfDistribution.applies_to(make_cell(dataset="multimnist"))
    assert not OutOfDistribution.applies_to(make_cell(network="conditional-autoencoder"))
    assert OutOfDistribution.cost.keys() == set(OutOfDistribution.settings)
