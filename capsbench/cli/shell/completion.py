"""Completions that a shell asks for: in bash of whole words, and silent in any shell if they fail.

bash takes each ``:`` and ``=`` for a word of its own. Of ``--where routing=d`` it passes the words ``routing``, ``=`` and ``d``.
It replaces the last one alone by what it is given. So the words are joined before a completion, and what bash has already is left
out of the answer.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout

from capsbench.errors import EXIT_FAILED

INSTRUCTION = "_CAPSBENCH_COMPLETE"
"""The environment variable by which a shell asks for a completion, such as ``complete_bash``."""

BREAKS = (":", "=")
"""The words that bash makes of the characters of its ``COMP_WORDBREAKS`` that names and values have."""


@contextmanager
def answer_shell() -> Iterator[None]:
    """Lets the block answer a shell that asks for a completion; any other block is left alone.

    Raises:
        SystemExit: the completion failed. Nothing is printed then, since it would appear in the middle of the user's line.
    """
    asked = os.environ.get(INSTRUCTION, "")
    if not asked.startswith("complete_"):
        yield
        return
    try:
        with _complete_whole_words() if asked == "complete_bash" else nullcontext():
            yield
    except Exception:
        raise SystemExit(EXIT_FAILED) from None


@contextmanager
def _complete_whole_words() -> Iterator[None]:
    """Joins the words of the environment that bash has split, and prints the end of each completion that bash lacks."""
    words = os.environ["COMP_WORDS"].split("\n")[: int(os.environ["COMP_CWORD"]) + 1]
    joined = join_words(words)
    os.environ |= {"COMP_WORDS": "\n".join(joined), "COMP_CWORD": str(len(joined) - 1)}
    known = joined[-1].removesuffix("" if words[-1] in BREAKS else words[-1])
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            print(line.removeprefix(known))


def join_words(words: list[str]) -> list[str]:
    """Returns the words of a command line that bash has split at `BREAKS`; an option and its value stay two words."""
    joined: list[str] = []
    is_open = False  # the next word belongs to the last one
    for word in words:
        if word in BREAKS and joined:
            if word == "=" and joined[-1].startswith("--"):
                joined.append("")
            else:
                joined[-1] += word
            is_open = True
        elif is_open:
            joined[-1] += word
            is_open = False
        else:
            joined.append(word)
    return joined
