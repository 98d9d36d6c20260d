"""The page as it is written: parsed as HTML, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from capsbench.presenting.figures.figure import Image, Picture
from capsbench.presenting.figures.files import render_image, render_svg
from capsbench.presenting.figures.style import COLUMN, NEUTRALS
from capsbench.presenting.material import Material
from capsbench.records.file import seal_json
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import Report, report
from capsbench.reporting.contents import PICTURES
from capsbench.reporting.formats.html import inline_svg, render_page
from capsbench.reporting.parallel import Draw
from tests.making import make_record

Make = Callable[..., Record]
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>&amp;'
VOID = {"meta", "input", "br", "wbr", "img", "link"}


class Page(HTMLParser):
    """What a page holds: its elements with their attributes, their texts, and whether each is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.texts: list[str] = []
        self.headings: list[int] = []
        self._table: list[list[str]] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(attributes["id"], [])
        elif tag == "tr" and self._table is not None:
            self._table.append([])
        elif tag in ("th", "td") and self._table is not None:
            self._table[-1].append("")
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())
        if tag == "table":
            self._table = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)
        if self._table and self._table[-1] and {"th", "td"} & set(self.open):
            self._table[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for each, attributes in self.elements if each == tag]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@cache
def draw_once(name: str, forms: tuple[str, ...]) -> Image:
    return render_image(Picture(figure(), f"Picture {name}", "How to read it."), forms)


@contextmanager
def draw_few(pictures: Mapping[str, Draw], material: Material, forms: Collection[str]) -> Iterator[Callable[[], Any]]:
    drawn = {name: draw_once(name, (*forms,)) if name in PICTURES else "it takes long" for name in pictures}
    yield lambda: drawn


