"""A results folder in, a report's files out."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from capsbench.api import cells
from capsbench.errors import Kind, UsageError
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from capsbench.records.table import ROW_COLUMNS, load
from capsbench.reporting.build import NothingMeasured, report
from capsbench.reporting.unfinished import Unfinished
from tests.making import make_capsules, make_failed, make_record

Make = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def with_pictures() -> None:
    """For the tests that are about pictures; the others go without, which take most of a report's time."""


@pytest.fixture(autouse=True)
def _pictures(request: pytest.FixtureRequest) -> None:
    if "with_pictures" not in request.fixturenames:
        request.getfixturevalue("without_pictures")


def run_of(store: Store, *records: Record, unfinished: tuple[Record, ...] = ()) -> str:
    """Leaves the folder as a run does that got through ``records`` but not through ``unfinished``; returns its name."""
    for record in records:
        store.write(record)
    return store.write_run([r.cell for r in (*records, *unfinished)], "capsbench run --routing em").name


@pytest.mark.usefixtures("with_pictures")
def test_a_report_writes_tables_and_pictures(store: Store, capsules: Make, matched: Make) -> None:
    run_of(store, *(make(seed=seed) for make in (capsules, matched) for seed in (0, 1)))
    result = report(store.folder)
    assert sorted(path.name for path in result.files) == [
        "accuracies.svg",
        "accuracy-cost.svg",
        "index.html",
        "rows.parquet",
        "table.csv",
        "table.md",
        "table.parquet",
        "times.csv",
        "times.parquet",
        "training-curves.svg",
        "winners.csv",
        "winners.parquet",
    ]
    folder = store.folder / "report"
    assert sorted(folder.iterdir()) == sorted(result.files)
    for table in (pd.read_csv(folder / "table.csv"), pd.read_parquet(folder / "table.parquet")):
        assert table["accuracy_percent"].tolist() == pytest.approx([97.0, 96.0])
    rows, known = (
        table.sort_values(["cell", *ROW_COLUMNS])
        for table in (pd.read_parquet(folder / "rows.parquet"), load(store.folder))
    )
    assert len(rows) == 4 * 13
    for name in rows:
        assert rows[name].dropna().tolist() == known[name].dropna().tolist()
    assert set(ROW_COLUMNS) | {"cell", "seed", "network"} < set(rows)
    assert (folder / "accuracy-cost.svg").read_text().startswith("<?xml")
    table = result.document.parts[1].table
    assert table is not None
    assert [*table.rows[0][:3], table.rows[0][-1]] == [f"em {TIMES}3", "2", "97.0 ± 2.6", "3"]
    assert f"| {' | '.join(table.rows[0][:4])} |" in (folder / "table.md").read_text()


@pytest.mark.usefixtures("with_pictures")
def test_the_same_records_give_the_same_files(store: Store, capsules: Make, tmp_path: Path) -> None:
    run_of(store, capsules())
    first, second = (report(store.folder, to=tmp_path / name) for name in ("first", "second"))
    for one, other in zip(first.files, second.files, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_all_of_a_folder_is_reported_or_the_latest_run_or_another_by_name(store: Store, capsules: Make) -> None:
    first = run_of(store, capsules(iterations=1))
    latest = run_of(store, capsules(iterations=2))
    store.write(capsules(iterations=3))  # of no run
    whole = report(store.folder, formats=["csv"])
    assert whole.summary["iterations"].tolist() == [1, 2, 3]
    assert dict(whole.document.facts)["run"] == [f"{first}, {latest}"]
    assert report(store.folder, last=True, formats=["csv"]).summary["iterations"].tolist() == [2]
    assert report(store.folder, run=first, formats=["csv"]).summary["iterations"].tolist() == [1]
    with pytest.raises(UsageError) as caught:
        report(store.folder, run=first, last=True)
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "last")


def test_cells_of_all_runs_are_missing_in_the_report_of_a_folder(store: Store, capsules: Make) -> None:
    run_of(store, capsules(seed=0), unfinished=(capsules(seed=1), capsules(seed=2)))
    run_of(store, capsules(seed=2), unfinished=(capsules(seed=3),))
    assert report(store.folder, formats=["csv"]).document.unfinished == Unfinished(missing=2, total=4)
    assert report(store.folder, formats=["csv"], last=True).document.unfinished == Unfinished(missing=1, total=2)


