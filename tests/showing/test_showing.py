"""The pictures of `capsbench show`, for each kind of network and of images."""

import json
import shutil
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from capsbench.data.base import load_splits
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network
from capsbench.planning.matrix import cells_of
from capsbench.presenting.figures.style import COLUMN, DPI, PAGE
from capsbench.records.store import Store
from capsbench.showing import PICTURES, draw_pictures, show
from capsbench.showing.decoding import decode_perturbed, draw_dimensions
from capsbench.showing.rotation import rotate_image
from capsbench.showing.scene import Scene, load_scene
from tests.making import make_record
from tests.scattered import draw_scattered

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


NARROW = ("agreement", "reconstructions")
"""Pictures that a column of a paper holds: the tests show few images."""


@pytest.fixture
def make(put, tmp_path):
    def draw(images=2, index=None, to=None, **request):
        cell = put(**{"dataset": "digits", **request})
        return show(cell.id, tmp_path / "results", images=images, index=index, to=to)

    return draw


@pytest.fixture
def make_scene(put, tmp_path):
    def of(count=2, index=None, **request):
        cell = put(**{"dataset": "digits", **request})
        store = Store(tmp_path / "results")
        return load_scene(store.read(cell.id), store, tmp_path, count=count, index=index, retrain="")

    return of


FEW_IMAGES = "capsbench.showing.coupling.AVERAGED", 12
"""Means over few images, so that the tests are quick."""


