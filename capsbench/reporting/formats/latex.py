r"""Tables of a report for a paper: each an ``\input``-able float with the rules of booktabs, its caption and its label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from capsbench.presenting.format import parse_quantity, split_interval
from capsbench.reporting.answering.sentences import tie_numbers
from capsbench.reporting.document import WINNERS, Document
from capsbench.reporting.formats.latex_widths import measure_text
from capsbench.reporting.headline import HEADLINE
from capsbench.reporting.narrowing import merge_shared, narrow_table, share_room
from capsbench.reporting.table import Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # the only one that every encoding of fonts has
    "`": r"\textasciigrave{}",
    "*": r"$^{*}$",
    "†": r"$^{\dagger}$",
    "\N{DOUBLE DAGGER}": r"$^{\ddagger}$",
    "\N{UPWARDS ARROW}": r"$^{\uparrow}$",
    "\N{PILCROW SIGN}": r"$^{\P}$",
    "\N{DOUBLE VERTICAL LINE}": r"$^{\|}$",
    "\N{SECTION SIGN}": r"$^{\S}$",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "∞": r"$\infty$",
    "²": r"$^{2}$",
    "°": r"$^{\circ}$",
    "→": r"$\rightarrow$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "\N{MINUS SIGN}": r"$-$",
    "\N{MICRO SIGN}": r"$\mu$",
    "\N{GREEK SMALL LETTER MU}": r"$\mu$",
    "…": r"\dots{}",
    "\N{NO-BREAK SPACE}": "~",
}
"""Character -> its LaTeX."""

LAST_LATIN = "\N{LATIN SMALL LETTER Z WITH CARON}"
"""The last letter of the Latin scripts of Europe, which pdflatex sets without more packages."""

PUNCTUATION = "\N{EN DASH}\N{EM DASH}\u2018\u2019\u201c\u201d"
"""Further characters that pdflatex sets."""

HEIGHT = 520.0
"""The height in points of a table that fits on the lowest page, that of ``article``, with room for rules and gaps."""

LINE, CAPTION_LINE = 9.5, 12.0
"""Points from one line of a table or of its caption to the next."""

CAPTION_SIZE = 1.25
"""The size of a caption's letters, relative to a table's."""

COLUMN, PAGE = 219.0, 345.0
"""The narrowest column of a paper and the narrowest page, in points: the columns of ACL's style, and the page of ``article``."""

SHRUNK = 560.0
"""The width in points at which a table is set that is shrunk to the page."""

GAP = 8.0
"""Points between two columns."""

WRAPPED = 66.0
"""The least width in points of a column whose texts are broken into lines."""


class Layout(NamedTuple):
    """How a table is set.

    - ``widths``: points of each column, inf for one as wide as its cells
    - ``stacked``: whether headings are broken into lines over columns of numbers
    """

    widths: list[float]
    stacked: bool


def render_tables(document: Document) -> dict[str, str]:
    """Returns the tables of a report: file name without ending -> LaTeX."""
    lacking = "; ".join(words for _, words in document.incomplete)
    remarks = {WINNERS: [f"% to quote: {escape_latex(tie_numbers(quote))}" for quote in document.quotes]}
    return {
        part.table.name: render_table(part.table, lacking, remarks.get(part.table.name, []))
        for part in document.parts
        if part.table
    }


