from pathlib import Path
from typing import Any

import platformdirs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from capsbench import registry
from capsbench.data.base import data_folder, load_splits
from capsbench.data.draws import draw_few, draw_stratified, find_strata, hold_out
from capsbench.data.images import Images, Splits
from capsbench.errors import ArgumentError, Kind
from tests.data.faults import usage_error
from tests.scattered import Scattered


def numbered(labels: list[int]) -> Images:
    """One image of one pixel a label; the pixel is the image's number."""
    return Images(torch.arange(len(labels)).float().reshape(-1, 1, 1, 1), torch.tensor(labels))


def test_the_data_folder_is_the_one_asked_for_then_the_environments_then_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CAPSBENCH_DATA", str(tmp_path / "environment"))
    assert data_folder(tmp_path / "asked") == tmp_path / "asked"
    assert data_folder() == tmp_path / "environment"
    monkeypatch.delenv("CAPSBENCH_DATA")
    assert data_folder() == Path(platformdirs.user_cache_dir("capsbench"))


def test_the_data_folder_may_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert data_folder("~/data") == tmp_path / "data"


def test_images_move_to_another_type_and_labels_stay_integers() -> None:
    moved = numbered([0, 1]).to("cpu", torch.float64)
    assert moved.images.dtype == torch.float64
    assert moved.labels.dtype == torch.int64


@settings(deadline=None, max_examples=50)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), data=st.data())
def test_a_stratified_draw_of_any_size_holds_each_class_in_proportion(labels: list[int], data: st.DataObject) -> None:
    size = data.draw(st.integers(0, len(labels)))
    chosen = draw_stratified(torch.tensor(labels), size, seed=3)
    assert len(set(chosen.tolist())) == size
    for label in set(labels):
        drawn = sum(labels[index] == label for index in chosen)
        if size >= len(set(labels)):
            assert drawn >= 1
        # each class is due its proportion; what it gets may lead that by one, and trail by what the others lead
        assert -len(set(labels)) < drawn - size * labels.count(label) / len(labels) < len(set(labels))


def test_balanced_classes_are_drawn_equally_often() -> None:
    chosen = draw_stratified(torch.arange(100) % 10, 30, seed=0)
    assert (chosen % 10).bincount().tolist() == [3] * 10


def test_few_draws_by_seed_and_a_smaller_draw_is_part_of_a_larger_one() -> None:
    images = numbered([0, 1, 2] * 30)
    draws = {size: draw_few(images, size, seed=1, name="mine").images.flatten().tolist() for size in (9, 30, 90)}
    assert draws[9] == draw_few(images, 9, seed=1, name="mine").images.flatten().tolist()
    assert draws[9] != draw_few(images, 9, seed=2, name="mine").images.flatten().tolist()
    assert set(draws[9]) < set(draws[30]) < set(draws[90])


def test_few_keeps_each_image_with_its_label() -> None:
    images = numbered([0, 1, 2] * 30)
    drawn = draw_few(images, 20, seed=0, name="mine")
    assert (drawn.images.flatten() % 3).long().equal(drawn.labels)


def test_few_of_no_size_is_everything_as_it_was() -> None:
    images = numbered([0, 0, 1])
    assert draw_few(images, None, seed=0, name="mine") is images


@pytest.mark.parametrize("size", [2, 91])
def test_few_names_the_flag_and_the_sizes_that_fit(size: int) -> None:
    error = usage_error(draw_few, numbered([0, 1, 2] * 30), size, 0, "mine")
    assert (error.kind, error.flag, error.value) == (Kind.INVALID, "train_size", size)
    assert {"3", "90"} <= set(str(error.expected).split())
    assert "mine" in str(error.expected)


def test_what_is_held_out_and_the_rest_are_all_images_once() -> None:
    rest, held_out = hold_out(numbered([0, 1, 2, 3] * 25), 20)
    assert sorted([*rest.images.flatten().tolist(), *held_out.images.flatten().tolist()]) == list(range(100))
    assert held_out.labels.bincount().tolist() == [5, 5, 5, 5]
    assert (held_out.images.flatten() % 4).long().equal(held_out.labels)
    assert (rest.images.flatten() % 4).long().equal(rest.labels)


OWN = """
import torch
from capsbench.data import Dataset, Images, ImageShape, Splits

class Stripes(Dataset):
    image = ImageShape(1, 2, 2)
    classes = 2

    def load(self, folder):
        labels = torch.arange(10) % 2
        images = labels.float()[:, None, None, None].expand(-1, 1, 2, 2)
        {change}
        part = Images(images, labels)
        return Splits(part, part, part)
"""


