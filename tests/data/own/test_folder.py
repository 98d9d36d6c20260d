from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from capsbench.data.images import ImageShape, Splits
from capsbench.data.own.folder import FolderSet
from capsbench.errors import Kind
from tests.data.faults import usage_error
from tests.data.own.conftest import PutImages


def load(path: Path, **options: Any) -> Splits:
    return FolderSet(str(path), **options).load(path)


def test_class_folders_are_a_data_set_with_drawn_splits(put_images: PutImages) -> None:
    shapes = FolderSet(str(put_images()))
    assert (shapes.classes, shapes.class_names, shapes.image) == (2, ["bar", "ring"], ImageShape(1, 6, 5))
    assert shapes.image_counts == {"train": 14, "validation": 2, "test": 4}
    splits = shapes.load(shapes.path)
    pixels = torch.cat([part.images[:, 0, 0, 0] for part in (splits.train, splits.validation, splits.test)]) * 255
    labels = torch.cat([part.labels for part in (splits.train, splits.validation, splits.test)])
    assert sorted(zip(labels.tolist(), pixels.round().int().tolist(), strict=True)) == [
        (label, number) for label in (0, 1) for number in range(10)
    ]


def test_a_given_split_stays_and_validation_images_are_drawn(put_images: PutImages) -> None:
    put_images("shapes/train")
    path = put_images("shapes/Test", count=3)
    shapes = FolderSet(str(path))
    assert shapes.image_counts == {"train": 18, "validation": 2, "test": 6}
    assert FolderSet(str(path), split_seed=1).load(path).test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    put_images("shapes/val", count=4)
    assert FolderSet(str(path)).image_counts == {"train": 20, "validation": 8, "test": 6}


@pytest.mark.parametrize("around", ["outer", "data/images"])
def test_the_folder_around_that_of_the_classes_is_refused_with_the_right_path(
    put_images: PutImages, around: str
) -> None:
    path = put_images(f"shapes/{around}")
    error = usage_error(FolderSet, str(path))
    assert (error.kind, error.flag, error.value) == (Kind.DAMAGED, "dataset", around)
    assert error.expected == f"folder:{path / around}"
    assert FolderSet(error.expected.removeprefix("folder:")).class_names == ["bar", "ring"]


def test_the_folder_of_a_class_is_refused_with_that_of_all(put_images: PutImages) -> None:
    path = put_images()
    error = usage_error(FolderSet, str(path / "bar"))
    assert (error.kind, error.flag) == (Kind.MISSING, "dataset")
    assert str(error.expected).startswith(f"folder:{path} ")
    put_images("alone", classes=("bar",))
    assert "folder:" not in str(usage_error(FolderSet, str(path.with_name("alone") / "bar")).expected)


def test_parts_whose_only_folder_holds_the_classes_are_refused(put_images: PutImages) -> None:
    put_images("shapes/train/outer")
    error = usage_error(FolderSet, str(put_images("shapes/test/outer")))
    assert (error.kind, error.value) == (Kind.DAMAGED, "train/outer")


def test_an_accent_is_one_class_in_both_forms_of_unicode(put_images: PutImages) -> None:
    one, two = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    put_images("shapes/train", classes=("cafz", one), count=4)
    shapes = FolderSet(str(put_images("shapes/test", classes=("cafz", two), count=3)))
    assert shapes.class_names == ["cafz", one]
    assert shapes.load(shapes.path).test.labels.tolist() == [0, 0, 0, 1, 1, 1]
    digests = [
        FolderSet(str(put_images(folder, classes=("cafz", name)) / folder.partition("/")[2])).facts
        for folder, name in (("one/a", one), ("two/a", two))
    ]
    assert digests[0] == digests[1]
    pixels = [FolderSet(str(shapes.path.with_name(place) / "a")).load(shapes.path).train for place in ("one", "two")]
    assert torch.equal(pixels[0].images[:], pixels[1].images[:])
    assert torch.equal(pixels[0].labels, pixels[1].labels)


def test_a_class_may_be_called_train(put_images: PutImages) -> None:
    assert FolderSet(str(put_images(classes=("car", "train")))).class_names == ["car", "train"]