def test_a_string_is_as_good_as_a_list(store: Store, capsules: Make) -> None:
    for routing in ("dynamic", "em"):
        store.write(capsules(routing=routing))
    strings = report(
        store.folder, formats="csv,md", where="routing=dynamic,em", by="routing", columns="contender,accuracy"
    )
    lists = report(
        store.folder,
        formats=["csv", "md"],
        where=["routing=dynamic,em"],
        by=["routing"],
        columns=["contender", "accuracy"],
    )
    assert strings.readable.equals(lists.readable)
    assert strings.document.facts == lists.document.facts
    assert [*strings.readable] == ["contender", "accuracy %"]


def test_what_an_earlier_run_left_out_and_a_later_one_has_is_not_left_out(store: Store, capsules: Make) -> None:
    cell = capsules().cell
    store.write_run([cell], "capsbench run", left_out={"digits": "no such file", "mnist": "no such file"})
    run_of(store, capsules(), capsules(dataset="kmnist"))
    document = report(store.folder, formats=["csv"], where=["dataset=kmnist"]).document
    assert document.left_out == {"mnist": "no such file"}


def test_the_suite_of_a_folder_is_that_of_the_latest_run_that_has_one(store: Store, capsules: Make) -> None:
    store.write(capsules())
    for suite in ("sabour2017", "demo", None):
        store.write_run([capsules().cell], "capsbench run", suite)
    result = report(store.folder, formats=["csv"])
    assert result.published.empty  # as those of the suite demo are
    assert ["sabour2017" in note for note in result.notes if "demo" in note] == [True]


def test_records_without_a_run_are_all_reported(store: Store, capsules: Make) -> None:
    for iterations in (1, 2):
        store.write(capsules(iterations=iterations))
    assert report(store.folder).summary["iterations"].tolist() == [1, 2]


def test_an_unknown_run_is_named_with_the_known_ones(store: Store, capsules: Make) -> None:
    name = run_of(store, capsules())
    with pytest.raises(UsageError) as caught:
        report(store.folder, run="nope")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "run", "nope")
    assert caught.value.expected.endswith(name)


def test_failed_and_unfinished_cells_are_said(store: Store, capsules: Make, failed: Make) -> None:
    run_of(store, capsules(), failed(seed=1), unfinished=(capsules(seed=2), capsules(seed=3)))
    result = report(store.folder)
    assert result.failed == [("matrix-capsules em x3 tiny, digits, seed 1", "the loss became nan")]
    assert result.missing == 2
    (failure,) = result.document.failed
    assert (failure.seeds, failure.reason) == ([1], "the loss became nan")
    assert result.document.unfinished == Unfinished(missing=2, total=4)
    assert [part for part, _ in result.document.cautions] == ["failed", "unfinished"]
    store.write_run([capsules().cell, capsules(seed=2).cell], "capsbench run --fresh --routing em")
    document = report(store.folder, formats=["md"], last=True).document
    assert document.unfinished == Unfinished(missing=1, total=2)
    assert ["--fresh" in line for line in document.still_to_run] == [True]


@pytest.mark.usefixtures("with_pictures")
def test_a_run_of_failed_cells_only_says_why(store: Store, failed: Make) -> None:
    run_of(store, failed("out of memory\nand more"))
    result = report(store.folder)
    assert result.summary.empty
    assert result.readable.empty
    assert len(result.failed) == 1
    names = ["index.html", "rows.parquet", "table.csv", "table.md", "table.parquet"]
    assert sorted(path.name for path in result.files) == names
    assert (result.document.parts, result.document.commands) == ([], [])
    assert [failure.reason for failure in result.document.failed] == ["out of memory and more"]


def test_a_damaged_record_is_named_and_the_rest_reported(store: Store, capsules: Make) -> None:
    run_of(store, capsules(seed=0), capsules(seed=1))
    damaged = store.record_path(capsules(seed=1).cell.id)
    damaged.write_text(damaged.read_text()[:100])
    result = report(store.folder)
    assert result.summary["n"].tolist() == [1]
    assert result.missing == 1
    (fault,) = result.faults
    assert fault.startswith(f"{damaged}: ")
    assert result.document.faults == [fault]
    assert fault in (store.folder / "report" / "table.md").read_text()


def test_a_damaged_note_of_a_run_is_named(store: Store, capsules: Make) -> None:
    earlier = run_of(store, capsules(iterations=1))
    latest = run_of(store, capsules(iterations=2))
    (path,) = (store.folder / "runs").glob(f"{latest}-*.json")
    path.write_text(path.read_text()[:100])
    result = report(store.folder)
    assert result.summary["iterations"].tolist() == [1, 2]
    assert len(result.faults) == 1
    assert result.faults[0].startswith(f"{path}: ")
    assert str(path) in (store.folder / "report" / "table.md").read_text()
    assert str(path) in (store.folder / "report" / "index.html").read_text()
    assert report(store.folder, run=earlier, formats=["csv"]).faults == result.faults
    assert report(store.folder, last=True, formats=["csv"]).summary["iterations"].tolist() == [1]
    with pytest.raises(UsageError) as caught:
        report(store.folder, run=latest)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.DAMAGED, "run", latest)
    assert caught.value.problem == result.faults[0]
    path.unlink()
    assert report(store.folder).faults == []


