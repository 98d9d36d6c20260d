"""The affine measure of classifiers that read where a dot is, so that accuracy at every level is known beforehand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import Tensor, nn

from capsbench.data.images import Images, Splits
from capsbench.data.warps import FAMILIES, choose_outside, warp_images
from capsbench.measures.affine.measure import Affine, choose_images, draw_numbers
from capsbench.networks.build import build_network

SIDE = 21
CENTRE = SIDE // 2


class Place(nn.Module):
    """Scores two classes by where the centre of mass is: class 1 where ``far`` says so of its x and y from the centre."""

    def __init__(self, far):
        super().__init__()
        self.far = far

    def forward(self, images):
        offsets = torch.arange(SIDE, dtype=images.dtype) - CENTRE
        mass = images.sum(dim=(1, 2, 3))
        x = (images.sum(dim=(1, 2)) * offsets).sum(dim=1) / mass
        y = (images.sum(dim=(1, 3)) * offsets).sum(dim=1) / mass
        far = self.far(x, y).to(images.dtype)
        return torch.stack([1 - far, far], dim=1)


def dots(count: int, right: int = 0, down: int = 0) -> Tensor:
    """Images of a single dot, a bell some pixels wide, whose centre of mass is where a warp sends its centre."""
    y, x = (torch.arange(SIDE) - CENTRE - offset for offset in (down, right))
    bell = (-(x**2 + y[:, None] ** 2) / 3.0).exp()
    return torch.where(bell > 0.01, bell, 0.0).expand(count, 1, SIDE, SIDE).clone()


def numbers_of(rows) -> dict[tuple[str, str, float | None], float]:
    return {(row.metric, row.condition, row.level): row.value for row in rows}


def curve(rows, family: str) -> dict[float, float]:
    return {row.level: row.value for row in rows if (row.metric, row.condition) == ("accuracy", family)}


def test_translation_of_a_dot_by_its_length(subject, make_cell):
    network = Place(lambda x, y: torch.hypot(x, y) > 3.5)
    rows = Affine()(subject(make_cell(), network, dots(40), torch.zeros(40, dtype=torch.int64)))
    found = curve(rows, "translation")
    for level in (0.0, 0.0625, 0.125, 0.1875, 0.25):
        angle = 2 * np.pi * draw_numbers(40)[:, 1].numpy()
        pixels = np.round(level * SIDE * np.stack([np.cos(angle), np.sin(angle)]))
        assert found[level] == np.mean(np.hypot(*pixels) <= 3.5)
    assert [found[level] for level in (0.0, 0.0625, 0.25)] == [1.0, 1.0, 0.0]
    values = numbers_of(rows)
    assert values["area under the curve", "translation", None] == pytest.approx(
        (1.5 + found[0.125] + found[0.1875]) / 4
    )
    # A dot in the centre stays there, whatever else is done to the image.
    for family in ("rotation", "scale", "shear"):
        assert set(curve(rows, family).values()) == {1.0}
        assert values["area under the curve", family, None] == 1.0
    assert {row.measure for row in rows} == {"affine"}
    assert {row.unit for row in rows} == {"fraction", "ratio"}


def test_rotation_of_a_dot_by_its_angle(subject, make_cell):
    network = Place(lambda x, y: torch.atan2(y, x).abs().rad2deg() > 40)
    rows = Affine()(subject(make_cell(), network, dots(40, right=7), torch.zeros(40, dtype=torch.int64)))
    assert curve(rows, "rotation") == {0.0: 1.0, 15.0: 1.0, 30.0: 1.0, 45.0: 0.0, 60.0: 0.0}


def test_half_of_the_images_turn_to_either_side(subject, make_cell):
    clockwise = Place(lambda x, y: torch.atan2(y, x).rad2deg() > 10)
    rows = Affine("full")(subject(make_cell(), clockwise, dots(400, right=7), torch.zeros(400, dtype=torch.int64)))
    found = curve(rows, "rotation")
    assert len(found) == 9
    assert found[0.0] == found[7.5] == 1.0
    to_the_left = float((draw_numbers(400)[:, 0] >= 0.5).double().mean())
    assert 0.4 < to_the_left < 0.6
    assert [found[level] for level in found if level > 10] == [to_the_left] * 7


def test_scale_of_a_dot_by_its_distance(subject, make_cell):
    network = Place(lambda x, y: (x > 6 * 1.2) | (x < 6 / 1.2))
    rows = Affine()(subject(make_cell(), network, dots(40, right=6), torch.zeros(40, dtype=torch.int64)))
    found = curve(rows, "scale")
    assert [found[level] for level in (0.0, 0.125)] == [1.0, 1.0]
    assert [found[level] for level in (0.25, 0.375, 0.5)] == [0.0, 0.0, 0.0]


def test_shear_of_a_dot_by_its_height(subject, make_cell):
    network = Place(lambda x, y: x.abs() > 2.0)
    rows = Affine()(subject(make_cell(), network, dots(40, down=5), torch.zeros(40, dtype=torch.int64)))
    found = curve(rows, "shear")
    assert [found[level] for level in sorted(found)] == [float(5 * level < 2.0) for level in sorted(found)]
    assert sorted(found) == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6])


def test_groups_translate_alike(subject, make_cell):
    """A dot in the centre feels the translation alone, which all of them share."""
    network = Place(lambda x, y: torch.hypot(x, y) > 2.0)
    labels = torch.zeros(200, dtype=torch.int64)
    rows = Affine()(subject(make_cell(), network, dots(200), labels))
    drawn = draw_numbers(200)[:, 1:3]
    for level in (0.25, 0.5, 0.75, 1.0):
        away = (level * 0.15 * SIDE * (2 * drawn - 1)).square().sum(dim=1).sqrt()
        expected = float((away <= 2.0).double().mean())
        for family in ("Euclidean", "similarity", "affine"):
            assert curve(rows, family)[level] == pytest.approx(expected, abs=0.011)  # two of 200 near the edge
        assert curve(rows, "projective")[level] == pytest.approx(expected, abs=0.05)  # a tilted dot is a little askew
    assert 0 < expected < 1


def test_the_area_is_that_of_scipy_and_is_retained_of_the_clean_accuracy(subject, make_cell):
    images = torch.cat([dots(30), dots(10, right=3)])
    network = Place(lambda x, y: torch.hypot(x, y) > 2.5)
    rows = Affine("full")(subject(make_cell(), network, images, torch.zeros(40, dtype=torch.int64)))
    values = numbers_of(rows)
    for family in FAMILIES:
        found = curve(rows, family)
        levels = sorted(found)
        area = trapezoid([found[level] for level in levels], levels) / levels[-1]
        assert found[0.0] == 0.75
        assert values["area under the curve", family, None] == pytest.approx(area)
        assert values["retained accuracy", family, None] == pytest.approx(area / 0.75)
    assert len(rows) == len(FAMILIES) * (9 + 2)


def test_where_nothing_is_right_nothing_is_retained(subject, make_cell):
    network = Place(lambda x, y: x > -1000)
    rows = Affine()(subject(make_cell(), network, dots(10), torch.zeros(10, dtype=torch.int64)))
    assert {row.metric for row in rows} == {"accuracy", "area under the curve"}
    assert {row.value for row in rows} == {0.0}


class Recorder(nn.Module):
    """Remembers the images it is shown."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.norm = nn.BatchNorm2d(1)
        self.classes = classes
        self.seen: list[Tensor] = []

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.norm(images).flatten(1)[:, : self.classes] * self.weight

    @property
    def shown(self) -> Tensor:
        return torch.cat(self.seen)