def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str = "pass") -> str:
    """The import path of a user's data set, new for each test."""
    module = f"stripes_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(OWN.format(change=change))
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.trust([f"{module}:Stripes"])
    return f"{module}:Stripes"


@pytest.mark.parametrize("files", ["('stripes.npz',)", "'stripes.npz'", "None"])
def test_files_that_are_declared_otherwise_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: str
) -> None:
    name = own(
        tmp_path, monkeypatch, f"pass\n\n    files = {files}\n\n    def rest(self, images, labels):\n        pass"
    )
    error = usage_error(load_splits, name, tmp_path)
    assert (error.kind, error.flag, error.value) == (Kind.DAMAGED, "dataset", name)
    assert "files: expected a tuple of capsbench.data.DataFile" in str(error)


@pytest.mark.parametrize(("names", "fits"), [(["a", "b"], True), ([], True), (["a"], False), (["a", "a"], False)])
def test_each_class_has_a_name_of_its_own_or_none_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], fits: bool
) -> None:
    name = own(tmp_path, monkeypatch)
    monkeypatch.setattr(registry.get("dataset", name), "class_names", names)
    if fits:
        assert load_splits(name, tmp_path).train.images.shape == (10, 1, 2, 2)
        return
    error = usage_error(load_splits, name, tmp_path)
    assert (error.kind, error.flag, error.value) == (Kind.DAMAGED, "dataset", name)
    assert "class_names" in error.problem


def test_a_users_own_data_set_is_loaded_by_its_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = load_splits(own(tmp_path, monkeypatch), tmp_path, train_size=4, seed=0)
    assert splits.train.images.shape == (4, 1, 2, 2)
    assert splits.test.images.shape == (10, 1, 2, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("raise OSError('disk\\non fire')", "OSError: disk on fire"),
        ("return None", "load: expected to return capsbench.data.images.Splits, got 'NoneType'"),
        ("return Splits(*[Images(images, labels)] * 3, about={'test': {'angle': labels[:3]}})", "about test, angle"),
        ("return Splits(*[Images(images, labels)] * 3, about={'tset': {'angle': labels}})", "'tset'"),
    ],
)
def test_what_a_users_own_data_set_raises_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, reason: str
) -> None:
    name = own(tmp_path, monkeypatch, change)
    error = usage_error(load_splits, name, tmp_path)
    assert (error.kind, error.flag, error.value) == (Kind.DAMAGED, "dataset", name)
    assert reason in error.problem


@pytest.mark.parametrize(
    ("about", "argument"),
    [
        ("{'labels': labels}", "about test"),
        ("{'images': labels}", "about test"),
        ("{'sun angle': labels}", "about test"),
        ("{'': labels}", "about test"),
        ("{'angle': labels.numpy()}", "about test, angle"),
        ("{'angle': labels.to_sparse()}", "about test, angle"),
        ("{'angle': labels.tolist()}", "about test, angle"),
        ("{'angle': None}", "about test, angle"),
    ],
)
def test_what_is_known_of_images_is_a_dense_tensor_under_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: str, argument: str
) -> None:
    change = f"return Splits(*[Images(images, labels)] * 3, about={{'test': {about}}})"
    assert refused(own(tmp_path, monkeypatch, change), tmp_path).argument == argument


@pytest.mark.parametrize("part", ["test", "from above", ""])
def test_further_images_have_a_name_of_one_word_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    change = f"return Splits(*[Images(images, labels)] * 3, beside={{{part!r}: Images(images, labels)}})"
    error = refused(own(tmp_path, monkeypatch, change), tmp_path)
    assert (error.argument, error.value) == ("beside", part)


def refused(name: str, folder: Path) -> ArgumentError:
    """What is wrong with the images of a data set."""
    error = usage_error(load_splits, name, folder)
    assert (error.kind, error.flag, error.value) == (Kind.DAMAGED, "dataset", name)
    assert isinstance(error.__cause__, ArgumentError)
    assert error.problem.endswith(f": {error.__cause__}")
    assert "ArgumentError" not in error.problem
    return error.__cause__


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("images = images.numpy()", ("ndarray", "Tensor")),
        ("labels = labels.tolist()", ("Tensor", "list")),
        ("Images = lambda *pair: pair", "tuple"),
        ("images = images[:, 0]", ([10, 2, 2], [10])),
        ("labels = labels[:5]", ([10, 1, 2, 2], [5])),
        ("images, labels = images[:0], labels[:0]", ([0, 1, 2, 2], [0])),
        ("images = images.double()", (torch.float64, torch.int64)),
        ("labels = labels.int()", (torch.float32, torch.int32)),
        ("images = images * 255", "0 to 255"),
        ("images = images / 0", "nan to nan"),
        ("labels = labels + 1", "1 to 2"),
        ("labels = labels - 1", "-1 to 0"),
    ],
)
def test_images_that_a_users_own_data_set_does_not_declare_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, value: Any
) -> None:
    error = refused(own(tmp_path, monkeypatch, change), tmp_path)
    assert (error.argument, error.value) == ("train", value)


