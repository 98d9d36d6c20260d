"""The equivariance measure on networks made by hand: poses that follow, poses that stay, and noise."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from capsbench.data.warps import warp_images
from capsbench.measures.equivariance.effort import EFFORTS, Effort
from capsbench.measures.equivariance.measure import (
    PENALTIES,
    Equivariance,
    make_matrices,
    map_errors,
    r_squared,
    regression_by_class,
    ridge_regression,
    run_network,
)
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules

SIDE = 40
ALONG = torch.arange(float(SIDE)) - (SIDE - 1) / 2


def blobs(places, angles, sizes, classes):
    """Images ``[N, 1, SIDE, SIDE]`` of blobs at (x, y), turned counter-clockwise (radians), those of class 1 longer."""
    x, y = ALONG - places[:, :1, None], ALONG[:, None] - places[:, 1:, None]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    long, across = (cos * x - sin * y) / (1.5 + classes[:, None, None]), sin * x + cos * y
    return torch.exp(-(long**2 + across**2) / (2 * sizes[:, None, None] ** 2)).unsqueeze(1)


@pytest.fixture(scope="module")
def varied():
    """200 blobs that differ in place, angle and size."""
    place, angle, size = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)).split([2, 1, 1], dim=1)
    classes = torch.arange(200) % 2
    return blobs(4 * place - 2, (angle[:, 0] - 0.5) * 0.6, 1.5 + 0.5 * size[:, 0], classes), classes


@pytest.fixture(scope="module")
def alike():
    """100 blobs in the middle; those of one class are turned and sized alike."""
    classes = torch.arange(100) % 2
    return blobs(torch.zeros(100, 2), 0.3 - 0.6 * classes, 1.5 + 0.5 * classes, classes), classes


class ByHand(CapsuleNetwork):
    """Tells the longer blobs from the others, however they lie, and gives the winner a pose, the other class one of zeros."""

    def pose(self, images):
        raise NotImplementedError

    def capsules(self, images):
        _, _, _, xx, xy, yy = moments(images)
        spread = (((xx - yy) / 2) ** 2 + xy**2).sqrt()
        aspect = (((xx + yy) / 2 + spread) / ((xx + yy) / 2 - spread).clamp_min(1e-6)).sqrt()
        activations = nn.functional.one_hot((aspect > 2).long(), 2).to(images)
        return Capsules(activations[:, :, None, None] * self.pose(images)[:, None, None], activations)


def moments(images):
    """Mass, mean place (x, y) and second moments (xx, xy, yy) of the brightness."""
    mass = images.sum(dim=(1, 2, 3))
    x, y = ((images[:, 0] * along).sum(dim=(1, 2)) / mass for along in (ALONG, ALONG[:, None]))
    from_x, from_y = ALONG - x[:, None, None], ALONG[:, None] - y[:, None, None]
    products = (from_x**2, from_x * from_y, from_y**2)
    return mass, x, y, *((images[:, 0] * product).sum(dim=(1, 2)) / mass for product in products)


class Follows(ByHand):
    """Poses are place, angle and the logarithm of the size, and 1, as homogeneous coordinates have it."""

    def pose(self, images):
        _, x, y, xx, xy, yy = moments(images)
        size = (xx * yy - xy**2).clamp_min(1e-9).log() / 4
        return torch.stack([x, y, torch.atan2(-2 * xy, xx - yy) / 2, size, torch.ones_like(x)], dim=1)


class Stays(ByHand):
    """Poses are what quarter turns do not change: the mean of the pixels and of their squares."""

    def pose(self, images):
        return torch.stack([images.mean(dim=(1, 2, 3)), images.square().mean(dim=(1, 2, 3))], dim=1)


class Noise(ByHand):
    """Poses are drawn anew whenever it is asked."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def pose(self, images):
        return torch.randn(len(images), 4, generator=self.generator)


@pytest.fixture
def measured(subject, make_cell):
    """The rows of a network made by hand, by (metric, condition, level)."""

    def values(network, images, labels):
        rows = Equivariance()(subject(make_cell(batch=50), network, images, labels))
        values = {(row.metric, row.condition, row.level): row.value for row in rows}
        assert len(values) == len(rows)
        assert all(math.isfinite(value) for value in values.values())
        return values

    return values