def test_a_number_that_is_not_finite_does_not_reach_a_mean(store: Store, capsules: Make) -> None:
    run_of(store, capsules(0.5, seed=0), capsules(0.9, seed=1))
    path = store.record_path(capsules(seed=0).cell.id)
    # Sealed anew, as it would be of whoever wrote such a number: of another one the digest tells already.
    body = path.read_bytes().partition(b"\n")[2].replace(b'"value": 0.5,', b'"value": Infinity,', 1)
    path.write_bytes(b'{"digest": "%s",\n' % hashlib.sha256(body).hexdigest().encode() + body)
    result = report(store.folder)
    assert result.summary["accuracy_percent"].tolist() == pytest.approx([90.0])
    (fault,) = result.faults
    assert fault.startswith(f"{path}: ")
    assert "measures.accuracy.rows.0.value" in fault


def predicted(store: Store, record: Record) -> Record:
    """Leaves the predictions of ten test images that a record's accuracy is of."""
    accuracy = next(row.value for row in record.rows if row[:3] == ("accuracy", "accuracy", "test"))
    labels = torch.arange(10)
    wrong = (torch.arange(10) >= round(10 * accuracy)).int()
    store.write_tensors(store.kept_path("accuracy", record.cell.id), {"label": labels, "prediction": labels + wrong})
    return record


def test_differences_that_are_over_seeds_alone_are_said_to_be(store: Store, capsules: Make, matched: Make) -> None:
    records = [predicted(store, make(0.9 - seed / 10, seed=seed)) for make in (capsules, matched) for seed in (0, 1, 2)]
    run_of(store, *records)
    assert report(store.folder).notes == []
    paths = [store.kept_path("accuracy", record.cell.id) for record in records[:2]]
    paths[0].unlink()
    (note,) = report(store.folder).notes
    assert " 1 cell" in note
    paths[1].write_bytes(paths[1].read_bytes()[:-8])
    (note,) = report(store.folder).notes
    assert " 2 cells" in note
    assert note in (store.folder / "report" / "index.html").read_text()


def test_a_kept_file_that_cannot_be_read_is_named(store: Store, capsules: Make) -> None:
    records = [predicted(store, capsules(0.9 - seed / 10, seed=seed)) for seed in (0, 1)]
    run_of(store, *records)
    path = store.kept_path("accuracy", records[0].cell.id)
    path.write_bytes(path.read_bytes()[:-8])
    (fault,) = report(store.folder).faults
    assert fault.startswith(str(path))


def test_where_nothing_is_tested_no_predictions_are_missed(store: Store, capsules: Make) -> None:
    run_of(store, *(capsules(seed=seed) for seed in (0, 1, 2)))
    assert report(store.folder).notes == []


def test_nothing_measured_says_what_to_do(store: Store, capsules: Make) -> None:
    with pytest.raises(UsageError) as absent:
        report(store.folder)
    assert (absent.type, absent.value.kind, absent.value.file) == (UsageError, Kind.MISSING, store.folder)
    store.check_writable()
    with pytest.raises(NothingMeasured) as empty:
        report(store.folder)
    assert (empty.value.kind, empty.value.file) == (Kind.MISSING, store.folder)
    run = run_of(store, unfinished=(capsules(),))
    with pytest.raises(NothingMeasured) as begun:
        report(store.folder)
    assert (begun.value.kind, begun.value.file) == (Kind.MISSING, store.folder)
    assert run in begun.value.problem
    assert "`capsbench run --routing em`" in begun.value.expected
    store.record_path("0").parent.mkdir(exist_ok=True)
    store.record_path("0").write_text("{")
    with pytest.raises(UsageError) as damaged:
        report(store.folder)
    assert (damaged.type, damaged.value.kind, damaged.value.file) == (UsageError, Kind.DAMAGED, store.folder)
    assert str(store.record_path("0")) in damaged.value.problem
    assert not (store.folder / "report").exists()