MULTIPLE = """
import torch
from capsbench.data import Dataset, Images, Splits
from capsbench.data.augment import Crop
from capsbench.data import ImageShape

class Pairs(Dataset):
    image = ImageShape(1, 2, 2)
    classes = 3
    labels_an_image = 2

    def load(self, folder):
        pair = torch.tensor([[0, 1], [2, 0], [1, 2]])
        part = Images(torch.zeros(3, 1, 2, 2), pair)
        train = Images(torch.zeros(3, 1, {height}, {width}), {labels})
        return Splits(train, part, part, augmentations={augmentations})
"""


@pytest.mark.parametrize(
    ("height", "width", "labels", "augmentations", "found"),
    [
        (2, 2, "pair", "()", None),
        (3, 4, "pair", "(Crop(2, 2),)", None),
        (2, 2, "pair[:, 0]", "(Crop(2, 2),)", None),
        (3, 4, "pair", "()", ([3, 1, 3, 4], [3, 2])),
        (2, 2, "pair[:, 0]", "()", ([3, 1, 2, 2], [3])),
        (3, 1, "pair", "(Crop(2, 2),)", ([3, 1, 3, 1], [3, 2])),
        (1, 3, "pair", "(Crop(2, 2),)", ([3, 1, 1, 3], [3, 2])),
        (2, 2, "pair.clamp(max=1)", "()", [1, 1]),
    ],
)
def test_an_augmentation_may_make_training_images_what_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, height: int, width: int, labels: str, augmentations: str,
    found: Any,
) -> None:  # fmt: skip
    module = f"pairs_{tmp_path.name}"
    source = MULTIPLE.format(height=height, width=width, labels=labels, augmentations=augmentations)
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.trust([f"{module}:Pairs"])
    if found is None:
        assert load_splits(f"{module}:Pairs", tmp_path).train.images.shape == (3, 1, height, width)
    else:
        error = refused(f"{module}:Pairs", tmp_path)
        assert (error.argument, error.value) == ("train", found)


def test_an_unknown_data_set_gets_the_nearest_name(tmp_path: Path) -> None:
    assert "did you mean 'digits'" in str(usage_error(load_splits, "digit", tmp_path))


def test_draws_of_any_number_of_classes_are_stratified_by_the_rarest_of_each_image() -> None:
    labels = torch.tensor([[True, False], [True, True], [False, False], [True, False]])
    assert find_strata(labels).tolist() == [0, 1, 2, 0]
    assert find_strata(torch.tensor([[3, 1], [2, 0]])).tolist() == [3, 2]
    drawn = draw_stratified(labels.repeat(10, 1), 12, seed=0)
    assert find_strata(labels)[drawn % 4].bincount().tolist() == [6, 3, 3]


@pytest.mark.parametrize(
    ("labels", "value"),
    [
        (torch.ones(4, 3, dtype=torch.int64), (torch.float32, torch.int64)),
        (torch.ones(4, 2, dtype=torch.bool), ([4, 1, 8, 8], [4, 2])),
        (torch.ones(4, dtype=torch.int64), ([4, 1, 8, 8], [4])),
    ],
)
def test_labels_of_any_number_of_classes_are_a_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scattered: str, labels: torch.Tensor, value: object
) -> None:
    part = Images(torch.zeros(4, 1, 8, 8), labels)
    monkeypatch.setattr(Scattered, "load", lambda self, folder: Splits(part, part, part))
    assert refused(scattered, tmp_path).value == value


def test_a_mask_of_classes_is_loaded_as_it_is_and_may_be_empty(tmp_path: Path, scattered: str) -> None:
    train = load_splits(scattered, tmp_path, train_size=8).train
    assert train.labels.dtype == torch.bool
    assert (train.images[:, 0, 1:6:2].mean(dim=2) > 0).equal(train.labels)
    assert load_splits(scattered, tmp_path).test.labels[0].tolist() == [False, False, False]
