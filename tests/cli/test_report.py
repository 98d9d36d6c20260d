"""`capsbench report` as a person types it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from capsbench.presenting.words import TIMES
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.making import make_failed, make_record

Call = Callable[..., SimpleNamespace]


@pytest.fixture
def results(tmp_path: Path, make_cell: Callable[..., Cell]) -> Path:
    """A folder with records of dynamic routing at 1 and 3 iterations."""
    for iterations in (1, 3):
        for seed in (0, 1):
            rows = [Row("accuracy", "accuracy", "test", 0.9 + iterations / 100, "fraction")]
            Store(tmp_path / "results").write(make_record(make_cell(iters=iterations, seeds=seed), rows))
    return tmp_path


def files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "results" / "report").iterdir()}


def test_it_writes_the_formats_that_are_asked_for_and_no_others(capsbench: Call, results: Path) -> None:
    assert capsbench("report", "--format", "html,tex", cwd=results).returncode == 0
    assert files(results) == {"index.html", "table.tex", "winners.tex", "hypotheses.tex", "times.tex"}
    done = capsbench("report", "--format", "md, csv", cwd=results)
    assert files(results) == {"table.md", "table.csv", "winners.csv", "hypotheses.csv", "times.csv"}
    assert (
        "the page: table.md\ntables: table.csv, winners.csv, hypotheses.csv, times.csv\nin results/report\n"
        in done.stdout
    )


def test_it_takes_the_records_that_are_chosen(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--where", "iters=3", "--format", "csv", "--json", cwd=results)
    assert [row["iterations"] for row in json.loads(done.stdout)] == [3]


def test_it_says_what_a_choice_does(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--by", "iters", "--format", "csv", cwd=results)
    assert "What a choice does" in done.stdout
    assert "effects.csv" in files(results)


@pytest.mark.usefixtures("without_pictures")
def test_it_answers_for_a_contender_before_all_else(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--for", "dynamic x3", "--format", "html,csv", cwd=results)
    lead, rival, *rest = done.stdout.splitlines()
    assert "93.0" in lead
    assert rival.startswith("- Against dynamic")
    assert "Who won" not in done.stdout
    assert any(line.startswith("In numbers") for line in rest)
    assert {"answer.csv", "winners.csv", "index.html"} <= files(results)


def test_the_answer_for_programs_is_its_numbers(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--for", "dynamic x3", "--format", "csv", "--json", cwd=results)
    (row,) = json.loads(done.stdout)
    assert (row["measured"], row["result"], row["n"]) == ("test accuracy %", "not tested", 2)
    assert row["difference"] == pytest.approx(2.0)


def test_the_sentences_to_quote_stand_alone(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--quote", "--format", "tex", cwd=results)
    (text,) = done.stdout.splitlines()
    assert text.startswith("On digits")
    assert "(93.0 %, 95 % CI" in text
    source = (results / "results" / "report" / "winners.tex").read_text().splitlines()
    (remark,) = [line for line in source if line.startswith("% to quote: On digits")]
    assert r"93.0~\%" in remark
    answer = capsbench("report", "--quote", "--for", "dynamic x1", "--format", "csv", cwd=results).stdout
    assert len(answer.splitlines()) == 1
    assert "91.0 %" in answer


def test_without_a_rival_there_is_nothing_to_quote(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--quote", "--where", "iters=3", "--format", "csv", cwd=results)
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert "only contender" in line


def test_quotes_are_not_json(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--quote", "--json", cwd=results)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--quote" in done.stderr
    assert "--json" in done.stderr


def test_an_unknown_contender_is_one_line_with_the_known_ones(capsbench: Call, results: Path) -> None:
    done = capsbench("report", "--for", "dynamik", "--format", "csv", cwd=results)
    assert done.returncode == 2
    (text,) = done.stderr.splitlines()
    assert "--for" in text
    assert "did you mean 'dynamic'?" in text
    assert not (results / "results" / "report").exists()


def test_names_and_reasons_are_text_to_the_terminal(
    capsbench: Call, results: Path, make_cell: Callable[..., Cell]
) -> None:
    name = "[red]x[/red] [/] <b> | :dog: \N{GRINNING FACE}"
    store = Store(results / "results")
    for value in (f"{name} 1", f"{name} 2"):
        cell = make_cell(seeds=2).model_copy(update={"options": {f"routing.{name}": value}})
        store.write(make_record(cell, [Row("accuracy", "accuracy", "test", 0.5, "fraction")]))
    store.write(make_failed(make_cell(seeds=3), f"{name}\x1b[2J\nand \x07more"))
    done = capsbench("report", "--format", "csv", cwd=results)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert f"routing.{name}" in lines[1]
    assert [any(f"{name} {count}" in line for line in lines) for count in (1, 2)] == [True, True]
    assert f"{name}\N{REPLACEMENT CHARACTER}[2J and \N{REPLACEMENT CHARACTER}more\n" in done.stdout
    assert not {"\x1b", "\x07"} & set(done.stdout)


def print_on_terminal(
    capsbench: Call, results: Path, monkeypatch: pytest.MonkeyPatch, width: int, *flags: str
) -> list[str]:
    """The lines of a report on a terminal, without colours and the spaces at their ends."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    text = capsbench("report", "--format", "csv", *flags, cwd=results).stdout
    return [line.rstrip() for line in re.sub("\x1b\\[[0-9;]*m", "", text).splitlines()]