def test_other_folders_beside_those_of_a_split_are_refused(put_images: PutImages) -> None:
    put_images("shapes/train")
    error = usage_error(FolderSet, str(put_images("shapes/masks")))
    assert (error.kind, error.flag) == (Kind.CONFLICT, "dataset")
    assert "masks" in error.problem


@pytest.mark.parametrize("folders", [("val", "test"), ("training_set", "test")])
def test_parts_without_one_to_train_on_are_no_classes(put_images: PutImages, folders: tuple[str, str]) -> None:
    put_images(f"shapes/{folders[0]}")
    assert usage_error(FolderSet, str(put_images(f"shapes/{folders[1]}"))).kind is Kind.MISSING


def test_two_folders_of_one_part_are_refused(put_images: PutImages) -> None:
    put_images("shapes/train")
    put_images("shapes/val")
    assert usage_error(FolderSet, str(put_images("shapes/validation"))).kind is Kind.CONFLICT


def test_hidden_files_and_folders_are_no_part_of_it(put_images: PutImages) -> None:
    path = put_images()
    for name in (
        ".DS_Store",
        "bar/.DS_Store",
        "bar/Thumbs.db",
        ".cache/a.png",
        "__MACOSX/bar/._000.png",
        "bar/._000.png",
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"hidden")
    shapes = FolderSet(str(path))
    assert (shapes.class_names, sum(shapes.image_counts.values())) == (["bar", "ring"], 20)
    assert len(shapes.remarks) == 1


def test_other_files_are_ignored_and_told(put_images: PutImages) -> None:
    path = put_images()
    (path / "README.md").write_text("shapes")
    (path / "bar" / "notes.txt").write_text("bars")
    (line,) = FolderSet(str(path)).remarks[1:]
    assert {"README.md", "bar/notes.txt"} <= {word.strip(",") for word in line.split()}


def test_a_test_image_that_was_trained_on_is_told(put_images: PutImages) -> None:
    put_images("shapes/train")
    path = put_images("shapes/test", count=2)
    copy(path / "train" / "bar" / "007.png", path / "test" / "ring" / "again.png")
    (line,) = FolderSet(str(path)).remarks[1:]
    assert line.startswith("1 of 5 test images")
    assert "again.png" in line


def test_endings_are_of_any_case_and_namesakes_are_told(put_images: PutImages) -> None:
    path = put_images()
    Image.new("L", (5, 6)).save(path / "bar" / "000.BMP")
    shapes = FolderSet(str(path))
    assert sum(shapes.image_counts.values()) == 21
    assert "bar/000" in shapes.remarks[-1]


def test_images_in_folders_of_a_class_folder_belong_to_the_class(put_images: PutImages) -> None:
    put_images("shapes/bar", classes=("by night",), count=4)
    assert FolderSet(str(put_images())).count_classes()["bar"] == {"train": 10, "validation": 1, "test": 3}


@pytest.mark.parametrize(
    ("parts", "kind"), [((), Kind.MISSING), (("bar",), Kind.DAMAGED), (("bar", "ring"), Kind.DAMAGED)]
)
def test_a_folder_without_images_is_refused(tmp_path: Path, parts: tuple[str, ...], kind: Kind) -> None:
    for part in parts:
        (tmp_path / "shapes" / part).mkdir(parents=True)
    error = usage_error(FolderSet, str(tmp_path / "shapes"))
    assert (error.kind, error.flag, error.file) == (kind, "dataset", tmp_path / "shapes")


def test_an_empty_class_folder_and_a_single_class_are_refused(put_images: PutImages) -> None:
    path = put_images()
    (path / "cross").mkdir()
    assert usage_error(FolderSet, str(path)).value == ["cross"]
    assert usage_error(FolderSet, str(put_images("one", classes=("bar",)))).value == 1


def test_images_of_several_sizes_need_a_size(put_images: PutImages) -> None:
    put_images(size=(6, 5))
    path = put_images(classes=("cross",), size=(12, 8))
    shapes = FolderSet(str(path))
    error = usage_error(lambda: shapes.image)
    assert (error.kind, error.flag) == (Kind.CONFLICT, "resize")
    assert {"6x5", "12x8"} <= set(error.problem.split())
    assert "several" not in shapes.describe()
    assert FolderSet(str(path), resize="8x8").image == ImageShape(1, 8, 8)
    assert FolderSet(str(path), resize="4", crop="4").image == ImageShape(1, 4, 4)
    assert load(path, resize="4", crop="4x3").train.images.shape[1:] == (1, 4, 3)
    assert usage_error(lambda: FolderSet(str(path), resize="4").image).flag == "resize"
    assert usage_error(lambda: FolderSet(str(path), crop="6").image).flag == "crop"


