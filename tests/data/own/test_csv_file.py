from pathlib import Path

import pytest
import torch

from capsbench.data.images import ANY_NUMBER
from capsbench.data.own.csv_file import CsvSet
from capsbench.errors import Kind
from tests.data.faults import usage_error
from tests.data.own.conftest import PutImages

FILES = [f"shapes/{name}/{number:03}.png" for name in ("bar", "ring") for number in range(10)]


@pytest.fixture
def table(put_images: PutImages) -> Path:
    """A table beside the folder of its images, to be written."""
    return put_images().with_name("table.csv")


def write(table: Path, lines: list[str], header: str = "file,label") -> str:
    table.write_text("\n".join([header, *lines]), encoding="utf-8")
    return str(table)


def test_files_and_labels_are_a_data_set(table: Path) -> None:
    shapes = CsvSet(write(table, [f"{file},{file.split('/')[1]}" for file in FILES]))
    assert shapes.class_names == ["bar", "ring"]
    assert shapes.image_counts == {"train": 14, "validation": 2, "test": 4}
    assert shapes.load(table).train.images.shape == (14, 1, 6, 5)


def test_an_accent_is_the_same_in_both_forms_of_unicode(table: Path, put_images: PutImages) -> None:
    one, two = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    put_images("shapes", classes=(one,))
    lines = [f"{file},bar" for file in FILES[:10]]
    lines += [f"shapes/{two}/{number:03}.png,{(one, two)[number % 2]}" for number in range(10)]
    shapes = CsvSet(write(table, lines))
    assert shapes.class_names == ["bar", one]
    assert sum(shapes.image_counts.values()) == 20


def test_the_folder_of_the_table_may_keep_accents_in_another_form_than_the_files(put_images: PutImages) -> None:
    one, two = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    table = put_images(f"{two}/shapes", classes=(one, "bar")) / "table.csv"
    lines = [f"shapes/{name}/{number:03}.png,{name}" for name in (two, "bar") for number in range(10)]
    assert CsvSet(write(table, lines)).class_names == ["bar", one]


def test_numbers_are_classes_in_their_order(table: Path) -> None:
    lines = [f"{file},{(2, 10)[place % 2]}" for place, file in enumerate(FILES)]
    assert CsvSet(write(table, lines)).class_names == ["2", "10"]


def test_a_third_column_is_a_given_split(table: Path) -> None:
    lines = [f"{file},{place % 2},{('Train', 'val', 'test')[place // 2 % 3]}" for place, file in enumerate(FILES)]
    assert CsvSet(write(table, lines, "path,class,Split")).image_counts == {"train": 8, "validation": 6, "test": 6}


def test_absolute_paths_other_delimiters_and_a_byte_order_mark_are_fine(table: Path) -> None:
    lines = [f"{table.parent / file};{place % 2}" for place, file in enumerate(FILES)]
    table.write_text("\n".join(["Filename;Label", *lines, "", ";"]), encoding="utf-8-sig")
    assert sum(CsvSet(str(table)).image_counts.values()) == 20


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        ([], "file,label"),
        ([f"{file},0" for file in FILES], "image_id,label"),
        ([f"{file},0" for file in FILES], "file,kind"),
        ([f"{file},{place % 2}" for place, file in enumerate([*FILES, FILES[0]])], "file,label"),
        ([f"{file},{place % 2}" for place, file in enumerate([*FILES, "none.png"])], "file,label"),
        ([f"{file},{place % 2},other" for place, file in enumerate(FILES)], "file,label,split"),
        ([f"{file},{place % 2},{'train' if place else ''}" for place, file in enumerate(FILES)], "file,label,split"),
        ([f"{FILES[0]},", *(f"{file},1" for file in FILES[1:])], "file,label"),
        ([f"{file},1" for file in FILES], "file,label"),
    ],
)
def test_other_tables_are_refused_in_one_line(table: Path, lines: list[str], header: str) -> None:
    error = usage_error(CsvSet, write(table, lines, header))
    assert (error.kind, error.flag, error.file) == (Kind.DAMAGED, "dataset", table)


@pytest.mark.parametrize(
    "header", ["path,label,file", "file,label,category", "file,label,Label", "set,label,file,split"]
)
def test_two_columns_of_one_meaning_are_refused(table: Path, header: str) -> None:
    lines = [f"{file},{place % 2},{file},{file}" for place, file in enumerate(FILES)]
    assert usage_error(CsvSet, write(table, lines, header)).kind is Kind.DAMAGED


def test_a_file_is_listed_twice_under_any_spelling_of_its_path(table: Path) -> None:
    lines = [f"{file},{place % 2}" for place, file in enumerate([*FILES, "shapes/ring/../bar/000.png"])]
    assert usage_error(CsvSet, write(table, lines)).value == ["shapes/bar/000.png", "shapes/ring/../bar/000.png"]


def test_all_missing_files_are_counted(table: Path) -> None:
    lines = [f"{file},{place % 2}" for place, file in enumerate([*FILES, "x.png", "y.png"])]
    assert usage_error(CsvSet, write(table, lines)).value == ["x.png", "y.png"]


def test_a_missing_table_and_other_bytes_are_refused(table: Path) -> None:
    assert usage_error(CsvSet, str(table)).kind is Kind.MISSING
    table.write_bytes(b"\xff\xfe\x00")
    assert usage_error(CsvSet, str(table)).kind is Kind.DAMAGED


LABELS = ["", "bar", "bar|ring", " ring | bar | cross "]
MASKS = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)


def test_a_column_of_labels_has_any_number_of_classes(table: Path) -> None:
    shapes = CsvSet(
        write(table, [f"{file},{LABELS[place % 10 % 4]}" for place, file in enumerate(FILES)], "file,labels")
    )
    assert (shapes.labels_an_image, shapes.class_names) == (ANY_NUMBER, ["bar", "cross", "ring"])
    splits = shapes.load(table)
    for images, labels in (splits.train, splits.validation, splits.test):
        numbers = (images[:, 0, 0, 0] * 255).round().long()
        assert labels.equal(MASKS[numbers % 4])
    counts = splits.train.labels.sum(dim=0).tolist()
    assert [of_class["train"] for of_class in shapes.count_classes().values()] == counts


def test_a_cell_of_one_class_with_the_separator_is_refused_rather_than_taken_as_one(table: Path) -> None:
    error = usage_error(CsvSet, write(table, [f"{file},a|b" for file in FILES]))
    assert (error.kind, error.value) == (Kind.DAMAGED, "a|b")


@pytest.mark.parametrize(
    ("first", "header"),
    [
        ("a||b", "file,labels"),
        ("a|", "file,labels"),
        ("a|a", "file,labels"),
        (None, "file,labels"),
        ("a,a", "file,label,labels"),
    ],
)
def test_other_columns_of_labels_are_refused_in_one_line(table: Path, first: str | None, header: str) -> None:
    lines = [f"{file},a|b" for file in FILES[1:]]
    lines.insert(0, FILES[0] if first is None else f"{FILES[0]},{first}")
    assert usage_error(CsvSet, write(table, lines, header)).kind is Kind.DAMAGED


def test_a_class_that_only_test_images_show_is_refused(table: Path) -> None:
    lines = [f"{file},{'a|b' if place % 2 else 'a'},train" for place, file in enumerate(FILES[1:])]
    error = usage_error(CsvSet, write(table, [*lines, f"{FILES[0]},a|fish,test"], "file,labels,split"))
    assert (error.kind, "fish" in error.problem) == (Kind.DAMAGED, True)