def test_where_the_numbers_are_from(store: Store, capsules: Make) -> None:
    record = capsules()
    facts = {**record.provenance, "cpu": "B CPU", "dirty": True}
    elsewhere = make_record(capsules(seed=1).cell, record.rows, provenance=facts)
    run_of(store, record, elsewhere)
    result = report(store.folder)
    assert len(result.notes) == 1  # times of two machines
    assert [part for part, _ in result.document.cautions] == ["origin"]  # uncommitted changes
    assert dict(result.document.facts)["command"] == ["capsbench run --routing em"]
    page = (store.folder / "report" / "table.md").read_text()
    assert "- command: `capsbench run --routing em`" in page
    for term, lines in result.document.facts:
        assert all(f"- {term}: " in page and line in page for line in lines)


def test_published_numbers_of_a_suites_file_stand_beside_where_it_is_named(store: Store, tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'routing = "dynamic"\niters = 3\nbaseline = "none"\n[[published]]\ntable = "Table 1"\nrow = "A | B"\n'
        'metric = "error"\nvalue = 2.0\nsource = "a paper"\nwhere = {iters = 3}\n'
    )
    records = [
        make_record(cell, [Row("accuracy", "accuracy", "test", 0.97 + seed / 100, "fraction")])
        for seed, cell in enumerate(cells(suite, seeds=[0, 1]))
    ]
    for record in records:
        store.write(record)
    store.write_run([record.cell for record in records], "capsbench run", str(suite), {"mnist": "no such file"})
    result = report(store.folder, suite=suite)
    folder = store.folder / "report"
    assert {folder / "published.csv", folder / "published.parquet"} < set(result.files)
    for table in (
        result.published,
        pd.read_csv(folder / "published.csv"),
        pd.read_parquet(folder / "published.parquet"),
    ):
        assert table["measured"].tolist() == pytest.approx([2.5])
        assert table["verdict"].tolist() == ["inside"]
    (row,) = result.published_readable.to_numpy().tolist()
    assert row == ["Table 1", "A | B", "error %", "2.0", "2.5 [0.0, 9.4]", "2", "tiny", "inside"]
    assert result.document.left_out == {"mnist": "no such file"}

    store.write(make_failed(records[0].cell.model_copy(update={"seed": 2})))
    assert report(store.folder, suite=suite).published_readable["at"].tolist() == ["tiny (2 of 3 seeds)"]

    result = report(store.folder)  # of a suite's file the run's note is only a name
    assert result.published.empty
    assert not (folder / "published.csv").exists()
    assert any(str(suite) in note for note in result.notes)
    with pytest.raises(UsageError) as caught:
        report(store.folder, suite="nosuch")
    assert caught.value.value == "nosuch"


def test_the_suite_of_a_runs_note_is_a_name_and_never_opened(store: Store, capsules: Make, tmp_path: Path) -> None:
    store.write(capsules())
    os.mkfifo(tmp_path / "pipe.toml")
    for named in (tmp_path / "pipe.toml", "/dev/zero", tmp_path):
        store.write_run([capsules().cell], "capsbench run", str(named))
        assert report(store.folder, formats=["csv"]).published.empty


@pytest.mark.parametrize("values", [(1, "a"), (True, 2), (2.5, True), (1, 2.5)])
def test_two_types_of_one_option_are_no_fault(store: Store, values: tuple[Any, Any]) -> None:
    """Two routings of one's own that give an option of the same name another type."""
    for count, value in enumerate(values):
        for seed in (0, 1):
            cell = make_capsules(seed=seed, routing=f"mine{count}:R", options={"routing.t": value})
            store.write(make_record(cell, [Row("accuracy", "accuracy", "test", 0.5, "fraction")]))
    result = report(store.folder, formats=["csv", "parquet", "md"], by=["t"])
    assert pd.read_parquet(store.folder / "report" / "rows.parquet")["routing.t"].nunique() == 2
    assert len(pd.read_csv(store.folder / "report" / "table.csv")) == 2
    assert result.summary["n"].tolist() == [2, 2]


def test_no_text_in_a_csv_file_is_a_formula(store: Store) -> None:
    for seed, name in enumerate(["=1+1", "+1", "-1", "-x", "@x", "\tx", "plain"]):
        cell = make_capsules(seed=seed, options={"routing.name": name, "routing.low": -0.5})
        store.write(make_record(cell, [Row("accuracy", "accuracy", "test", 0.5, "fraction")]))
    report(store.folder, formats=["csv"])
    table = pd.read_csv(store.folder / "report" / "table.csv", dtype={"routing.name": str})
    assert sorted(table["routing.name"]) == sorted(["'=1+1", "+1", "-1", "'-x", "'@x", "'\tx", "plain"])