# Maps


def test_poses_that_follow_have_a_linear_map_and_are_not_the_same(measured, varied):
    values = measured(Follows(), *varied)
    for family, level in (("rotation", 20), ("translation", 15), ("scale", 20)):
        assert values["map error", f"{family}, ridge", level] < 0.01
        assert values["map error", f"{family}, identity", level] > 5 * values["map error", f"{family}, ridge", level]
        assert values["map error", f"{family}, class mean", level] > 0.1


def test_poses_that_stay_have_no_error_of_the_identity_either(measured, varied):
    values = measured(Stays(), *varied)
    for which in ("ridge", "identity"):
        assert values["map error", f"quarter turns, {which}", 90] == pytest.approx(0, abs=1e-6)
    assert values["map error", "quarter turns, class mean", 90] > 0.02
    assert values["consistency", "quarter turns", None] == 1


def test_noise_has_the_error_of_the_mean_and_knows_nothing_of_the_transformation(measured, varied):
    class Constant(Noise):
        def capsules(self, images):
            return Capsules(self.pose(images)[:, None, None], torch.ones(len(images), 1))

    values = measured(Constant(), *varied)
    for level in (90, 180, 270):
        assert values["map error", "quarter turns, ridge", level] == pytest.approx(1, abs=0.1)
        assert values["map error", "quarter turns, identity", level] == pytest.approx(2, abs=0.4)
    assert values["R^2", "all", None] == pytest.approx(0, abs=0.05)


def test_map_errors_are_those_of_least_squares_where_nothing_has_to_be_penalised():
    random = np.random.RandomState(0)
    x, labels = random.randn(400, 3), np.arange(400) % 2
    y = x @ random.randn(3, 3) + 5 + 0.3 * random.randn(400, 3) + labels[:, None]
    with_one = np.c_[x, np.ones(400)]
    fitted = np.linalg.lstsq(with_one[:300], y[:300], rcond=None)[0]
    total = np.sum((y[300:] - y[:300].mean(axis=0)) ** 2)
    means = np.stack([y[:300][labels[:300] == label].mean(axis=0) for label in labels[300:]])
    expected = {
        "ridge": np.sum((y[300:] - with_one[300:] @ fitted) ** 2) / total,
        "identity": np.sum((y[300:] - x[300:]) ** 2) / total,
        "class mean": np.sum((y[300:] - means) ** 2) / total,
    }
    assert map_errors(x, y, labels, 300) == pytest.approx(expected, rel=0.01)


def test_the_penalty_is_that_of_the_least_error_when_each_point_is_left_out_in_turn():
    random = np.random.RandomState(0)
    x, y, at = random.randn(12, 8), random.randn(12, 2), random.randn(5, 8)
    x /= np.sqrt(x.var(axis=0).mean())

    def ridge(x, y, at, penalty):
        centre = x.mean(axis=0)
        gram = (x - centre).T @ (x - centre) + penalty * np.eye(8)
        return (at - centre) @ np.linalg.solve(gram, (x - centre).T @ (y - y.mean(axis=0))) + y.mean(axis=0)

    def left_out(penalty):
        rest = [np.arange(12) != i for i in range(12)]
        return sum(np.sum((y[i] - ridge(x[rest[i]], y[rest[i]], x[i : i + 1], penalty)) ** 2) for i in range(12))

    best = min(PENALTIES, key=left_out)
    assert PENALTIES[0] < best
    np.testing.assert_allclose(ridge_regression(3 * x + 7, y, 3 * at + 7), ridge(x, y, at, best))


def test_of_features_that_do_not_vary_nothing_is_said():
    constant = np.full((10, 3), 0.1) + 1e-16
    assert map_errors(constant, constant, np.zeros(10), 5) == {}


# Parameters


def test_poses_that_follow_tell_the_parameters(measured, alike):
    values = measured(Follows(), *alike)
    for family in ("rotation", "translation", "scale", "all"):
        assert values["R^2", family, None] > 0.95, family


def test_poses_that_stay_tell_the_size_and_nothing_else(measured, alike):
    values = measured(Stays(), *alike)
    assert values["R^2", "scale", None] > 0.9
    assert abs(values["R^2", "rotation", None]) < 0.1
    assert abs(values["R^2", "translation", None]) < 0.1


