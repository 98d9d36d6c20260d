"""Text from records, files and errors, printed so that no terminal acts on it."""

from __future__ import annotations

import codecs
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from capsbench.errors import OutputFailed

SIGN = "\N{REPLACEMENT CHARACTER}"
"""The replacement of a character on which a terminal would act."""

ASCII = {
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "↑": "^",
    "∞": "inf",
    "°": " deg",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MINUS SIGN}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MIDDLE DOT}": ".",
    "\N{MICRO SIGN}": "u",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{DAGGER}": "+",
    "\N{DOUBLE DAGGER}": "++",
    "\N{PILCROW SIGN}": "P",
    "\N{DOUBLE VERTICAL LINE}": "||",
    "\N{SECTION SIGN}": "S",
}
"""Character that a terminal lacks -> its text; others are decomposed (² is 2, … is ...), else "?"."""

_ACTS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, escape among them; line breaks and tabs stay
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
    "\ud800-\udfff]"
)  # what nobody sees, such as the marks that turn the direction of text, and halves of characters, which no file can hold


def to_plain(text: str) -> str:
    """Returns the text with `SIGN` for each control character and invisible mark."""
    return _ACTS.sub(SIGN, text)


def to_one_line(text: object) -> str:
    """Returns the plain text in one line."""
    return to_plain(re.sub(r"\s*\n\s*", " ", str(text).strip()))


def to_ascii(text: str) -> str:
    """Returns the text in ASCII, as readable as that allows."""
    return "".join(letter if letter.isascii() else ASCII.get(letter) or _take_apart(letter) for letter in text)


def _take_apart(letter: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", letter) if part.isascii()) or "?"


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return to_ascii(error.object[error.start : error.end]), error.end


REPLACING = "capsbench"
"""The error handler that writes in ASCII the characters that an encoding lacks."""

codecs.register_error(REPLACING, _replace_unencodable)


class WholeStream:
    """A standard stream whose errors are not taken for those of other files; the rest of it is the stream's own.

    Of standard output they are OutputFailed, but for a reader that is gone. Of standard error they are passed over: there is
    nowhere to tell of them, and what the command does is not worse for it.
    """

    def __init__(self, stream: TextIO, is_stderr: bool) -> None:
        self._stream = stream
        self._is_stderr = is_stderr

    def write(self, text: str) -> int:
        with self._named_errors():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        with self._named_errors():
            self._stream.writelines(lines)

    def flush(self) -> None:
        with self._named_errors():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._is_stderr and isinstance(error, BrokenPipeError):
                raise
            discard_output(self._stream)
            if not self._is_stderr:
                raise OutputFailed(f"standard output cannot be written: {error.strerror}") from error


def discard_output(stream: TextIO) -> None:
    """Drops what a stream has still to write: Python would do so at exit, fail, and leave with a code of its own."""
    with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class PlainStream:
    """A stream of text that passes on what is `to_plain`; the rest of it is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        # By this name rich finds where to write its own colours, bars and links: a `PlainConsole`'s are plain.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(to_plain(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.rich_proxied_file.writelines(map(to_plain, lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


class PlainConsole(Console):
    """A console whose texts are `to_plain`; of their markup nothing is read, and its own colours it has.

    What its encoding lacks is replaced before anything is laid out, so that columns stay aligned.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(to_plain(text).encode(self.encoding, REPLACING).decode(self.encoding), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=to_plain(segment.text))


def make_console(stderr: bool = False) -> PlainConsole:
    """The console of standard output or standard error."""
    stream = sys.stderr if stderr else sys.stdout
    # Piped output is not folded at 80 columns: a program or a file has no width.
    width = None if stderr or stream.isatty() else 240
    return PlainConsole(stderr=stderr, width=width, markup=False, emoji=False)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Has all that is printed be `to_plain`, tracebacks included."""
    streams = sys.stdout, sys.stderr
    whole = (cast(TextIO, WholeStream(stream, stream is streams[1])) for stream in streams)
    sys.stdout, sys.stderr = (cast(TextIO, PlainStream(stream)) for stream in whole)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams
