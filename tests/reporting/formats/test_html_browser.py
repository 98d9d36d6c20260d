"""The page in a real browser: what its script does, what it asks for, and how it looks where."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.build import report

sys.path.insert(0, str(Path(__file__).parent))
from browser import EXECUTABLE, Browser

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXECUTABLE is None, reason="no chromium here")]
Make = Callable[..., Record]

SIZES = (28_000, 1_250_000, 950)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, capsules: Make, matched: Make, failed: Make) -> Path:
    """A page of 13 contenders; of one the accuracy is not known."""
    store = Store(tmp_path_factory.mktemp("browser"))
    for number in range(12):
        for seed in (0, 1, 2):
            accuracy = None if number == 5 else 0.9 + 0.003 * ((7 * number) % 12) + 0.001 * seed
            rate, size = 0.001 * (number + 1), SIZES[number % 3] + number
            varied = dict(iterations=1 + number % 3, learning_rate=rate, step=3.7**number, seed=seed)
            request = {"routing": "em", "iters": 1 + number % 3, "lr": rate}
            store.write(replace(capsules(accuracy, size, **varied), request=request))
    store.write(matched(0.95))
    store.write(failed("out of memory", iterations=7))
    return report(store.folder, formats=["html"]).files[0]


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(opened: Browser, page: Path) -> Browser:
    opened.view(1280)
    opened.open(page)
    return opened


def column(browser: Browser, place: int) -> list[str]:
    """The strings of a column of the headline table, of the rows that are shown, from above."""
    rows = "[...document.querySelectorAll('#table-table tbody tr')].filter(row => !row.hidden)"
    return [str(text) for text in browser.run(f"{rows}.map(row => row.cells[{place}].innerText)")]


def place_of(browser: Browser, heading: str) -> int:
    script = (
        "[...document.querySelectorAll('#table-table thead th')].map(h => h.innerText.replace(/\\s+/g, ' ').trim())"
    )
    return list(browser.run(script)).index(heading)


def sort_by(browser: Browser, place: int) -> str:
    """Presses a heading; in which order the column says to be then."""
    heading = f"document.querySelectorAll('#table-table thead th')[{place}]"
    browser.run(f"{heading}.querySelector('button').click()")
    return str(browser.run(f"{heading}.getAttribute('aria-sort')"))


def test_nothing_is_said_to_be_wrong_and_nothing_is_asked_for(browser: Browser, page: Path) -> None:
    browser.run("document.querySelector('details').open = true")
    browser.run("document.querySelectorAll('button').forEach(button => button.click())")
    assert browser.logged == []
    assert [url for url in browser.requested if not url.startswith("data:")] == [page.as_uri()]


@pytest.mark.parametrize(
    ("heading", "factor"), [("accuracy %", {}), ("parameters", {"K": 1e3, "M": 1e6}), ("step (ms)", {}), ("iters", {})]
)
def test_numbers_are_sorted_by_their_value_and_what_is_unknown_comes_last(
    browser: Browser, heading: str, factor: dict[str, float]
) -> None:
    def number(text: str) -> float:
        text = text.split()[0].replace(",", "")
        return float(text.rstrip("KM")) * factor.get(text[-1], 1.0)

    place = place_of(browser, heading)
    before = column(browser, place)
    known, unknown = [text for text in before if text], [text for text in before if not text]
    assert sort_by(browser, place) == "descending"
    falling = column(browser, place)
    assert [number(text) for text in falling[: len(known)]] == sorted(map(number, known), reverse=True)
    assert falling[len(known) :] == unknown
    assert sort_by(browser, place) == "ascending"
    assert [number(text) for text in column(browser, place)[: len(known)]] == sorted(map(number, known))
    assert column(browser, place)[len(known) :] == unknown
    assert sort_by(browser, place) == "none"
    assert column(browser, place) == before
    assert len(set(before)) > 2


def test_names_are_sorted_as_words_and_one_column_at_a_time(browser: Browser) -> None:
    sort_by(browser, place_of(browser, "accuracy %"))
    assert sort_by(browser, 0) == "ascending"
    rates = {1: (1, 4, 7, 10), 2: (2, 5, 8, 11), 3: (3, 6, 9, 12)}
    names = [f"em {TIMES}{n}, learning rate {rate / 1000:g}" for n in rates for rate in rates[n]]
    assert column(browser, 0) == [*names, "matched CNN, learning rate 0.003"]
    marked = browser.run("[...document.querySelectorAll('#table-table [aria-sort]:not([aria-sort=none])')].length")
    assert marked == 1


def test_a_heading_is_reached_and_pressed_with_the_keyboard(browser: Browser) -> None:
    browser.run("document.querySelector('#table-filter').focus()")
    for _ in range(3):  # the box that scrolls, then its first and its second heading
        browser.press("Tab", 9)
    assert browser.run("document.activeElement.closest('th').cellIndex") == 1
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.press("Enter", 13)
    assert browser.run("document.activeElement.closest('th').getAttribute('aria-sort')") != "none"


def test_the_filter_leaves_the_rows_with_all_of_its_words(browser: Browser) -> None:
    total = len(column(browser, 0))

    def write(words: str) -> tuple[list[str], str]:
        browser.run(
            "{const f = document.querySelector('#table-filter'); f.value = "
            + repr(words)
            + "; f.dispatchEvent(new Event('input'))}"
        )
        return column(browser, 0), str(browser.run("document.querySelector('.filter [role=status]').innerText"))

    assert total == 13
    left, said = write("EM 0.01")
    assert len(left) == said.startswith(f"{len(left)} of 13 rows") * len(left) > 0
    assert all("em" in name and "0.01" in name for name in left)
    assert write("no such network") == ([], "0 of 13 rows")
    assert len(write("  ")[0]) == total


def test_a_link_to_a_command_opens_it(browser: Browser, page: Path) -> None:
    target = browser.run("document.querySelector('#table-table a').hash")
    assert not browser.run("document.querySelector('details').open")
    browser.run("document.querySelector('#table-table a').click()")
    assert browser.run(
        f"new Promise(done => setTimeout(() => done(document.querySelector('{target}').closest('details').open), 100))"
    )
    browser.open(page, target)
    assert browser.run(f"document.querySelector('{target}').getBoundingClientRect().height") > 20


def test_a_command_is_copied_or_else_selected(browser: Browser) -> None:
    browser.run("document.querySelector('details').open = true")
    command = browser.run("document.querySelector('.command').textContent")
    browser.run("navigator.clipboard.writeText = () => Promise.reject()")
    browser.run("document.querySelector('.command + button').click()")
    assert browser.run("new Promise(done => setTimeout(() => done(getSelection().toString()), 100))") == command
    copied = (
        "new Promise(done => { navigator.clipboard.writeText = async text => done(text);"
        " document.querySelector('.command + button').click() })"
    )
    assert browser.run(copied) == command
    assert command.startswith("capsbench run ")


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_nothing_is_wider_than_the_window(opened: Browser, page: Path, width: int) -> None:
    opened.view(width)
    opened.open(page)
    opened.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert opened.run("document.documentElement.scrollWidth") == width
    # What is wider is in a box of its own that scrolls.
    beyond = (
        "[...document.querySelectorAll('body *')].filter(e => e.getClientRects().length && !e.closest('.scroll, .aside, .skip')"
        f" && e.getBoundingClientRect().right > {width + 0.5}).map(e => e.outerHTML.slice(0, 80))"
    )
    assert opened.run(beyond) == []


def test_names_stay_in_sight_as_a_table_scrolls(opened: Browser, page: Path) -> None:
    opened.view(320)
    opened.open(page)
    left = "document.querySelector('#table-table tbody th').getBoundingClientRect().left"
    before = opened.run(left)
    opened.run("document.querySelector('#table-table').parentElement.scrollLeft = 200")
    assert opened.run("document.querySelector('#table-table').parentElement.scrollLeft") == 200
    assert opened.run(left) == before


CONTRASTS = """
[...document.querySelectorAll('h1, h2, p, dt, dd, th, td, a, summary, figcaption, button, label, .spread, abbr, code')]
  .filter(element => element.getClientRects().length && element.innerText.trim() && !element.closest('.aside, svg'))
  .map(element => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d');
    const light = colour => {
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)
        .map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = e => !e ? 'white' : getComputedStyle(e).backgroundColor === 'rgba(0, 0, 0, 0)'
      ? behind(e.parentElement) : getComputedStyle(e).backgroundColor;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => x - y);
    return [element.tagName, (b + 0.05) / (a + 0.05)];
  })
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(opened: Browser, page: Path, dark: bool) -> None:
    """The contrast that WCAG asks for (success criterion 1.4.3), 4.5 to 1, of all text."""
    opened.view(1280, dark=dark)
    opened.open(page)
    opened.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    contrasts = opened.run(CONTRASTS)
    assert len(contrasts) > 100
    assert [each for each in contrasts if each[1] < 4.5] == []