def test_each_class_has_its_own_regression_from_its_own_principal_components():
    random = np.random.RandomState(0)
    x, y, at = random.randn(80, 30) * np.linspace(3, 0.1, 30), random.randn(80, 2), random.randn(10, 30)
    classes, classes_at = np.arange(80) % 2, np.array([0, 1, 1, 0, 2, 0, 1, 2, 0, 1])
    estimates = regression_by_class(x, classes, y, at, classes_at)
    for label in (0, 1):
        own = x[classes == label]
        pca = PCA(16, svd_solver="full").fit(own)
        expected = ridge_regression(pca.transform(own), y[classes == label], pca.transform(at[classes_at == label]))
        np.testing.assert_allclose(estimates[classes_at == label], expected)
    np.testing.assert_array_equal(estimates[classes_at == 2], [y.mean(axis=0)] * 2)  # of which there are none to fit to


def test_r_squared_of_the_mean_is_0_and_of_worse_negative():
    true = np.array([[1.0], [3.0]])
    assert r_squared(true, true, np.array([2.0])) == 1
    assert r_squared(true, np.full((2, 1), 2.0), np.array([2.0])) == 0
    assert r_squared(true, np.array([[3.0], [1.0]]), np.array([2.0])) == -3


# Consistency


class RightHalf(nn.Module):
    """Predicts 1 where the bright column is right of the middle."""

    def forward(self, images):
        right = images[:, 0].sum(dim=1).argmax(dim=1) >= SIDE // 2
        return nn.functional.one_hot(right.long(), 2).float()


def test_consistency_is_the_share_of_predictions_that_stay(measured):
    """Bars of one bright column; shifts to the right are of 2, 4, 6 and 8 pixels, those downwards change nothing."""
    columns = torch.arange(100) % 30
    images = torch.zeros(100, 1, SIDE, SIDE)
    images[torch.arange(100), 0, :, columns] = 1
    labels = torch.arange(100) % 3 % 2  # right or not
    values = measured(RightHalf(), images, labels)
    right_before = (columns >= SIDE // 2).long() == labels
    for level, pixels in ((5, 2), (10, 4), (15, 6), (20, 8)):
        stays = (columns + pixels >= SIDE // 2) == (columns >= SIDE // 2)
        assert values["consistency", "translation", level] == pytest.approx(float(1 + stays.double().mean()) / 2)
        of_right = float(1 + stays[right_before].double().mean()) / 2
        assert values["consistency", "translation, right before", level] == pytest.approx(of_right)
    levels = [values["consistency", "translation", level] for level in (5, 10, 15, 20)]
    assert values["consistency", "translation", None] == pytest.approx(np.mean(levels))
    means = [values["consistency", family, None] for family in ("rotation", "translation", "scale")]
    assert values["consistency", "all", None] == pytest.approx(np.mean(means))


def test_without_an_image_that_is_right_there_is_no_row_about_those(measured, varied):
    class Wrong(ByHand):
        def capsules(self, images):
            return Capsules(torch.zeros(len(images), 2, 1, 0), torch.tensor([0.0, 1.0]).repeat(len(images), 1))

    values = measured(Wrong(), varied[0], torch.zeros_like(varied[1]))
    assert {condition for _, condition, _ in values} == {"rotation", "translation", "scale", "quarter turns", "all"}


# Transformations


def test_warps_go_where_they_say():
    image = torch.zeros(1, 1, 20, 20)
    image[0, 0, 5, 7] = 1
    moved = warp_images(image, make_matrices(image, torch.tensor([[0.0, 10.0, 5.0, 0.0]])))
    assert moved[0, 0, 6, 9] == 1
    turned = warp_images(image, make_matrices(image, torch.tensor([[90.0, 0.0, 0.0, 0.0]])))
    assert torch.equal(turned, torch.rot90(image, 1, (2, 3)))


def test_a_size_of_minus_25_undoes_one_of_25():
    image = torch.zeros(1, 1, 8, 8)
    larger, smaller = (make_matrices(image, torch.tensor([[0.0, 0.0, 0.0, size]]))[0, :, :2] for size in (25.0, -25.0))
    torch.testing.assert_close(larger, 1.25 * torch.eye(2, dtype=torch.double))
    torch.testing.assert_close(larger @ smaller, torch.eye(2, dtype=torch.double))


# What is seen of a network


def test_of_a_cnn_the_input_of_its_last_layer_is_seen(subject, make_cell, varied):
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 5), nn.ReLU())
    last = nn.Linear(5, 10)
    images, labels = varied
    cell = make_cell(network="cnn-hinton2018", batch=64)
    found = run_network(subject(cell, nn.Sequential(hidden, last), images, labels), images)
    np.testing.assert_allclose(found.whole, hidden(images).detach().double(), rtol=1e-4, atol=1e-6)
    assert found.classes.tolist() == last(hidden(images)).argmax(dim=1).tolist()