def noise(count: int, side: int = 9) -> tuple[Tensor, Tensor]:
    """Images on an empty ground, and labels of which some are rarer."""
    generator = torch.Generator().manual_seed(1)
    images = torch.zeros(count, 1, side, side)
    images[:, :, 1:-1, 1:-1] = torch.rand(count, 1, side - 2, side - 2, generator=generator)
    return images, torch.randint(100, (count,), generator=generator).float().sqrt().long()


def test_all_contenders_get_the_same_images(subject, make_cell):
    images, labels = noise(60)
    seen = []
    for cell in (make_cell(seeds=0), make_cell(seeds=7, batch=13), make_cell(network="cnn-hinton2018", lr=0.1)):
        torch.manual_seed(cell.seed)
        network = Recorder()
        Affine()(subject(cell, network, images, labels))
        seen.append(network.shown)
    assert seen[0].equal(seen[1])
    assert seen[0].equal(seen[2])
    assert len(seen[0]) == 60 * (1 + 8 * 4)


def test_images_are_warped_by_their_family_at_their_level(subject, make_cell):
    images, labels = noise(20)
    network = Recorder()
    Affine()(subject(make_cell(), network, images, labels))
    shown = iter(network.shown.split(20))
    assert next(shown).equal(images)
    for family in FAMILIES.values():
        for step in (1, 2, 3, 4):
            matrices = family.build_homographies(draw_numbers(20), family.largest * step / 4, 9, 9)
            assert next(shown).equal(warp_images(images, matrices))


def test_light_is_a_stratified_draw_of_500_and_warps_an_image_as_full_does(subject, make_cell):
    images, labels = noise(700)
    kept: dict[str, dict[str, Tensor]] = {"light": {}, "full": {}}
    networks = {}
    for setting in kept:
        networks[setting] = Recorder()
        Affine(setting)(subject(make_cell(), networks[setting], images, labels, kept[setting]))
    which = kept["light"]["image"].long()
    assert len(which) == 500
    assert which.tolist() == sorted(set(which.tolist()))
    shares = labels[which].bincount() / 500 - labels.bincount() / 700
    assert shares.abs().max() < 0.004
    assert kept["full"]["image"].tolist() == list(range(700))
    light, full = networks["light"].shown.split(500), networks["full"].shown.split(700)
    assert (len(light), len(full)) == (1 + 8 * 4, 1 + 8 * 8)
    for family in range(8):
        for step in (1, 2, 3, 4):
            assert light[4 * family + step].equal(full[8 * family + 2 * step][which])