@pytest.fixture(autouse=True)
def _few_images(monkeypatch):
    monkeypatch.setattr(*FEW_IMAGES)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The pictures of a network with dynamic routing, drawn once for all tests that only read them."""
    results = tmp_path_factory.mktemp("drawn") / "results"
    (cell,) = cells_of({"routing": "dynamic", "seeds": 0, "device": "cpu", "baseline": "none"})
    torch.manual_seed(0)
    store = Store(results)
    store.write_tensors(store.weights_path(cell.id), build_network(cell).state_dict())
    store.write(make_record(cell))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*FEW_IMAGES)
        return show(cell.id, results, images=2), results


@pytest.mark.parametrize(("request_", "expected"), CASES, ids=lambda case: "" if isinstance(case, set) else str(case))
def test_applicable_pictures_are_drawn_and_the_others_have_a_reason(make_scene, request_, expected):
    pictures, left_out = draw_pictures(make_scene(**request_))
    assert set(pictures) == expected
    assert set(left_out) == set(PICTURES) - expected
    assert all(left_out.values())
    for name, picture in pictures.items():
        assert picture.figure.get_figwidth() == (COLUMN if name in NARROW else PAGE)
        assert picture.title
        assert picture.caption.endswith(".")
        assert "  " not in picture.caption


def test_each_picture_is_two_files_and_all_are_listed(drawn):
    result, results = drawn
    folder = results / "shown" / result.cell.id
    listed = json.loads((folder / "shown.json").read_text())
    assert [entry["name"] for entry in listed] == list(PICTURES)
    assert [(entry["title"], entry["caption"]) for entry in listed] == [
        (picture.title, picture.caption) for picture in result.pictures.values()
    ]
    files = {f"{name}.{form}" for name in PICTURES for form in ("svg", "png")}
    assert {path.name for path in folder.iterdir()} == files | {"shown.json"}
    for name in PICTURES:
        ElementTree.parse(folder / f"{name}.svg")
        with Image.open(folder / f"{name}.png") as image:
            assert image.width == round((COLUMN if name in NARROW else PAGE) * DPI)


@pytest.mark.parametrize("kind", ["Colour", "Stereo", "Pairs"])
def test_images_of_every_kind(make_scene, own_data, kind):
    decoded = kind != "Stereo"  # a decoder makes pixels from 0 to 1, which these are not
    pictures, left_out = draw_pictures(
        make_scene(dataset=own_data(kind), routing="dynamic", kernel=3, reconstruction=decoded)
    )
    assert set(left_out) == (set() if decoded else DECODED)
    assert ("first image of each stereo pair" in pictures["rotation"].caption) == (kind == "Stereo")
    assert ("standardised" in pictures["rotation"].caption) == (kind == "Stereo")
    assert ("the labels are thick" in pictures["rotation"].caption) == (kind == "Pairs")
    if decoded:
        assert ("Each object" in pictures["reconstructions"].caption) == (kind == "Pairs")


def test_classes_have_their_names(make_scene, scattered):
    """The classes are a, b and c; image 1 shows a, image 3 shows a and b."""
    pictures, _ = draw_pictures(
        make_scene(index=[1, 3], dataset=scattered, routing="dynamic", kernel=3, reconstruction=True)
    )
    words = {name: _list_words(picture) for name, picture in pictures.items()}
    for name in ("reconstructions", "coupling", "coupling-means"):
        assert {"a", "b", "c"} & words[name], name
    assert words["coupling-means"].isdisjoint({"0"})
    assert {"a,", "b,"} <= words["rotation"]


def _list_words(picture):
    return {word for text in picture.figure.findobj(Text) for word in text.get_text().split()}


def test_the_same_network_gives_the_same_files(drawn, make, tmp_path):
    first, _ = drawn
    second = make(routing="dynamic", to=tmp_path / "second")
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_pictures_of_an_earlier_network_that_do_not_apply_are_removed(drawn, make, tmp_path):
    (tmp_path / "here").mkdir()
    for path in drawn[0].files:
        shutil.copy(path, tmp_path / "here")
    result = make(network="all-conv", to=tmp_path / "here")
    assert {path.name for path in (tmp_path / "here").iterdir()} == {path.name for path in result.files}


def test_pictures_of_the_users_own_are_neither_replaced_nor_removed(make, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rotation.png").write_text("mine")
    with pytest.raises(UsageError) as caught:
        make(network="all-conv", to=tmp_path / "mine")
    assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.CONFLICT, "to", tmp_path / "mine")
    assert [path.read_text() for path in (tmp_path / "mine").iterdir()] == ["mine"]


def test_a_capsule_changed_by_0_gives_the_reconstruction_and_one_value_changes_one_line(make_scene):
    scene = make_scene(routing="dynamic")
    images = scene.images[scene.selected]
    poses, classes = scene.compute_poses(images), scene.predict_labels(images)[:, 0]
    changes = torch.tensor([[-0.25, 0.0, 0.25]] * 2)
    decoded = decode_perturbed(scene, poses, classes, changes)
    assert decoded.shape == (2, 16, 3, 1, 8, 8)
    plain = scene.decode_poses(poses, classes)
    for value in range(16):
        torch.testing.assert_close(decoded[:, value, 1], plain)
    moved = poses.clone()
    moved[0, classes[0], 0, 5] += 0.25  # naively: the sixth value of the first image's capsule
    torch.testing.assert_close(decoded[0, 5, 2], scene.decode_poses(moved, classes)[0])
    assert not torch.allclose(decoded[0, 5, 2], plain[0])


def test_long_poses_are_changed_in_units_of_their_length(make_scene):
    """Poses of inverted attention come from a layer norm of 16 values, so that they are of length 4."""
    assert "units of their lengths" not in draw_dimensions(make_scene(routing="dynamic")).caption
    long = draw_dimensions(make_scene(routing="inverted-attention", reconstruction=True)).caption
    assert "in units of their lengths, 4 and 4." in long


def test_an_image_is_turned_counter_clockwise_about_its_centre():
    image = torch.zeros(1, 4, 4)
    image[0, 0, 3] = 1  # at the top on the right
    turned = rotate_image(image, torch.tensor([-180, -90, 0, 90]), image[None])
    places = [tuple(one[0].nonzero()[0].tolist()) for one in turned]
    assert places == [(3, 0), (3, 3), (0, 3), (0, 0)]


def test_by_default_images_are_one_per_class_and_some_misclassified_ones(make_scene):
    scene = make_scene(count=10, routing="dynamic")
    labels = scene.labels
    right = scene.predict_labels(scene.images)[:, 0] == labels
    assert all(right[number] for number in scene.selected)
    assert scene.misclassified
    assert not any(right[number] for number in scene.misclassified)
    seen = [int(labels[number]) for number in scene.selected]
    assert len(set(seen[: len(set(seen))])) == len(set(seen))  # one of each class before a second of any


def test_named_images_are_drawn(make_scene):
    scene = make_scene(index=[7, 3, 7], routing="dynamic")
    assert scene.selected == [7, 3, 7]
    assert set(scene.misclassified) <= {7, 3}
    words = [text.get_text() for text in draw_dimensions(scene).figure.findobj(Text)]
    assert any(word.startswith("test image 7,") for word in words)
    assert any(word.startswith("test image 3,") for word in words)


def test_the_images_are_those_of_the_test_set(make_scene, tmp_path):
    scene = make_scene(routing="dynamic")
    assert torch.equal(scene.images, load_splits("digits", tmp_path).test.images)


@pytest.mark.parametrize(("index", "wrong"), [([3, 500, -1], [500, -1]), ([], [])])
def test_unknown_test_images_are_refused(make_scene, index, wrong):
    with pytest.raises(UsageError) as caught:
        make_scene(index=index, routing="dynamic")
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
def test_a_network_of_another_precision(make_scene, precision):
    pictures, _ = draw_pictures(make_scene(routing="dynamic", precision=precision))
    assert set(pictures) == set(PICTURES)


def test_a_notebook_shows_the_first_pictures_and_names_the_others(drawn):
    shown, _ = drawn
    output = shown.describe_output()
    assert [shot.name for shot in output.shots] == [*shown.pictures]
    assert shown.title in output.lead
    assert len(shown._repr_html_()) < 400_000
    assert len(repr(shown)) < 300


@pytest.mark.parametrize(("network", "drawn"), [("capsnet", ROUTED | DECODED | TURNED), ("resnet", TURNED)])
def test_images_of_any_number_of_classes_have_all_pictures(make_cell, scattered, network, drawn):
    cell = make_cell(dataset=scattered, network=network, **({"kernel": 3} if network == "capsnet" else {}))
    images, labels = draw_scattered(8)
    torch.manual_seed(0)
    scene = Scene(cell, build_network(cell).eval(), images, labels, [0, 3], [7], [*range(8)])
    scores = scene.score_images(images)
    assert scene.predict_labels(images).equal(scores > 0.5)
    assert scene.find_winners(images).equal(scores.argmax(dim=1))
    pictures, _ = draw_pictures(scene)
    assert {*pictures} == drawn
    if "reconstructions" in drawn:
        assert "together" in pictures["reconstructions"].caption