def test_images_from_elsewhere_are_prepared_as_those_of_the_data_set(put_images: PutImages) -> None:
    path = put_images(size=(12, 8), mode="RGB")
    for options in ({}, {"resize": "6x6"}, {"resize": "6", "crop": "5"}):
        shapes = FolderSet(str(path), **options)
        files = sorted(path.glob("*/*.png"))
        whole = torch.stack([torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255 for file in files])
        loaded = torch.cat([part.images for part in shapes.load(path).by_name().values()])
        prepared = shapes.prepare_images(whole)
        assert sorted(prepared.flatten(1).tolist()) == sorted(loaded.flatten(1).tolist())
        assert shapes.prepare_images(torch.rand(2, 3, 3, 40)).shape == (2, *shapes.image)


def test_grey_among_colour_is_colour(put_images: PutImages) -> None:
    put_images(mode="L")
    path = put_images(classes=("cross",), mode="RGB")
    assert FolderSet(str(path)).image == ImageShape(3, 6, 5)
    assert load(path).train.images.shape[1:] == (3, 6, 5)


def test_all_images_that_cannot_be_read_are_counted_and_a_few_named(put_images: PutImages) -> None:
    path = put_images()
    for number in range(7):
        (path / "bar" / f"{number:03}.png").write_bytes(b"no image")
    whole = (path / "ring" / "000.png").read_bytes()
    (path / "ring" / "000.png").write_bytes(whole[:-20])
    error = usage_error(load, path)
    assert (error.kind, error.flag, error.file) == (Kind.DAMAGED, "dataset", path)
    assert sorted(error.value) == [*(f"bar/{number:03}.png" for number in range(7)), "ring/000.png"]
    assert error.problem.startswith("8 of 20")
    assert error.problem.endswith("and 3 more")


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        error = usage_error(FolderSet, str(path))
        assert (error.kind, error.flag, error.file) == (Kind.MISSING, "dataset", path)


def test_the_order_of_files_on_the_disk_does_not_matter(put_images: PutImages, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_images()
    before = load(path).train.images
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: reversed(list(listed(folder))))
    assert load(path).train.images.equal(before)


def test_pixels_are_bytes_by_255(put_images: PutImages) -> None:
    images = load(put_images()).test.images
    assert images.dtype == torch.float32
    assert np.isclose(images.numpy() * 255, np.round(images.numpy() * 255), atol=1e-4).all()


@pytest.mark.parametrize("target", ["..", ".", "../ring"])
def test_a_link_to_a_folder_around_it_is_refused_and_another_is_followed(put_images: PutImages, target: str) -> None:
    path = put_images()
    (path / "bar" / "link").symlink_to(target)
    if target == "../ring":
        assert FolderSet(str(path)).count_classes()["bar"] == {"train": 14, "validation": 2, "test": 4}
    else:
        error = usage_error(FolderSet, str(path))
        assert (error.kind, error.flag, error.file) == (Kind.CONFLICT, "dataset", path)
        assert "bar/link" in error.problem


def test_two_classes_that_link_to_each_other_are_refused(put_images: PutImages) -> None:
    path = put_images()
    (path / "bar" / "link").symlink_to("../ring")
    (path / "ring" / "link").symlink_to("../bar")
    assert usage_error(FolderSet, str(path)).kind is Kind.CONFLICT


def test_a_class_folder_that_is_the_folder_itself_is_refused(put_images: PutImages) -> None:
    path = put_images()
    (path / "all").symlink_to(".")
    assert usage_error(FolderSet, str(path)).kind is Kind.CONFLICT


def test_an_empty_path_is_not_the_working_folder(put_images: PutImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(put_images())
    error = usage_error(FolderSet, "")
    assert (error.kind, error.flag) == (Kind.INVALID, "dataset")
