"""A picture of each kind for each kind of network and of images."""

import json
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from capsbench.data.base import load_splits
from capsbench.errors import Kind, UsageError
from capsbench.presenting.figures.style import COLUMN, DPI, PAGE
from capsbench.records.store import Store
from capsbench.showing import PICTURES, drawn, show
from capsbench.showing.decoding import dimensions, perturbed
from capsbench.showing.rotation import rotated
from capsbench.showing.scene import scene_of

ROUTED = {"coupling", "coupling-means", "agreement"}
DECODED = {"reconstructions", "dimensions"}
TURNED = {"rotation"}

CASES = [
    (dict(routing="dynamic"), ROUTED | DECODED | TURNED),
    (dict(routing="dynamic", iters=5, leaky=True), ROUTED | DECODED | TURNED),
    (dict(routing="uniform", reconstruction=False), ROUTED | TURNED),
    (dict(routing="em"), ROUTED | TURNED),
    (dict(routing="em", reconstruction=True), ROUTED | DECODED | TURNED),
    (dict(routing="variational-bayes"), ROUTED | TURNED),
    (dict(network="efficient-capsnet"), ROUTED | DECODED | TURNED),
    (dict(network="capsnet-hahn2019"), ROUTED | TURNED),
    (dict(network="capsnet-tsai2020"), ROUTED | TURNED),
    (dict(network="all-conv"), TURNED),
    (dict(network="transforming-autoencoder"), {"reconstructions"}),
    (dict(network="conditional-autoencoder"), {"reconstructions"}),
]


@pytest.fixture
def make(put, tmp_path):
    def draw(images=2, index=None, to=None, **request):
        cell = put(**{"dataset": "digits", **request})
        return show(cell.id, tmp_path / "results", images=images, index=index, to=to)

    return draw


@pytest.fixture
def scene(put, tmp_path):
    def of(count=2, index=None, **request):
        cell = put(**{"dataset": "digits", **request})
        store = Store(tmp_path / "results")
        return scene_of(store.read(cell.id), store, tmp_path, count=count, index=index, retrain="")

    return of


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    """Means over few images, so that the tests are quick."""
    monkeypatch.setattr("capsbench.showing.coupling.AVERAGED", 12)


@pytest.mark.parametrize(("request_", "expected"), CASES, ids=lambda each: "" if isinstance(each, set) else str(each))
def test_what_applies_to_each_network_is_drawn_and_the_rest_has_a_reason(scene, request_, expected):
    pictures, left_out = drawn(scene(**request_))
    assert set(pictures) == expected
    assert set(left_out) == set(PICTURES) - expected
    assert all(left_out.values())
    for name, picture in pictures.items():
        assert picture.figure.get_figwidth() == (COLUMN if name == "agreement" else PAGE)
        assert picture.title
        assert picture.caption.endswith(".")
        assert "  " not in picture.caption


def test_each_picture_is_two_files_and_all_are_listed(make, tmp_path):
    made = make(routing="dynamic")
    folder = tmp_path / "results" / "shown" / made.cell.id
    listed = json.loads((folder / "shown.json").read_text())
    assert [each["name"] for each in listed] == list(PICTURES)
    assert [(each["title"], each["caption"]) for each in listed] == [
        (picture.title, picture.caption) for picture in made.pictures.values()
    ]
    files = {f"{name}.{form}" for name in PICTURES for form in ("svg", "png")}
    assert {path.name for path in folder.iterdir()} == files | {"shown.json"}
    for name in PICTURES:
        ElementTree.parse(folder / f"{name}.svg")
        with Image.open(folder / f"{name}.png") as image:
            assert image.width == round((COLUMN if name == "agreement" else PAGE) * DPI)


@pytest.mark.parametrize("kind", ["Colour", "Stereo", "Pairs"])
def test_images_of_every_kind(scene, own_data, kind):
    decoded = kind != "Stereo"  # a decoder makes pixels from 0 to 1, which these are not
    pictures, left_out = drawn(scene(dataset=own_data(kind), routing="dynamic", kernel=3, reconstruction=decoded))
    assert set(left_out) == (set() if decoded else DECODED)
    assert ("Of the stereo pair the first image is shown" in pictures["rotation"].caption) == (kind == "Stereo")
    assert ("standardised" in pictures["rotation"].caption) == (kind == "Stereo")
    assert ("the labels thick" in pictures["rotation"].caption) == (kind == "Pairs")
    if decoded:
        assert ("Each object" in pictures["reconstructions"].caption) == (kind == "Pairs")


