"""Tables in, LaTeX out, read back by a small reader of what LaTeX makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import report
from capsbench.reporting.formats.latex import escape_latex, render_table
from capsbench.reporting.table import Table

Make = Callable[..., Record]

PRINTED = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
    r"\textgreater{}": ">", r"\textbar{}": "|", "''": '"', r"\textasciigrave{}": "`", r"$\pm$": "±",
    r"$\times$": TIMES, r"$\infty$": "∞", r"$^{2}$": "²", r"$^{*}$": "*", r"$^{\dagger}$": "†", r"$-$": "-", r"$+$": "+",
    r"\{": "{", r"\}": "}", r"\&": "&", r"\%": "%", r"\$": "$", r"\#": "#", r"\_": "_", "{,}": ",",
    "~": "\N{NO-BREAK SPACE}",
}  # fmt: skip
"""What LaTeX prints for what is written."""


def printed(text: str) -> str:
    """A cell as LaTeX prints it; raises AssertionError for a character that would mean something else to it."""
    shown = ""
    numbers = re.compile(r"\$([+-]?[\d.,{}]+)( \\pm [\d.,{}]+| \\;\[[^]]*\])\$")
    while text:
        number = numbers.match(text)
        if number:
            shown += f"{number[1]}{number[2]}".replace(r"\pm", "±").replace(r"\;", "").replace("{,}", ",")
            text = text[number.end() :]
            continue
        written = next((each for each in PRINTED if text.startswith(each)), text[0])
        assert written in PRINTED or written not in r"\{}&%$#_~^", f"{written!r} of {text!r}"
        shown += PRINTED.get(written, written)
        text = text[len(written) :]
    return shown


def read(source: str) -> tuple[str, list[list[str]]]:
    """Column types and rows of a float; raises AssertionError where LaTeX would not take it."""
    lines = [line for line in source.splitlines() if not line.startswith("%")]
    source = "\n".join(lines)
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([^}]*)\}", source):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert opened == []
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", source):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", source)) % 2 == 0
    (line,) = [each for each in lines if each.startswith(r"\begin{tabular")]
    columns = line.partition("{@{}")[2].removesuffix("@{}}")
    columns = re.sub(r">\{(\\hsize=[\d.]+\\hsize)?\\ragged(right|left)\\arraybackslash\}(X|p\{\d+pt\})", r"\2", columns)
    columns = columns.replace("right", "p").replace("left", "r")
    order = [lines.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
    order += [place for place, each in enumerate(lines) if each.startswith((r"\end{tabular", r"\end{table"))]
    assert order == sorted(order)
    assert len(order) == 5
    assert sum(each.startswith(r"\caption[") for each in lines) == 1
    assert sum(each.startswith(r"\label{tab:") for each in lines) == 1
    rows = [each for each in lines[order[0] + 1 : order[2]] if each != r"\midrule"]
    assert all(each.endswith(r" \\") for each in rows)
    rows = [
        re.sub(r"\\(begin|end)\{tabular\}(\[b\]\{@\{\}[lr]@\{\}\})?", "", each) for each in rows
    ]  # stacked headings
    cells = [re.split(r" (?<!\\)& ", each.removesuffix(r" \\").replace(r"\\", " ")) for each in rows]
    assert all(len(row) == len(columns) for row in cells)
    return columns, [[printed(cell) for cell in row] for row in cells]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def loosen(rows: list[list[str]]) -> list[list[str]]:
    """Rows with spaces for those at which no line may end, which broken texts do not keep."""
    return [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in rows]


def find_columns(table: Table, headings: list[str]) -> list[list[str]]:
    """The headings and the rows of a table, some columns of it."""
    places = [table.headings.index(heading) for heading in headings]
    return loosen([[row[place] for place in places] for row in (table.headings, *table.rows)])


def test_the_tables_of_a_report_say_what_the_page_says(store: Store, capsules: Make, matched: Make) -> None:
    for seed in (0, 1, 2):
        store.write(capsules(0.97 + seed / 1000, seed=seed, step=30.0, flops=1e6))
        store.write(matched(0.90 + seed / 100, seed=seed, step=20.0))
    made = report(store.folder, formats=["tex"])
    assert sorted(path.name for path in made.files) == ["table.tex", "times.tex", "winners.tex"]
    tables = {part.table.name: part.table for part in made.document.parts if part.table}
    for path in made.files:
        columns, rows = read(path.read_text(encoding="utf-8"))
        table = tables[path.stem]
        assert loosen(rows) == find_columns(table, rows[0])
        assert [each == "r" for each in columns] == [table.numbers[table.headings.index(name)] for name in rows[0]]
        if path.stem != "table":
            assert rows[0] == table.headings
    source = (store.folder / "report" / "table.tex").read_text()
    assert r"$97.1 \pm 0.3$" in source
    assert r"\label{tab:table}" in source
    assert "Parameters:" in source  # of the same number in all rows
    assert "Step:" not in source  # the caption says nothing of columns that are left out
    assert source.startswith("% \\usepackage{booktabs}\n% left out for a column's width: step (ms), ")
    assert "\n\\begin{table}\n" in source


def test_columns_that_were_chosen_are_all_there(store: Store, capsules: Make, matched: Make) -> None:
    for seed in (0, 1, 2):
        store.write(capsules(0.97 + seed / 1000, seed=seed))
        store.write(matched(0.90 + seed / 100, seed=seed))
    made = report(store.folder, formats=["tex"], columns=["all"])
    source = (store.folder / "report" / "table.tex").read_text()
    (table,) = [part.table for part in made.document.parts if part.table and part.table.name == "table"]
    assert loosen(read(source)[1]) == loosen([table.headings, *table.rows])
    assert "left out" not in source
    assert r"\begin{table*}" in source


HOSTILE = r"a\b {c} & 50 % $x$ #1 _y_ ~z ^w < > | " + '"`'


def test_every_character_is_printed_as_it_is() -> None:
    table = Table.from_strings(
        "hostile", HOSTILE, pd.DataFrame({HOSTILE: [HOSTILE, f"{TIMES}∞²±†*\xa0"], "n": ["1", "2"]}), HOSTILE
    )
    columns, rows = read(render_table(table))
    assert columns == "pr"
    assert loosen(rows) == [[HOSTILE, "n"], [HOSTILE, "1"], [f"{TIMES}∞²±†* ", "2"]]


def test_no_ascii_character_is_left_with_a_meaning() -> None:
    letters = "".join(map(chr, range(32, 127))).replace("`", "")  # a pair of backquotes is code in a caption
    assert printed(escape_latex(letters)) == letters


def test_letters_that_pdflatex_lacks_are_named_once() -> None:
    def find(text: str) -> list[str]:
        source = render_table(Table.from_strings("named", "Named", pd.DataFrame({"a": [text, text]}), "A caption."))
        return [line for line in source.splitlines() if "pdflatex" in line]

    (line,) = find("日本 \N{GRINNING FACE}")
    assert line.startswith("% pdflatex has no 日 本 \N{GRINNING FACE}: ")
    assert find(f"ünïcode ł \N{EN DASH} \N{RIGHT SINGLE QUOTATION MARK} ± {TIMES}") == []


def test_lines_and_tabs_in_a_name_are_spaces() -> None:
    assert escape_latex("two\nlines\tand a tab") == "two lines and a tab"


def test_hostile_names_of_a_report_are_printed_as_they_are(store: Store, capsules: Make) -> None:
    for seed in (0, 1, 2):
        store.write(capsules(0.9 + seed / 100, seed=seed, routing=f"own:{HOSTILE}", code={"routing": "0123abcd"}))
        store.write(capsules(0.7, seed=seed, options={f"network.{HOSTILE}": HOSTILE}))
    made = report(store.folder, formats=["tex"])
    tables = {part.table.name: part.table for part in made.document.parts if part.table}
    printed_ = {path.stem: read(path.read_text(encoding="utf-8"))[1] for path in made.files}
    assert {name: loosen(rows) for name, rows in printed_.items()} == {
        name: find_columns(table, printed_[name][0]) for name, table in tables.items()
    }
    assert any(HOSTILE in cell for row in printed_["table"] for cell in row)
    assert any(HOSTILE in cell for row in printed_["winners"] for cell in row)


@pytest.mark.parametrize(
    "number",
    [
        "-0.6 ± 1.3", "+1.0 ± 2.0*", "97.3 ± 0.8 (n=2)", "28.0K", "1,024", "-3", "5.0 †", "2 ± 1,000",
        "99.5 [98.1, 100.0] (n=2)", "-62.0 [-100.0, -17.0]*",
    ],
)  # fmt: skip
def test_numbers_keep_their_sign_interval_and_marks(number: str) -> None:
    _, rows = read(render_table(Table.from_strings("t", "T", pd.DataFrame({"name": ["a"], "x": [number]}), "C.")))
    assert rows[1][1].replace(" ", "") == number.replace(" ", "")


def test_a_table_longer_than_a_page_has_parts_with_one_number_and_all_rows() -> None:
    long = pd.DataFrame({"claim": ["a", *[""] * 99], "row": [f"r{place}." for place in range(100)]})
    parts = render_table(Table.from_strings("t", "T", long, "C.")).split(r"\begin{table}")[1:]
    assert len(parts) > 1
    assert sum(part.count(r"\label{tab:t}") for part in parts) == 1
    assert [r"\addtocounter{table}{-1}" in part for part in parts] == [False, *[True] * (len(parts) - 1)]
    rows = re.findall(r"^(a?) & (r\d+\.)", "\n".join(parts), flags=re.MULTILINE)
    assert [row for _, row in rows] == list(long["row"])
    assert [claim for claim, _ in rows].count("a") == len(parts)  # each part says of which claim its first row is


def test_a_table_of_a_page_has_one_part() -> None:
    short = pd.DataFrame({"name": ["a"] * 30})
    assert render_table(Table.from_strings("t", "T", short, "C.")).count(r"\begin{table}") == 1
