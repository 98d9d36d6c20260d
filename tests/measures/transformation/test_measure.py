"""The transformation measure on networks made by hand: perfect ones, and ones that take no notice."""

import numpy as np
import pytest
import torch

from capsbench.data.augment import Augmented
from capsbench.data.images import Images, ImageShape
from capsbench.measures.accuracy.measure import Accuracy
from capsbench.measures.speed.measure import Speed
from capsbench.measures.transformation.measure import Transformation, fit_line
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules
from capsbench.networks.transforming_autoencoder import TransformingAutoencoder

SIDE = 13
IMAGE = ImageShape(1, SIDE, SIDE)


def dots(count=60):
    """Images of one bright pixel, near enough to the centre to stay in the image when it is shifted by 4 pixels."""
    places = torch.randint(-2, 3, (count, 2), generator=torch.Generator().manual_seed(0)) + SIDE // 2
    images = torch.zeros(count, *IMAGE)
    images[torch.arange(count), 0, places[:, 1], places[:, 0]] = 1
    return images


class Perfect(TransformingAutoencoder):
    """Capsules that find the bright pixel, of which they take it to be a share as far away; the first draws it again."""

    def __init__(self, shares=(1.0,), presence=(1.0,)):
        super().__init__(IMAGE, 10, capsules=len(shares))
        self.shares, self.presence = torch.tensor(shares), torch.tensor(presence)

    def capsules(self, images):
        at = images.flatten(1).argmax(dim=1)
        position = torch.stack([at % SIDE, at // SIDE], dim=1) - SIDE // 2
        return Capsules(
            position[:, None] * self.shares[:, None].to(images), self.presence.to(images).expand(len(images), -1)
        )

    def generate_images(self, capsules):
        x, y = (capsules.poses[:, 0].round().long() + SIDE // 2).clamp(0, SIDE - 1).unbind(1)
        images = torch.zeros(len(x), *IMAGE, dtype=capsules.poses.dtype)
        images[torch.arange(len(x)), 0, y, x] = 1
        return images


class Deaf(Perfect):
    """Gives its input back, whatever it is told, and its poses never change."""

    def forward(self, images, transforms=None):
        return images

    def capsules(self, images):
        return Capsules(torch.ones(len(images), 1, 2), torch.ones(len(images), 1))


@pytest.fixture
def measured(subject, make_cell):
    def values(network, images):
        cell = make_cell(network="transforming-autoencoder", routing=None, batch=7)
        rows = Transformation()(subject(cell, network, images, torch.zeros(len(images), dtype=torch.int64)))
        assert {row.measure for row in rows} == {"transformation"}
        values = {(row.metric, row.condition): row.value for row in rows}
        assert len(values) == len(rows)
        return values

    return values


def pairs_of(network, images, beyond=False):
    """The pairs that the measure takes, all in one batch."""
    pairs = network.pairs.extend_range() if beyond else network.pairs
    data = Images(images, torch.zeros(len(images), dtype=torch.int64))
    return Augmented(data, (pairs,), torch.Generator().manual_seed(0)).build_batch(torch.arange(len(images)))


# Errors


def test_a_perfect_network_has_no_error_and_its_poses_follow(measured):
    values = measured(Perfect(), dots())
    for where in ("inside", "outside"):
        assert values["squared error", where] == 0
        for part in ("x", "y"):
            assert values["slope", f"{where}, {part}"] == pytest.approx(1)
            assert values["R^2", f"{where}, {part}"] == pytest.approx(1)
    assert values["slope", "inside, capsule 0"] == pytest.approx(1)
    assert values["R^2", "inside, capsule 0"] == pytest.approx(1)
    assert values["presence", "inside, capsule 0"] == 1


def test_a_network_that_takes_no_notice_has_the_error_of_a_copy_and_its_poses_do_not_follow(measured):
    network, images = Deaf(), dots()
    values = measured(network, images)
    for where, beyond in (("inside", False), ("outside", True)):
        pairs = pairs_of(network, images, beyond)
        moved = [not torch.equal(*pair) for pair in zip(pairs.images, pairs.targets, strict=True)]
        assert values["squared error", where] == pytest.approx(2 * sum(moved) / 60)  # a pixel too many, one too few
        assert values["squared error", where] == values["squared error", f"{where}, copied input"] > 1
        assert values["slope", f"{where}, x"] == values["R^2", f"{where}, x"] == 0


def test_the_mean_image_is_the_best_that_one_image_can_be_for_all(measured):
    network, images = Deaf(), dots()
    values = measured(network, images)
    for where, beyond in (("inside", False), ("outside", True)):
        targets = pairs_of(network, images, beyond).targets.double()
        error = (targets - targets.mean(dim=0)).pow(2).sum() / 60
        assert values["squared error", f"{where}, mean image"] == pytest.approx(error.item())


def test_an_error_a_pixel_is_that_of_an_image_shared_out(measured):
    values = measured(Deaf(), dots())
    for name in ("inside", "outside, copied input", "inside, mean image"):
        assert values["squared error", f"{name}, a pixel"] == pytest.approx(values["squared error", name] / SIDE**2)


# Poses


@pytest.mark.parametrize("share", [0.5, -1.0, 2.0])
def test_the_slope_is_how_far_a_pose_goes_of_the_way(measured, share):
    values = measured(Perfect(shares=(share,)), dots())
    for condition in ("inside, x", "outside, y", "inside, capsule 0"):
        assert values["slope", condition] == pytest.approx(share)
        assert values["R^2", condition] == pytest.approx(1)


def test_a_capsule_counts_as_much_as_its_entity_is_present(measured):
    values = measured(Perfect(shares=(1.0, 0.0, 0.5), presence=(0.5, 0.0, 0.0)), dots())
    assert values["slope", "inside, x"] == pytest.approx(1)
    assert values["presence", "inside, capsule 0"] == pytest.approx(0.25)
    assert values["presence", "inside, capsule 1"] == 0
    values = measured(Perfect(shares=(1.0, 0.0), presence=(1.0, 0.5)), dots())
    assert values["slope", "inside, x"] == pytest.approx(0.8)  # weights 1 and 0.25
    assert values["slope", "inside, capsule 1"] == 0


def test_a_matrix_follows_by_the_rows_that_a_transformation_changes(subject, make_cell):
    """A capsule that knows a spot's place, in the last column of its pose, and nothing of its turn and size."""
    along = torch.arange(28.0) - 13.5
    spots = torch.randint(-4, 5, (40, 2, 1, 1), generator=torch.Generator().manual_seed(0))
    images = torch.exp(-((along - spots[:, 0]) ** 2 + (along[:, None] - spots[:, 1]) ** 2) / 4).unsqueeze(1)

    class Centroid(TransformingAutoencoder):
        def capsules(self, images):
            mass = images.sum(dim=(1, 2, 3))
            poses = torch.zeros(len(images), 1, 3, 3)
            poses[:, 0, 0, 2] = (images * along).sum(dim=(1, 2, 3)) / mass / 14
            poses[:, 0, 1, 2] = (images * along[:, None]).sum(dim=(1, 2, 3)) / mass / 14
            poses[:, 0, 2, 2] = 1
            return Capsules(poses, torch.ones(len(images), 1))

    network = Centroid(ImageShape(1, 28, 28), 10, transform="affine", capsules=1)
    cell = make_cell(network="transforming-autoencoder", routing=None)
    rows = Transformation()(subject(cell, network, images, torch.zeros(40, dtype=torch.int64)))
    values = {(row.metric, row.condition): row.value for row in rows}
    assert values["slope", "inside, translation"] == pytest.approx(1, abs=0.01)
    assert values["R^2", "inside, translation"] == pytest.approx(1, abs=0.01)
    assert values["slope", "inside, linear part"] == values["R^2", "inside, linear part"] == 0


def test_a_line_is_that_of_weighted_least_squares():
    random = np.random.RandomState(0)
    x, w = random.randn(50), random.rand(50)
    y = 0.7 * x + 3 + random.randn(50)
    moments = torch.tensor([each.sum() for each in (w, w * x, w * y, w * x * x, w * y * y, w * x * y)])
    slope, constant = np.polyfit(x, y, 1, w=np.sqrt(w))
    left = np.average((y - slope * x - constant) ** 2, weights=w)
    explained = 1 - left / np.average((y - np.average(y, weights=w)) ** 2, weights=w)
    assert fit_line(moments) == pytest.approx((slope, explained))


# As a whole


@pytest.mark.parametrize("network", ["transforming-autoencoder", "conditional-autoencoder"])
@pytest.mark.parametrize("asked", [{}, {"transform": "affine"}, {"precision": "float64"}, {"precision": "bfloat16"}])
def test_every_number_is_finite(make_cell, subject, network, asked):
    cell = make_cell(network=network, routing=None, **asked)
    torch.manual_seed(0)
    made = build_network(cell)
    images = torch.rand(6, 1, 8, 8, dtype=next(made.parameters()).dtype)
    rows = Transformation()(subject(cell, made, images, torch.arange(6)))
    assert all(np.isfinite(row.value) for row in rows)
    poses = {row.condition for row in rows if row.metric == "slope"}
    parts = ("linear part", "translation") if "transform" in asked else ("x", "y")
    own = {f"{w}, {part}" for w in ("inside", "outside") for part in parts} | {
        f"inside, capsule {i}" for i in range(10)
    }
    assert poses == (own if network == "transforming-autoencoder" else set())


@pytest.mark.parametrize(
    ("network", "fitting"),
    [
        ("capsnet", [Accuracy, Speed]),
        ("resnet", [Accuracy, Speed]),
        ("transforming-autoencoder", [Speed, Transformation]),
        ("conditional-autoencoder", [Speed, Transformation]),
    ],
)
def test_which_measures_fit_which_networks(make_cell, network, fitting):
    cell = make_cell(network=network)
    assert [measure for measure in (Accuracy, Speed, Transformation) if measure.applies_to(cell)] == fitting