@pytest.fixture
def costly(results: Path, make_cell: Callable[..., Cell]) -> Path:
    """The same records with costs, more than fit in a line of 30 characters."""
    store = Store(results / "results")
    for iterations in (1, 3):
        for seed in (0, 1):
            rows = [
                Row("accuracy", "accuracy", "test", 0.9 + iterations / 100 + seed / 1000, "fraction"),
                Row("training", "parameters", "network", 28_000 + iterations, "count"),
                Row("cost", "flops", "inference", 1e6 * iterations, "count"),
            ]
            store.write(make_record(make_cell(iters=iterations, seeds=seed), rows))
    return results


@pytest.mark.parametrize("width", [28, 60, 80])
def test_a_report_fits_on_a_terminal(
    capsbench: Call, costly: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    lines = print_on_terminal(capsbench, costly, monkeypatch, width, "--to", "x")
    headline = lines[: lines.index("Who won")]
    assert max(map(len, headline)) <= width
    assert any(line.startswith("contender") for line in headline)
    assert any(line.startswith(f"dynamic {TIMES}1 │") and " 91." in line for line in headline)
    assert "dataset digits" in " ".join(headline)
    left_out = [line for line in headline if line.startswith("Left out")]
    assert bool(left_out) == (width == 28)
    assert all("FLOPs" in line for line in left_out)


def test_chosen_columns_are_all_there_wherever_they_are_printed(
    capsbench: Call, costly: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = ("--columns", "parameters,iters,flops", "--format", "csv,md,tex")
    piped = capsbench("report", *columns, cwd=costly).stdout.splitlines()
    assert [word.strip() for word in piped[0].split("┃")] == ["parameters", "iters", "FLOPs"]
    folder = costly / "results" / "report"
    assert "| parameters | iters | FLOPs |" in (folder / "table.md").read_text()
    assert "parameters & iters & FLOPs" in (folder / "table.tex").read_text()
    assert "accuracy_percent" in (folder / "table.csv").read_text()  # programs have all columns
    terminal = print_on_terminal(capsbench, costly, monkeypatch, 30, *columns[:2])
    assert [word.strip() for word in terminal[0].split("┃")] == ["parameters", "iters", "FLOPs"]


def test_programs_read_every_column(capsbench: Call, costly: Path) -> None:
    first = capsbench("report", "--format", "csv", cwd=costly).stdout.splitlines()[0]
    headings = [word.strip() for word in first.split("┃")]
    assert headings == ["dataset", "size", "network", "routing", "iters", "n", "accuracy %", "parameters", "FLOPs"]


@pytest.mark.usefixtures("without_pictures")
def test_it_opens_the_page(capsbench: Call, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    capsbench("report", "--format", "html", "--open", cwd=results)
    assert opened == [(results / "results" / "report" / "index.html").resolve().as_uri()]


@pytest.mark.parametrize(
    ("flag", "value", "right"),
    [
        ("--format", "pdf", "html, md, tex, csv, parquet, svg, png"),
        ("--format", "htm", "'html'"),
        ("--format", "", "html"),
        ("--where", "iters", "NAME=A,B"),
        ("--where", "itres=3", "'iters'"),
        ("--where", "iters=4", "1, 3"),
        ("--by", "itres", "'iters'"),
        ("--by", "seed", "an option of the contenders"),
        ("--columns", "accurcy", "did you mean 'accuracy'?"),
        ("--columns", "iters,iters", "twice"),
        ("--out", "file", "`capsbench run`"),
    ],
)
@pytest.mark.usefixtures("without_pictures")
def test_wrong_input_is_one_line_and_exit_code_2(
    capsbench: Call, results: Path, flag: str, value: str, right: str
) -> None:
    """The line names the flag, what of its value is wrong, and what would be right."""
    (results / "file").touch()
    done = capsbench("report", flag, value, cwd=results)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"capsbench: {flag}")
    assert value.partition("=")[0].partition(",")[0] in done.stderr
    assert right in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (results / "results" / "report").exists()


@pytest.mark.usefixtures("without_pictures")
def test_an_unfinished_run_is_told_of_first(capsbench: Call, results: Path, make_cell: Callable[..., Cell]) -> None:
    store = Store(results / "results")
    cells = [make_cell(iters=iterations, seeds=seed) for iterations in (1, 3) for seed in (0, 1, 2)]
    store.write(make_failed(cells[2]))
    store.write_run(cells, "capsbench run --iters 1,3")
    for flags in ((), ("--last",)):
        done = capsbench("report", "--format", "html,md,tex", *flags, cwd=results)
        assert {"1 cell failed", "1 of 6 cells not on record yet"} == {
            *done.stdout.splitlines()[0].strip(".").split("; ")
        }
        written = {name: (results / "results" / "report" / name).read_text() for name in ("table.md", "table.tex")}
        assert "1 of 6 cells not on record yet" in written["table.md"].split("##")[0]
        assert "1 of 6 cells not on record yet" in written["table.tex"].partition(r"\label")[0]
        page = (results / "results" / "report" / "index.html").read_text()
        assert "1 of 6 cells not on record yet" in page[: page.index("</header>")]
    done = capsbench("report", "--json", cwd=results)
    assert json.loads(done.stdout)
    assert "1 of 6 cells not on record yet" in done.stderr