def render_table(table: Table, lacking: str = "", remarks: Sequence[str] = ()) -> str:
    r"""Returns a table as LaTeX for ``\input``; its label is ``tab:NAME``.

    The headline table has the columns that a column of a paper has room for, unless they were chosen. A table that is too wide
    for a column spans both (``table*``), and one that is too wide for a page is shrunk to it.

    Args:
        lacking: the gaps of the run, for the caption.
        remarks: comments for the author, which follow the packages that the table needs.
    """
    left_out: list[str] = []
    if table.name == HEADLINE:
        table, left_out = narrow_table(table, lambda table: choose_layout(table, COLUMN) is not None)
    narrow, room = choose_layout(table, COLUMN), COLUMN
    layout = narrow
    if layout is None:
        table = table if choose_layout(table, PAGE) or table.is_chosen else merge_shared(table)
        layout, room = choose_layout(table, PAGE), PAGE
    shrunk = layout is None
    layout = layout or _lay_out_wide(table)
    wraps = any(width < float("inf") for width in layout.widths)
    packages = ["booktabs", *(["array"] if wraps else []), *(["tabularx"] if wraps and not shrunk else [])]
    packages += ["graphicx"] if shrunk else []
    environment = "table*" if narrow is None else "table"
    begin, end = _spell_tabular(table, layout, room, shrunk)
    caption = _spell_caption(table, lacking)
    parts = _split_rows(table, layout, room, caption)
    lines = ["% " + " ".join(rf"\usepackage{{{package}}}" for package in packages), *remarks]
    lines += _list_remarks(table, caption, left_out, len(parts))
    for number, rows in enumerate(parts):
        lines += [
            rf"\begin{{{environment}}}",
            r"\centering",
            r"\emergencystretch=3em",
            r"\setlength{\belowcaptionskip}{4pt}",  # classes that expect captions below leave no room
            *(_spell_title(table, caption) if number == 0 else _spell_continuation(table)),
            r"\footnotesize",
            r"\setlength{\tabcolsep}{4pt}",
            *([r"\binoppenalty=10000"] if wraps else []),  # no line ends before an interval's half-width
            begin,
            r"\toprule",
            _format_line(_spell_headings(table, layout)),
            r"\midrule",
            *(
                _format_line(
                    [
                        _format_cell(_loosen(text) if width < float("inf") else text, number)
                        for text, number, width in zip(row, table.numbers, layout.widths, strict=True)
                    ]
                )
                for row in rows
            ),
            r"\bottomrule",
            end,
            rf"\end{{{environment}}}",
            "",
        ]
    return "\n".join(lines)


def _spell_title(table: Table, caption: str) -> list[str]:
    title = rf"\caption[{_protect(escape_latex(table.title))}]{{{escape_latex(caption)}}}"
    return [title, rf"\label{{tab:{table.name}}}"]


def _spell_continuation(table: Table) -> list[str]:
    """Returns the caption of a further part of a table, which has the number of the first."""
    title = escape_latex(f"{table.title} (continued)")
    return [r"\addtocounter{table}{-1}", rf"\caption[{_protect(title)}]{{{title}.}}"]


def _protect(text: str) -> str:
    """Returns a text whose brackets are no end or start of an optional argument."""
    return f"{{{text}}}" if "[" in text or "]" in text else text


def _split_rows(table: Table, layout: Layout, room: float, caption: str) -> list[list[Sequence[str]]]:
    """Returns the rows of each page that a table takes.

    Floats do not break, and the tables that do (longtable) refuse two columns. A blank first cell means that of the row above, so
    it is filled on a new page.
    """
    parts: list[list[Sequence[str]]] = [[]]
    height = CAPTION_LINE * _count_lines(caption, room / CAPTION_SIZE) + LINE
    first = ""
    for row in table.rows:
        lines = max(_count_lines(text, width) for text, width in zip(row, layout.widths, strict=True))
        first = row[0] or first
        height += LINE * lines
        if height > HEIGHT and parts[-1]:
            parts.append([])
            height = CAPTION_LINE + LINE * (1 + lines)
        parts[-1].append(row if parts[-1] else [first, *row[1:]])
    return parts


def _count_lines(text: str, width: float) -> int:
    """Returns an estimate of the lines of a text in a column of some points."""
    return 1 if width == float("inf") else len(_break_lines(_loosen(text), width))