def test_the_page_is_dark_where_the_system_is_and_can_be_turned(opened: Browser, page: Path) -> None:
    def brightness() -> int:
        return int(opened.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]"))

    def ink() -> Any:
        return opened.run("getComputedStyle(document.querySelector('svg text')).fill")

    opened.view(1280, dark=False)
    opened.open(page)
    light = brightness(), ink()
    opened.view(1280, dark=True)
    dark = brightness(), ink()
    assert light[0] > 240
    assert dark[0] < 40
    assert light[1] != dark[1]
    opened.run("document.querySelector('nav button').click()")
    assert (brightness(), ink()) == light
    assert opened.run("document.querySelector('nav button').innerText") == "Dark page"


def test_without_a_script_all_is_there_to_read(opened: Browser, page: Path) -> None:
    opened.view(1280)
    opened.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened.open(page)
        assert len(column(opened, 0)) == 13
        assert opened.run("document.querySelectorAll('button').length") == 0
        assert opened.run("document.querySelector('.filter').getClientRects().length") == 0
    finally:
        opened.send("Emulation.setScriptExecutionDisabled", value=False)


def test_it_is_printed_without_controls_and_with_all_commands(opened: Browser, page: Path) -> None:
    opened.view(700, media="print")
    opened.open(page)
    seen = "[...document.querySelectorAll('nav, .filter, .skip, button.plain')].filter(e => e.getClientRects().length).length"
    assert opened.run(seen) == 0
    assert opened.run("[...document.querySelectorAll('.command')].every(e => e.getBoundingClientRect().height > 10)")
    assert opened.run("document.documentElement.scrollWidth") == 700
    assert opened.run("[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth + 1)")
    assert opened.pdf().startswith(b"%PDF")


