"""What terminals of other encodings than UTF-8 show."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from capsbench.presenting.marks import MARKS
from capsbench.presenting.terminal import PlainConsole, to_ascii
from capsbench.presenting.words import TIMES


def printed(table: Table, encoding: str) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
    PlainConsole(file=stream, width=60, markup=False).print(table)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_what_reports_print_is_readable_in_ascii() -> None:
    assert to_ascii(f"em {TIMES}3: \N{MINUS SIGN}1.0 ± 2.5, L∞") == "em x3: -1.0 +- 2.5, Linf"
    signs = [to_ascii(mark.sign) for mark in MARKS]
    assert "?" not in "".join(signs)
    assert len(set(signs)) == len(MARKS)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_columns_are_aligned_in_every_encoding(encoding: str) -> None:
    table = Table("difference", "name")
    table.add_row("0.5 ± 1.0", f"em {TIMES}3 \N{DOUBLE DAGGER}")
    table.add_row("0.5", "em")
    lines = printed(table, encoding).splitlines()
    assert len({len(line) for line in lines}) == 1
