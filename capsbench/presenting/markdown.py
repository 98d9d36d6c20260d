"""Text and tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import pandas as pd


def to_markdown(table: pd.DataFrame, numbers: Collection[str] | None = None) -> str:
    """Returns a table of strings as Markdown, the columns of ``numbers`` to the right; by default those of a summary."""
    headings = list(map(str, table.columns))
    numbers = {"train", "iters", *headings[headings.index("n") :]} if numbers is None else numbers
    return format_pipes(headings, [heading in numbers for heading in headings], table.to_numpy().tolist())


def format_pipes(headings: Sequence[str], numbers: Sequence[bool], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table as Markdown; ``numbers`` is true for each column that is aligned to the right."""
    rule = ["---:" if number else "---" for number in numbers]
    lines = [map(escape_markdown, headings), rule, *(map(escape_markdown, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_markdown(text: str) -> str:
    """Returns a string that Markdown shows as it is, in one line."""
    # An underscore within a word is one; `&` begins something where a semicolon ends it.
    special = r"[\\|*<`\[$~]|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|^[#>]"
    return re.sub(special, r"\\\g<0>", re.sub(r"\s*[\r\n]\s*", " ", text))


def format_prose(text: str) -> str:
    """Returns sentences that Markdown shows as they are, with what is between backquotes as code."""
    return "".join(
        part if place % 2 else escape_markdown(part) for place, part in enumerate(re.split(r"(`[^`\r\n]+`)", text))
    )


def format_code(text: str) -> str:
    """Returns a string as code in a line of Markdown, backquotes in it included."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, gap = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{gap}{text}{gap}{fence}"