def test_nothing_moves_where_that_is_not_wanted(opened: Browser, page: Path) -> None:
    opened.open(page)
    opened.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    assert opened.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


@pytest.mark.parametrize(("width", "beside"), [(1280, True), (1000, False), (390, False)])
def test_an_answer_is_on_the_first_screen_with_its_picture_beside_or_below_it(
    tmp_path: Path, opened: Browser, capsules: Make, matched: Make, width: int, beside: bool
) -> None:
    store = Store(tmp_path)
    for seed, accuracy in enumerate((0.9, 0.91, 0.9)):
        store.write(capsules(accuracy, seed=seed))
        store.write(matched(accuracy - 0.2 + seed / 1000, seed=seed))
    opened.view(width)
    opened.open(
        next(path for path in report(store.folder, for_="em", formats=["html"]).files if path.suffix == ".html")
    )
    box = "(({left, right, top, bottom}) => [left, right, top, bottom])(document.querySelector('%s').getBoundingClientRect())"
    lead, words, picture = (opened.run(box % name) for name in (".lead", ".statements", ".answer .picture"))
    assert lead[3] < 700
    assert (picture[0] > words[1], picture[2] >= words[3]) == (beside, not beside)
    assert picture[2] < 900
    assert words[1] - words[0] > 300
    assert opened.run("document.documentElement.scrollWidth") <= width