@pytest.fixture(autouse=True, scope="module")
def _pictures() -> Iterator[None]:
    """A few pictures, drawn once, in place of those of a report, which take most of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("capsbench.reporting.build.drawing", draw_few)
        yield


def asked_for(record: Record) -> Record:
    """The record with what the user asked for to get it."""
    cell = record.cell
    beside = "none" if cell.routing else cell.network
    return replace(record, request={"routing": "em", "iters": cell.iterations or 3, "baseline": beside})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, capsules: Make, matched: Make, failed: Make) -> Report:
    """A report with everything in it: three contenders, a failed cell, one to come, a damaged file and data left out."""
    store = Store(tmp_path_factory.mktemp("page"))
    records = [make(seed=seed) for make in (capsules, matched) for seed in (0, 1, 2)]
    records += [capsules(0.91, iterations=1, seed=seed) for seed in (0, 1, 2)]
    records = [asked_for(record) for record in records]
    for record in [*records, failed("out of memory", iterations=2)]:
        store.write(record)
    store.write_run(
        [record.cell for record in [*records, failed(iterations=2), capsules(seed=9)]],
        "capsbench run --routing em",
        left_out={"mnist": "no such file"},
    )
    (store.folder / "records" / "0.json").write_text("{")
    return report(store.folder, formats=["html"])


def text_of(made: Report) -> str:
    (path,) = made.files
    return path.read_text(encoding="utf-8")


def _plain(text: str) -> str:
    """A text without the signs of the typesetter."""
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")


def test_every_number_of_every_table_is_on_the_page(made: Report) -> None:
    found = Page(text_of(made))
    for part in made.document.parts:
        if part.table:
            rows = [[_plain(cell) for cell in row] for row in found.tables[f"{part.name}-table"]]
            assert rows[0] == part.table.headings
            shown = rows[1:]
            # A cell that stands for several rows is in the first of them alone.
            wanted = [row[1:] if part.table.grouped and not row[0] else row for row in part.table.rows]
            assert shown == [[_plain(cell) for cell in row] for row in wanted]
    assert {"table-table", "winners-table"} <= set(found.tables)


def test_the_example_of_a_filter_is_a_row_of_its_table(made: Report) -> None:
    found = Page(text_of(made))
    hints = {
        str(attributes["aria-controls"]): attributes["placeholder"]
        for attributes in found.all("input")
        if "placeholder" in attributes
    }
    assert hints
    assert {name: found.tables[name][1][0] for name in hints} == hints


def test_cells_of_numbers_carry_their_value(made: Report) -> None:
    found = Page(text_of(made))
    values = {attributes["data-value"] for attributes in found.all("td") if "data-value" in attributes}
    assert {"97.0", "91.0", "28000.0", "12.0", "1.0", "-5.0"} <= values
    assert "" in values  # the baseline has no difference to itself


def test_the_page_says_what_there_is_to_know(made: Report) -> None:
    text = " ".join(" ".join(Page(text_of(made)).texts).split())  # a flag has an element of its own
    for said in (
        "Capsule networks on digits: em routing",
        "capsbench run --routing em",
        "1 cell failed",
        "out of memory",
        "1 of 11 cells not on record yet",
        "mnist: no such file",
        "0.json: not a whole record",
        "1 file could not be read",
        "0123456789abcdef",
        "the mean over n seeds ± half-width of the 95 % t-interval",
        "--iters 1",
    ):
        assert said in text, said


def test_each_row_leads_to_its_command_and_back(made: Report) -> None:
    found = Page(text_of(made))
    identities = {attributes["id"] for _, attributes in found.elements if "id" in attributes}
    links = {attributes["href"].removeprefix("#") for attributes in found.all("a")}
    assert links <= identities
    for again in made.document.commands:
        assert {f"again-{again.contender}", f"row-{again.contender}"} <= links


def test_the_page_is_alone(made: Report) -> None:
    text = text_of(made)
    found = Page(text)
    for tag, attributes in found.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href"):
            assert not re.match(r"(https?:)?//", attributes.get(name, "")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(http" not in text
    assert "@import" not in text


def test_the_policy_lets_through_what_is_on_the_page_and_nothing_else(made: Report) -> None:
    text = text_of(made)
    policy = next(each["content"] for each in Page(text).all("meta") if each.get("http-equiv"))
    scripts = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:" in policy


def test_the_page_can_be_read_by_those_who_do_not_see_it(made: Report) -> None:
    text = text_of(made)
    found = Page(text)
    assert found.all("html") == [{"lang": "en"}]
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(found.headings, found.headings[1:], strict=False))
    assert len(found.all("main")) == len(found.all("nav")) == len(found.all("header")) == 1
    assert found.all("a")[0] == {"class": "skip", "href": "#main"}
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(attributes["scope"] in ("col", "row", "rowgroup") for attributes in found.all("th"))
    identities = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(set(identities)) == len(identities)
    pictures = found.all("svg")
    assert len(pictures) >= 3
    for picture in pictures:
        assert picture["role"] == "img"
        assert set(picture["aria-labelledby"].split()) <= set(identities)
    assert len(found.all("figcaption")) == len(pictures)
    for _, attributes in found.elements:
        for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
            assert set(attributes.get(name, "").split()) <= set(identities)


def test_hostile_names_are_text(store: Store, capsules: Make, failed: Make) -> None:
    store.write(capsules(routing=f"own:{HOSTILE}", code={"routing": "0123abcd"}))
    store.write(capsules(routing="em", options={"network.stem": HOSTILE, f"routing.{HOSTILE}": 1}))
    store.write(failed(HOSTILE, dataset=f"own:{HOSTILE}"))
    made = report(store.folder, formats=["html"])
    found = Page(text_of(made))
    assert [each for each in found.all("script") if each] == []
    assert len(found.all("script")) == 1
    assert found.all("img") == []
    assert HOSTILE in "".join(found.texts)


def test_a_run_of_failed_cells_alone_has_a_page(store: Store, failed: Make) -> None:
    store.write(failed())
    text = " ".join(Page(text_of(report(store.folder, formats=["html"]))).texts)
    assert "No cell finished." in text
    assert "the loss became nan" in text


def test_marks_are_explained_below_the_table_that_has_them(store: Store, capsules: Make, matched: Make) -> None:
    for seed, accuracy in enumerate((0.90, 0.91, 0.90)):
        store.write(capsules(accuracy, seed=seed))
        store.write(matched(accuracy - 0.2 + 0.001 * seed, seed=seed))
    made = report(store.folder, formats=["html"])
    (difference,) = [row["vs matched"] for row in made.readable.to_dict("records") if row["vs matched"]]
    assert difference.endswith("*")
    text = text_of(made)
    assert (
        "*: significantly different, by a paired test over images and seeds (3 seeds or more), p &lt; 0.05 after Holm"
        in _plain(text)
    )
    assert '<abbr title="explained below the table">*</abbr>' in text


def test_no_line_breaks_within_the_name_of_a_contender(made: Report) -> None:
    (winners,) = [part.table for part in made.document.parts if part.name == "winners"]
    assert winners is not None
    text = text_of(made)
    assert any("matched CNN" in row[-1] for row in winners.rows)
    assert '<span class="name">matched CNN</span>' in text
    assert ".name { white-space: nowrap; }" in text


def test_the_name_of_an_option_breaks_between_its_words(store: Store, capsules: Make) -> None:
    """Else a table of such names is wider than a printed page."""
    for value in (True, False):
        store.write(capsules(0.9, options={"network.shared_transforms": value}))
    text = text_of(report(store.folder, formats=["html"], columns=["all"]))
    assert "network.<wbr>shared_<wbr>transforms</th>" in text


def test_without_a_difference_there_is_no_asterisk(store: Store, capsules: Make, matched: Make) -> None:
    for seed, accuracy in enumerate((0.90, 0.91, 0.90)):
        store.write(capsules(accuracy, seed=seed))
        store.write(matched(0.91 - 0.01 * seed, seed=seed))
    assert "<abbr" not in text_of(report(store.folder, formats=["html"]))


def test_the_same_records_give_the_same_page(store: Store, capsules: Make) -> None:
    store.write(capsules())
    first = text_of(report(store.folder, formats=["html"]))
    draw_once.cache_clear()
    assert text_of(report(store.folder, formats=["html"])) == first


def figure() -> Figure:
    made = Figure(figsize=(COLUMN, 2))
    axes = made.subplots()
    axes.plot([0, 1], [1, 2], marker="o", label="a", color=next(iter(NEUTRALS)))
    axes.legend()
    return made


def drawing() -> str:
    return render_svg(figure()).decode()


def test_two_pictures_on_a_page_share_no_names() -> None:
    names = [
        set(re.findall(r'\bid="([^"]+)"', inline_svg(drawing(), name, "a title", "a caption")))
        for name in ("one", "two")
    ]
    assert names[0]
    assert not names[0] & names[1]


def test_references_within_a_picture_are_to_its_own_names() -> None:
    made = inline_svg(drawing(), "one", "a title", "a caption")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', made))
    assert used
    assert used <= set(re.findall(r'\bid="([^"]+)"', made))


def test_neutral_colours_follow_the_page() -> None:
    made = inline_svg(drawing(), "one", "a title", "a caption")
    for colour, variable in NEUTRALS.items():
        assert colour not in made.lower()
        assert variable
    assert f"var(--{next(iter(NEUTRALS.values()))})" in made


def test_the_words_of_a_picture_are_text() -> None:
    made = inline_svg(drawing(), "one", HOSTILE, HOSTILE)
    assert "<script" not in made
    assert made.startswith("<svg")


def shown(store: Store, record: Record, content: str, listed: Any = None) -> None:
    folder = store.folder / "shown" / record.cell.id
    folder.mkdir(parents=True)
    (folder / "reconstructions.svg").write_text(content)
    default = [{"name": "reconstructions", "title": "Reconstructions", "caption": "Inputs above."}]
    (folder / "shown.json").write_text(json.dumps(default if listed is None else listed))


def test_what_was_shown_of_a_cell_is_on_the_page(store: Store, capsules: Make) -> None:
    store.write(capsules())
    shown(store, capsules(), drawing())
    found = Page(text_of(report(store.folder, formats=["html"])))
    assert "What the networks see" in found.texts
    assert "Reconstructions" in " ".join(found.texts)


@pytest.mark.parametrize(
    "content",
    [
        "not a picture",
        '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"></svg>',
        '<svg xmlns="http://www.w3.org/2000/svg"><a href="javascript:alert(1)"></a></svg>',
        '<svg xmlns="http://www.w3.org/2000/svg"><image href="https://example.org/a.png"/></svg>',
    ],
)
def test_a_shown_file_that_is_no_plain_picture_is_not_taken_in(store: Store, capsules: Make, content: str) -> None:
    store.write(capsules())
    shown(store, capsules(), content)
    made = report(store.folder, formats=["html"])
    text = text_of(made)
    assert "alert(1)" not in text
    assert "example.org" not in text
    (fault,) = made.faults
    assert fault.startswith(f"{store.folder / 'shown' / capsules().cell.id / 'reconstructions.svg'}: ")


@pytest.mark.parametrize("name", ["../../../secret", "/etc/secret", "", "a" * 101, "a\x00"])
def test_a_list_of_shown_pictures_names_none_elsewhere(store: Store, capsules: Make, name: str) -> None:
    store.write(capsules())
    (store.folder.parent / "secret.svg").write_text(drawing())
    shown(store, capsules(), drawing(), listed=[{"name": name, "title": "a", "caption": "b"}])
    made = report(store.folder, formats=["html"])
    assert [each.drawings for each in made.document.shown] == []
    (fault,) = made.faults
    assert "shown.json" in fault


def test_no_mark_that_turns_text_around_is_on_a_page(store: Store, capsules: Make, failed: Make) -> None:
    store.write(capsules())
    store.write(failed("\u202edetrevni \x1b[31m", seed=1))
    made = report(store.folder, formats=["html", "md"])
    for path in made.files[:2]:
        assert not {"\u202e", "\x1b"} & set(path.read_text())


def test_a_damaged_list_of_shown_pictures_is_a_line(store: Store, capsules: Make) -> None:
    store.write(capsules())
    shown(store, capsules(), drawing(), listed={"not": "a list"})
    made = report(store.folder, formats=["html"])
    (fault,) = made.faults
    assert fault.endswith(f"not a list of pictures; `capsbench show {capsules().cell.id}` makes it again")


def test_records_of_a_newer_schema_are_a_line_each(store: Store, capsules: Make) -> None:
    store.write(capsules())
    store.write(capsules(seed=1))
    store.record_path(capsules(seed=1).cell.id).write_bytes(seal_json({"schema": 3, "all": "new"}))
    found = " ".join(Page(text_of(report(store.folder, formats=["html"]))).texts)
    assert "a record of schema 3, this capsbench reads up to 2; update capsbench, or use another folder" in found


def test_uncommitted_changes_are_said_above_all(store: Store, capsules: Make) -> None:
    record = capsules()
    store.write(make_record(record.cell, record.rows, provenance={**record.provenance, "dirty": True}))
    text = text_of(report(store.folder, formats=["html"]))
    assert "run with uncommitted changes" in text[: text.index("<main")]


def test_a_long_table_stays_small(made: Report) -> None:
    """What a row costs: 40 contenders in 8 tables are not to weigh more than the pictures."""
    assert (
        len(render_page(replace(made.document, parts=[replace(each, pictures={}) for each in made.document.parts])))
        < 60_000
    )


def test_an_answer_is_the_first_thing_on_the_page_with_its_picture(store: Store, capsules: Make, matched: Make) -> None:
    for make in (matched, capsules):
        store.write(make())
    document = report(store.folder, for_="em", formats=["html"]).document
    answer, *others = document.parts
    image = render_image(Picture(figure(), "em against others", "How to read it."))
    text = render_page(replace(document, parts=[replace(answer, pictures={"answer": image}), *others]))
    parts = [
        "</h1>",
        'id="answer"',
        "97.0",
        "Against matched CNN",
        "<svg",
        'class="byline"',
        "<main",
        'id="answer-numbers"',
    ]
    places = [text.index(part, text.index("<body")) for part in parts]
    assert places == sorted(places)
    assert text.count('id="picture-answer-title"') == 1
    assert 'href="#answer"' in text
    assert 'href="#answer-numbers"' in text


def test_gaps_of_a_run_come_before_an_answer(store: Store, capsules: Make, failed: Make) -> None:
    store.write(capsules())
    store.write(failed(seed=1))
    text = text_of(report(store.folder, for_="em", formats=["html"]))
    assert text.index('class="caution"') < text.index('id="answer"') < text.index('class="byline"')
    assert text.count('class="caution"') == 1


def test_an_answer_without_a_rival_has_no_numbers(store: Store, capsules: Make) -> None:
    store.write(capsules())
    text = text_of(report(store.folder, for_="em", formats=["html"]))
    assert "has no rival" in text
    assert "answer-numbers" not in text


def test_signs_behind_a_number_stand_together_in_the_margin(store: Store, capsules: Make, matched: Make) -> None:
    for seed, accuracy in enumerate((0.90, 0.91, 0.90)):
        store.write(capsules(accuracy, seed=seed))
        cnn = matched(accuracy - 0.2 + 0.001 * seed, seed=seed)
        assert cnn.training is not None
        store.write(replace(cnn, training=replace(cnn.training, provenance={**cnn.provenance, "commit": "f00"})))
    text = text_of(report(store.folder, formats=["html"]))
    assert ">*\N{SECTION SIGN}</abbr>" in text
    assert "*: significantly different" in text