def test_fewer_images_than_500_are_all_taken():
    assert choose_images(torch.arange(10) % 3, 500).tolist() == list(range(10))


def test_clean_images_are_warped_where_a_data_set_has_some(subject, make_cell):
    images, labels = noise(20)
    made = subject(make_cell(), Recorder(), images, labels)
    clean = Images(images.flip(0), labels.flip(0))
    data = Splits(made.data.train, made.data.validation, made.data.test, {"clean": clean})
    rows = Affine()(replace(made, data=data))
    assert made.network.shown[:20].equal(clean.images)
    expected = Affine()(subject(make_cell(), Recorder(), clean.images, clean.labels))
    assert rows == expected


def test_what_lies_beyond_the_edges():
    digits, photographs = noise(5)[0], torch.rand(5, 3, 8, 8) + 0.01
    assert choose_outside(digits) == "zeros"
    assert choose_outside(photographs) == "border"
    mostly_empty = digits.clone()
    mostly_empty[:, :, 0] = 0.5  # one of four edges
    assert choose_outside(mostly_empty) == "zeros"
    mostly_empty[:, :, :, 0] = mostly_empty[:, :, -1] = 0.5
    assert choose_outside(mostly_empty) == "border"


def test_a_photograph_stays_without_black_corners(subject, make_cell):
    network = Recorder()
    images = torch.full((12, 1, 9, 9), 0.7)
    Affine()(subject(make_cell(), network, images, torch.arange(12) % 10))
    torch.testing.assert_close(network.shown, torch.full_like(network.shown, 0.7))


def test_images_of_two_objects_count_where_both_are_found(subject, make_cell):
    labels = torch.tensor([[0, 1], [1, 0], [0, 2], [2, 1]])

    class Fixed(nn.Module):
        def forward(self, images):
            return torch.tensor([0.9, 0.8, 0.1]).expand(len(images), 3)

    kept: dict[str, Tensor] = {}
    rows = Affine()(subject(make_cell(dataset="digits"), Fixed(), dots(4), labels, kept))
    assert {row.value for row in rows if row.metric == "accuracy"} == {0.5}
    assert kept["picture.predictions"].shape == (17, 3, 2)
    assert kept["picture.labels"].tolist() == [[0, 1], [1, 0], [2, 1]]


def test_what_is_kept(subject, make_cell):
    network = Place(lambda x, y: torch.hypot(x, y) > 3.5)
    labels = torch.arange(40) % 2
    images = torch.where(labels[:, None, None, None] == 1, dots(40, right=5), dots(40))
    kept: dict[str, Tensor] = {}
    rows = Affine()(subject(make_cell(), network, images, labels, kept))
    assert kept["right"].dtype == torch.bool
    assert kept["right"].shape == (40, 8, 5)
    means = kept["right"].double().mean(dim=0)
    for family, name in enumerate(FAMILIES):
        assert means[family].tolist() == list(curve(rows, name).values())
    assert kept["picture.labels"].tolist() == [0, 1]
    assert kept["picture.images"].shape == (17, 2, 1, SIDE, SIDE)
    assert kept["picture.images"][0].equal((255 * images[:2]).round().to(torch.uint8))
    assert kept["picture.predictions"][0].tolist() == [0, 1]
    correct = kept["picture.predictions"] == kept["picture.labels"]
    assert correct[1:].view(8, 2, 2).equal(kept["right"][:2][:, :, [2, 4]].permute(1, 2, 0))
    rotated = warp_images(images[1:2], FAMILIES["rotation"].build_homographies(draw_numbers(2)[1:], 60.0, SIDE, SIDE))
    assert kept["picture.images"][2, 1].equal((255 * rotated[0]).round().to(torch.uint8))


def test_the_network_is_left_as_it_was(subject, make_cell):
    images, labels = noise(20)
    network = Recorder()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    Affine()(subject(make_cell(), network, images, labels))
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_network_gives_the_same_numbers_each_time(make_cell, subject, precision):
    cell = make_cell(dataset="digits", size="tiny", precision=precision)
    torch.manual_seed(0)
    network = build_network(cell)
    images = torch.rand(30, 1, 8, 8, dtype=getattr(torch, precision))
    made = subject(cell, network, images, torch.arange(30) % 10)
    first, again = Affine()(made), Affine()(made)
    assert first == again
    assert all(math.isfinite(row.value) for row in first)