def test_a_feature_map_is_seen_by_its_mean_over_positions(subject, make_cell, varied):
    torch.manual_seed(0)
    hidden = nn.Sequential(nn.Conv2d(1, 3, 9, 8), nn.ReLU())
    network = nn.Sequential(hidden, nn.Conv2d(3, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = run_network(subject(make_cell(network="cnn-hinton2018"), network, *varied), varied[0])
    np.testing.assert_allclose(found.whole, hidden(varied[0]).mean(dim=(2, 3)).detach().double(), rtol=1e-4, atol=1e-6)


def test_the_pose_of_the_winning_class_is_seen(subject, make_cell, varied):
    network = Follows()
    found = run_network(subject(make_cell(), network, *varied), varied[0])
    capsules = network.capsules(varied[0])
    for i in (0, 7, 199):
        winner = capsules.activations[i].argmax()
        assert found.classes[i] == winner
        assert found.winner[i].tolist() == capsules.poses[i, winner, 0].double().tolist()


# As a whole


@pytest.mark.parametrize(
    "asked",
    [
        dict(routing="dynamic"),
        dict(routing="em", precision="bfloat16"),
        dict(routing="inverted-attention", precision="float64"),
        dict(network="resnet"),
        dict(network="all-conv"),
    ],
)
def test_networks_have_all_rows_and_are_left_as_they_were(make_cell, subject, asked):
    cell = make_cell(**asked)
    torch.manual_seed(0)
    network = build_network(cell)
    images = torch.rand(12, 1, 8, 8, dtype=next(network.parameters()).dtype)
    made = subject(cell, network, images, torch.arange(12) % 10)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    hooks = [{**module._forward_pre_hooks} for module in network.modules()]
    rows = Equivariance()(made)
    assert {row.measure for row in rows} == {"equivariance"}
    assert {row.metric for row in rows} == {"consistency", "map error", "R^2"}
    summaries = [row for row in rows if row.condition.startswith("all") and row.level is None]
    assert len(summaries) >= 6
    assert all(math.isfinite(row.value) for row in rows)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [{**module._forward_pre_hooks} for module in network.modules()] == hooks
    assert Equivariance()(made) == rows


def test_without_poses_there_is_consistency_alone(make_cell, subject):
    cell = make_cell(network="capsnet-hahn2019")
    network = build_network(cell)
    assert network.classes.weights.shape[-1] == 0
    rows = Equivariance()(subject(cell, network, torch.rand(12, 1, 8, 8), torch.arange(12) % 10))
    assert {row.metric for row in rows} == {"consistency"}


def test_which_networks_and_data_it_fits(make_cell):
    assert Equivariance.applies_to(make_cell())
    assert Equivariance.applies_to(make_cell(network="resnet"))
    assert not Equivariance.applies_to(make_cell(network="transforming-autoencoder"))
    assert not Equivariance.applies_to(make_cell(dataset="multimnist"))


@pytest.mark.parametrize(("most", "taken"), [(30, 30), (1000, 200)])
def test_no_more_images_are_taken_than_the_setting_says(measured, varied, monkeypatch, most, taken):
    counted = []

    class Counting(Stays):
        def pose(self, images):
            counted.append(len(images))
            return super().pose(images)

    monkeypatch.setitem(EFFORTS, "light", Effort(images=most, draws=2))
    measured(Counting(), *varied)
    assert sum(counted) == taken * (
        1 + 3 * 4 * 2 + 3 + 2
    )  # as they are, 3 families at 4 levels both ways, turns, draws
