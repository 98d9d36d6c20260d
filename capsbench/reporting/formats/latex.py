r"""Tables of a report for a paper: each an ``\input``-able float with the rules of booktabs, its caption and its label."""

from __future__ import annotations

import re

from capsbench.presenting.format import parse_quantity, split_interval
from capsbench.reporting.document import Document
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
    '"': r"\textquotedbl{}",
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

PROSE = 36
"""Letters beyond which a column is broken into lines."""

LINES = 45
"""Rows beyond which a table does not fit on a page."""


def render_tables(document: Document) -> dict[str, str]:
    """Returns the tables of a report: file name without ending -> LaTeX."""
    lacking = "; ".join(words for _, words in document.incomplete)
    return {part.table.name: render_table(part.table, lacking) for part in document.parts if part.table}


def render_table(table: Table, lacking: str = "") -> str:
    r"""Returns a table as LaTeX for ``\input``; its label is ``tab:NAME``.

    Args:
        lacking: the gaps of the run, for the caption.
    """
    prose = [max((len(row[place]) for row in table.rows), default=0) > PROSE for place in range(len(table.headings))]
    width = 0.7 / max(1, sum(prose))
    columns = [
        "r" if number else rf">{{\raggedright\arraybackslash}}p{{{width:.2f}\linewidth}}" if long else "l"
        for number, long in zip(table.numbers, prose, strict=True)
    ]
    needs = r"% \usepackage{booktabs}" + (r" \usepackage{array}" if any(prose) else "")
    long = [f"% {len(table.rows)} rows are more than a page holds: `capsbench report --where` chooses among them"]
    unfinished = [f"Incomplete: {lacking}."] if lacking else []
    caption = " ".join([f"{table.title}.", *unfinished, table.caption, *(f"{mark}." for mark in table.marks)])
    return "\n".join(
        [
            needs,
            *(long if len(table.rows) > LINES else []),
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{escape_latex(caption)}}}",
            rf"\label{{tab:{table.name}}}",
            r"\footnotesize",
            r"\setlength{\tabcolsep}{4pt}",
            rf"\begin{{tabular}}{{@{{}}{''.join(columns)}@{{}}}}",
            r"\toprule",
            _format_line([escape_latex(heading) for heading in table.headings]),
            r"\midrule",
            *(
                _format_line([_format_cell(text, number) for text, number in zip(row, table.numbers, strict=True)])
                for row in table.rows
            ),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def escape_latex(text: str) -> str:
    """Returns text that LaTeX prints as it is, without the characters that its fonts lack."""
    text = re.sub(r"`([^`]+)`", r"\1", text)  # code, in captions
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
    return " & ".join(cells) + r" \\"
