"""The Markdown page, read back by a parser of Markdown: what stands in it is text, whatever its letters are."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from capsbench.presenting.markdown import escape_markdown, format_code, format_prose
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import report
from tests.making import make_record

Make = Callable[..., Record]

HOSTILE = (
    '<script>alert("1")</script> <b>| a|b `c` ``d | & &lt; &#60; $x$ *e* **f** _g_ __h__ ~~i~~ [j](k) ![l](m) \\ \\* '
    "<a@example.org> 'n' \N{GRINNING FACE} " + "o" * 200
)
LINES = f"{HOSTILE}\n\n# heading\n- item\n```\nfence\n    > quote"


class Reader(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.text = ""
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))
        self.text = one_line(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    "text", [HOSTILE, LINES, "# a", "> a", "#", "_", "__init__", "train_size", "a & b", "&", "``", ""]
)
def test_a_string_is_shown_as_it_is(text: str) -> None:
    read = Reader(f"- {escape_markdown(text)}")
    assert read.text == one_line(text)
    assert read.elements in (["ul", "li"], ["ul", "li", "p"])
    row = Reader(f"| a | b |\n| --- | --- |\n| {escape_markdown(text)} | c |")
    assert row.text == one_line(f"a b {text} c")
    assert row.elements.count("td") == 2
    assert "\n" not in escape_markdown(text)


def test_a_name_within_a_word_is_left_as_it_is() -> None:
    assert escape_markdown("train_size a & b -0.6 1.5") == "train_size a & b -0.6 1.5"


@pytest.mark.parametrize("text", [HOSTILE, "a`b", "`", "``a`", "a"])
def test_code_is_shown_as_it_is(text: str) -> None:
    read = Reader(f"x {format_code(text)} y")
    assert read.text == one_line(f"x {text} y")
    assert read.elements == ["p", "code"]


def test_prose_has_code_and_nothing_else() -> None:
    read = Reader(format_prose("*: `capsbench run` makes <b>; [a](b) `__init__` and a ` alone"))
    assert read.text == "*: capsbench run makes <b>; [a](b) __init__ and a ` alone"
    assert read.elements == ["p", "code", "code"]


def test_hostile_names_are_text_wherever_they_stand(tmp_path: Path, capsules: Make, failed: Make) -> None:
    store = Store(tmp_path)
    options = {f"network.{HOSTILE}": 1, "network.stem": LINES}
    records = [
        capsules(routing=f"own:{HOSTILE}", code={"routing": "0123abcd"}, seed=seed, options=options) for seed in (0, 1)
    ]
    facts = {**records[0].provenance, "cpu": LINES}
    records = [make_record(each.cell, each.rows, provenance=facts) for each in records]
    records += [failed(LINES, dataset=f"own:{HOSTILE}", code={"dataset": "0123abcd"}, seed=2)]
    for record in records:
        store.write(record)
    store.write_run([record.cell for record in records], f"capsbench run {HOSTILE}", left_out={HOSTILE: LINES})
    made = report(store.folder, formats=["md"])
    read = Reader(made.files[0].read_text(encoding="utf-8"))
    plain = Reader(report_of_plain(tmp_path / "plain", capsules, failed))
    assert [each for each in read.elements if each != "code"] == [each for each in plain.elements if each != "code"]
    wanted = [
        f"routing {HOSTILE}".replace("`c`", "c"),  # of all rows, in a caption, which has code
        f"capsbench run {HOSTILE}",
        f"{HOSTILE}: {LINES}",  # left out
        f"cpu {LINES}",
        f", seed 2: {LINES}",  # failed
    ]
    for each in wanted:
        assert one_line(each) in read.text


def report_of_plain(folder: Path, capsules: Make, failed: Make) -> str:
    """The report on the same records with names of letters."""
    store = Store(folder)
    options = {"network.a": 1, "network.stem": "b"}
    records = [
        capsules(routing="own:Mine", code={"routing": "0123abcd"}, seed=seed, options=options) for seed in (0, 1)
    ]
    records += [failed("reason", dataset="own:Mine", code={"dataset": "0123abcd"}, seed=2)]
    for record in records:
        store.write(record)
    store.write_run([record.cell for record in records], "capsbench run", left_out={"mnist": "reason"})
    return report(store.folder, formats=["md"]).files[0].read_text(encoding="utf-8")


def test_an_answer_comes_before_any_table_and_its_picture_before_its_numbers(
    tmp_path: Path, capsules: Make, matched: Make
) -> None:
    store = Store(tmp_path / "results")
    for make in (matched, capsules):
        store.write(make())
    report(store.folder, for_="em", formats=["md", "svg"])
    text = (store.folder / "report" / "table.md").read_text()
    places = [
        text.index(part) for part in ("97.0", "- Against matched CNN", "(answer.svg)", "| against |", "## Who won")
    ]
    assert places == sorted(places)