def choose_layout(table: Table, room: float) -> Layout | None:
    """Returns how a table fits in a width: on one line a row, else with stacked headings, else with broken texts."""
    bodies, headings, words, least = _measure_columns(table)
    gaps = GAP * (len(bodies) - 1)
    natural = [float("inf")] * len(bodies)
    if sum(map(max, bodies, headings)) + gaps <= room:
        return Layout(natural, False)
    if sum(map(max, bodies, words)) + gaps <= room:
        return Layout(natural, True)
    if sum(map(max, least, words)) + gaps > room:
        return None
    return Layout(_share_points(bodies, words, least, room - gaps), True)


def _lay_out_wide(table: Table) -> Layout:
    """Returns how a table is set before it is shrunk: each column at least as wide as its longest word."""
    bodies, _, words, least = _measure_columns(table)
    return Layout(_share_points(bodies, words, least, SHRUNK - GAP * (len(bodies) - 1)), True)


def _share_points(bodies: Sequence[float], words: Sequence[float], least: Sequence[float], room: float) -> list[float]:
    """Returns the width of each column that is broken into lines, inf for the others."""
    needed = [round(max(pair)) for pair in zip(least, words, strict=True)]
    wanted = [round(max(pair)) for pair in zip(bodies, words, strict=True)]
    shared = share_room(needed, wanted, int(room) - sum(needed))
    return [float(width) if width < natural else float("inf") for width, natural in zip(shared, wanted, strict=True)]


def _measure_columns(table: Table) -> tuple[list[float], list[float], list[float], list[float]]:
    """Returns points of each column: its widest cell, its heading, the heading's longest word, and the least for its cells."""
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.headings)
    bodies = [max(map(measure_text, column), default=0.0) for column in columns]
    headings = [measure_text(heading) for heading in table.headings]
    words = [_measure_words(heading) for heading in table.headings]
    longest = [max(map(_measure_words, column), default=0.0) for column in columns]
    least = [min(body, max(WRAPPED, word)) for body, word in zip(bodies, longest, strict=True)]
    return bodies, headings, words, least


@lru_cache(maxsize=100_000)
def _measure_words(text: str) -> float:
    """Returns the points of the longest part of a text that stays on one line; an interval stays with its number."""
    value, spread, rest = split_interval(text)
    parts = re.split(r"[ \n]", _loosen(rest if spread else text))
    return max([measure_text(value + spread) if spread else 0.0, *map(measure_text, parts)])


def _loosen(text: str) -> str:
    """Returns a text whose lines break also where a terminal's may not, but for a number and its half-width."""
    return re.sub(r"(?<![±])\N{NO-BREAK SPACE}(?![±\N{MULTIPLICATION SIGN}])", " ", text)


def _spell_tabular(table: Table, layout: Layout, room: float, shrunk: bool) -> tuple[str, str]:
    """Returns the lines that begin and end the table proper."""
    broken = [width for width in layout.widths if width < float("inf")]
    kinds = []
    for width, number in zip(layout.widths, table.numbers, strict=True):
        ragged = rf"\ragged{'left' if number else 'right'}\arraybackslash"
        if width == float("inf"):
            kinds.append("r" if number else "l")
        elif shrunk:
            kinds.append(rf">{{{ragged}}}p{{{width:.0f}pt}}")
        else:
            kinds.append(rf">{{\hsize={width * len(broken) / sum(broken):.3f}\hsize{ragged}}}X")
    columns = f"@{{}}{''.join(kinds)}@{{}}"
    if shrunk:
        scale = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
        return f"{scale}\n\\begin{{tabular}}{{{columns}}}", "\\end{tabular}}"
    if broken:
        return rf"\begin{{tabularx}}{{\linewidth}}{{{columns}}}", r"\end{tabularx}"
    return rf"\begin{{tabular}}{{{columns}}}", r"\end{tabular}"