def test_records_without_provenance_are_reported(store: Store, capsules: Make) -> None:
    record = capsules()
    unknown = make_record(record.cell, record.rows, provenance=dict.fromkeys(record.provenance))
    for without in (unknown, make_record(record.cell, record.rows)):
        run_of(store, without)
        assert len(report(store.folder).summary) == 1


@pytest.mark.usefixtures("with_pictures")
def test_a_picture_of_an_earlier_report_does_not_stay(store: Store, capsules: Make) -> None:
    run_of(store, capsules())
    stale = store.folder / "report" / "accuracy-cost.svg"
    assert stale in report(store.folder).files
    run_of(store, capsules(0.97, None, seed=5))
    report(store.folder, last=True)
    assert not stale.exists()


def test_a_report_that_cannot_be_written_is_one_line(store: Store, capsules: Make, tmp_path: Path) -> None:
    run_of(store, capsules())
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        report(store.folder, to=tmp_path / "file" / "report")
    assert (caught.value.kind, caught.value.file) == (Kind.INACCESSIBLE, tmp_path / "file" / "report")
    assert isinstance(caught.value.__cause__, NotADirectoryError)


@pytest.mark.parametrize("earlier", [True, False])
def test_a_disk_that_fills_up_leaves_the_earlier_report(
    store: Store, capsules: Make, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    run_of(store, capsules(iterations=1))
    folder = store.folder / "report"
    if earlier:
        report(store.folder)
    before = {path.name: path.read_bytes() for path in folder.glob("*")}
    assert bool(before) == earlier
    run_of(store, capsules(iterations=2))
    write = Path.write_bytes

    def write_some(path: Path, content: bytes) -> int:
        if "parquet" not in path.name:
            return write(path, content)
        write(path, content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(UsageError) as caught:
        report(store.folder)
    assert (caught.value.kind, caught.value.file) == (Kind.INACCESSIBLE, folder)
    assert "No space left on device" in caught.value.problem
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_of_a_report_is_never_there_in_part(
    store: Store, capsules: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(store, capsules())
    replaced: list[tuple[str, str]] = []
    written: list[str] = []
    replace_, write = Path.replace, Path.write_bytes
    monkeypatch.setattr(
        Path, "replace", lambda path, to: (replaced.append((path.name, Path(to).name)), replace_(path, to))[1]
    )
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: (written.append(path.name), write(path, data))[1])
    result = report(store.folder, formats=["md", "csv"])
    names = [path.name for path in result.files]
    assert [new for _, new in replaced] == names
    assert written == [old for old, _ in replaced]
    assert not set(written) & set(names)


def test_torch_is_not_imported_to_read_records_and_report_on_them() -> None:
    imported = (
        "import sys, capsbench, capsbench.cli.report; capsbench.load, capsbench.report; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_seaborn_is_imported_only_where_pictures_are_drawn(store: Store, capsules: Make) -> None:
    """It takes a second."""
    run_of(store, capsules())
    script = """
import pkgutil, sys, importlib
import capsbench.cli
from capsbench.reporting.build import report

for command in pkgutil.iter_modules(capsbench.cli.__path__):
    importlib.import_module(f"capsbench.cli.{command.name}")
report(sys.argv[1], formats=["md", "csv"])
print("seaborn" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script, str(store.folder)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_pictures_have_the_same_bytes_in_every_process_and_leave_the_users_style(tmp_path: Path) -> None:
    script = """
import hashlib, sys
import matplotlib as mpl

mpl.rcParams["lines.linewidth"] = 7.5  # a user's own
before = dict(mpl.rcParams)
from capsbench.presenting.material import Material
from capsbench.records.store import Store
from capsbench.reporting import parallel
from capsbench.reporting.contents import all_pictures

parallel.count_workers = lambda: 0  # the pictures are drawn in the user's process
store = Store(sys.argv[1])
material = Material.from_records(store.records()[0], store)
chosen = {name: all_pictures()[name] for name in ("training-curves", "affine-curves", "adversarial-readings")}
with parallel.drawing(chosen, material, ["svg"]) as wait:
    images = wait()
for name, image in images.items():
    print(name, hashlib.sha256(image.files["svg"]).hexdigest())
assert dict(mpl.rcParams) == before
import seaborn
seaborn.reset_orig()
assert dict(mpl.rcParams) == before
"""
    folder = Path(__file__).parents[2] / "results" / "reference" / "digits"
    drawn = [
        subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert drawn[0] == drawn[1]
    names = [line.split()[0] for line in drawn[0].splitlines()]
    assert names == ["training-curves", "affine-curves", "adversarial-readings"]