def test_the_same_network_gives_the_same_files(make, tmp_path):
    first = make(routing="dynamic", to=tmp_path / "first")
    second = make(routing="dynamic", to=tmp_path / "second")
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_pictures_of_an_earlier_network_that_do_not_apply_are_removed(make, tmp_path):
    make(routing="dynamic", to=tmp_path / "here")
    made = make(network="all-conv", to=tmp_path / "here")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {path.name for path in made.files}


def test_a_capsule_changed_by_0_gives_the_reconstruction_and_one_value_changes_one_line(scene):
    own = scene(routing="dynamic")
    images = own.images[own.shown]
    poses, classes = own.poses(images), own.predicted(images)[:, 0]
    changes = torch.tensor([[-0.25, 0.0, 0.25]] * 2)
    made = perturbed(own, poses, classes, changes)
    assert made.shape == (2, 16, 3, 1, 8, 8)
    plain = own.decoded(poses, classes)
    for value in range(16):
        torch.testing.assert_close(made[:, value, 1], plain)
    moved = poses.clone()
    moved[0, classes[0], 0, 5] += 0.25  # naively: the sixth value of the first image's capsule
    torch.testing.assert_close(made[0, 5, 2], own.decoded(moved, classes)[0])
    assert not torch.allclose(made[0, 5, 2], plain[0])


def test_long_poses_are_changed_in_units_of_their_length(scene):
    """Poses of inverted attention come from a layer norm of 16 values, so that they are of length 4."""
    assert "units of their lengths" not in dimensions(scene(routing="dynamic")).caption
    long = dimensions(scene(routing="inverted-attention", reconstruction=True)).caption
    assert "in units of their lengths, 4 and 4." in long


def test_an_image_is_turned_counter_clockwise_about_its_centre():
    image = torch.zeros(1, 4, 4)
    image[0, 0, 3] = 1  # at the top on the right
    turned = rotated(image, torch.tensor([-180, -90, 0, 90]), image[None])
    places = [tuple(one[0].nonzero()[0].tolist()) for one in turned]
    assert places == [(3, 0), (3, 3), (0, 3), (0, 0)]


def test_by_default_one_image_a_class_that_are_right_and_some_that_are_wrong(scene):
    own = scene(count=10, routing="dynamic")
    labels = own.labels
    right = own.predicted(own.images)[:, 0] == labels
    assert all(right[number] for number in own.shown)
    assert own.wrong
    assert not any(right[number] for number in own.wrong)
    seen = [int(labels[number]) for number in own.shown]
    assert len(set(seen[: len(set(seen))])) == len(set(seen))  # one of each class before a second of any


def test_images_that_are_named_are_those_that_are_shown(scene):
    own = scene(index=[7, 3, 7], routing="dynamic")
    assert own.shown == [7, 3, 7]
    assert set(own.wrong) <= {7, 3}
    words = [text.get_text() for text in dimensions(own).figure.findobj(Text)]
    assert any(word.startswith("test image 7,") for word in words)
    assert any(word.startswith("test image 3,") for word in words)


def test_the_images_are_those_of_the_test_set(scene, tmp_path):
    own = scene(routing="dynamic")
    assert torch.equal(own.images, load_splits("digits", tmp_path).test.images)


@pytest.mark.parametrize(("index", "wrong"), [([3, 500, -1], [500, -1]), ([], [])])
def test_images_that_there_are_not(scene, index, wrong):
    with pytest.raises(UsageError) as caught:
        scene(index=index, routing="dynamic")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "index", wrong)
    assert "499" in caught.value.expected


def test_damaged_weights_are_one_line_with_the_file(put, tmp_path):
    cell = put(routing="dynamic", dataset="digits")
    path = Store(tmp_path / "results").weights_path(cell.id)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError) as caught:
        show(cell.id, tmp_path / "results")
    assert (caught.value.kind, caught.value.file) == (Kind.DAMAGED, path)
    assert cell.title in caught.value.problem
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["bfloat16", "float64"])
def test_a_network_of_another_precision(scene, precision):
    pictures, _ = drawn(scene(routing="dynamic", precision=precision))
    assert set(pictures) == set(PICTURES)