def _spell_headings(table: Table, layout: Layout) -> list[str]:
    """Returns the headings, those over numbers stacked where they are wider than the column."""
    bodies, headings, words, _ = _measure_columns(table)
    cells = []
    for place, heading in enumerate(table.headings):
        room = max(bodies[place], words[place])
        if layout.widths[place] < float("inf") or not layout.stacked or headings[place] <= room:
            cells.append(escape_latex(heading))
            continue
        side = "r" if table.numbers[place] else "l"
        lines = r"\\".join(_protect_start(escape_latex(line)) for line in _break_lines(heading, room))
        cells.append(rf"\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{lines}\end{{tabular}}")
    return cells


def _break_lines(text: str, room: float) -> list[str]:
    """Returns the lines of a text in a width."""
    lines: list[str] = []
    for word in text.split():
        if lines and measure_text(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _spell_caption(table: Table, lacking: str) -> str:
    cells = [cell for row in table.rows for cell in row]
    marks = [mark for mark in table.marks if any(mark.partition(":")[0] in cell for cell in cells)]
    unfinished = [f"Incomplete: {lacking}."] if lacking else []
    sentences = [f"{table.title}.", *unfinished, table.whole_caption, *(f"{mark}." for mark in marks)]
    return tie_numbers(" ".join(sentences).strip())


def _list_remarks(table: Table, caption: str, left_out: Sequence[str], pages: int) -> list[str]:
    """Returns comments for the author: columns left out, rows that one page does not hold, and letters of other scripts."""
    remarks = []
    if left_out:
        remarks.append(f"% left out for a column's width: {', '.join(left_out)}; `capsbench report --columns` chooses")
    if pages > 1:
        remarks.append(f"% {pages} parts, a page each: `capsbench report --where` chooses among the rows")
    if letters := _find_other_letters(table, caption):
        remarks.append(f"% pdflatex has no {' '.join(letters)}: lualatex or xelatex sets them in a font that does")
    return [re.sub(r"\s+", " ", remark) for remark in remarks]


def _find_other_letters(table: Table, caption: str) -> list[str]:
    """Returns the characters, each once, that need another program than pdflatex and its fonts."""
    texts = (caption, *table.headings, *(cell for row in table.rows for cell in row))
    letters = dict.fromkeys(letter for text in texts for letter in text)
    known = {*SPECIAL, *PUNCTUATION}
    return [letter for letter in letters if letter > LAST_LATIN and letter.isprintable() and letter not in known]


def escape_latex(text: str) -> str:
    """Returns text that LaTeX prints as it is, without the characters that its fonts lack."""
    text = re.sub(r"`([^`]+)`", r"\1", text)  # code, in captions
    text = re.sub(r"[\t\n\r\f\v]+", " ", text)
    return "".join(SPECIAL.get(letter, letter) for letter in text if letter.isprintable() or letter in SPECIAL)


def _format_cell(text: str, number: bool) -> str:
    """Returns a number in mathematics, ``$-0.6 \\pm 1.3^{*}$``; anything else as text."""
    if not number or parse_quantity(text) is None:
        return escape_latex(text)
    value, spread, behind = split_interval(text)
    if not spread:
        match = re.fullmatch(r"([+-]?)([^*†]*?)( ?[*†])*", text)
        sign, plain, mark = (match[1], match[2], match[3] or "") if match else ("", text, "")
        return (f"${sign}$" if sign else "") + escape_latex(plain) + escape_latex(mark.strip())
    if spread.startswith(" ["):
        return rf"${value} \;{spread.strip()}${escape_latex(behind)}"
    return rf"${value.replace(',', '{,}')} \pm {spread.removeprefix(' ± ').replace(',', '{,}')}${escape_latex(behind)}"


def _format_line(cells: list[str]) -> str:
    return _protect_start(" & ".join(cells)) + r" \\"


def _protect_start(line: str) -> str:
    """Returns a line of a table whose bracket is no argument of the end of the line or the rule before it."""
    return rf"{{}}{line}" if line.startswith("[") else line
