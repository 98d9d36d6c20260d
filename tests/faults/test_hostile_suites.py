"""Suites that are broken, odd or hostile: a line and exit code 2, and nothing is called before it is known to be a part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import capsbench
from tests.faults.calling import LENGTHS, call, searched
from tests.faults.hostile import NAMED, TEXTS, Probe, acts
from tests.faults.test_command_lines import KEYS, TOML

EXAMPLES = 30

GENUINE = [path.read_bytes() for path in sorted(Path(capsbench.__file__).parent.rglob("suites/**/*.toml"))]

KINDS = ["routing", "network", "dataset", "loss", "measure", "baseline"]

COMMANDS = [
    ["run", "--suite", "suite.toml", "--dry-run"],
    ["run", "--suite", "./suite.toml", "--dry-run", "--seeds", "0"],
    ["report", "--suite", "suite.toml", "--format", "csv"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which commands are called; no network is built to be timed."""
    folder = tmp_path_factory.mktemp("suites")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for room in ("running.executors.local", "running.estimate"):
            patch.setattr(f"capsbench.{room}.in_processes", lambda jobs, *arguments, **named: iter(()))
        yield folder


@pytest.fixture(scope="module")
def probe(folder: Path) -> Iterator[Probe]:
    with pytest.MonkeyPatch.context() as patch:
        yield Probe(folder, patch)


def quoted(text: str) -> str:
    """A text as TOML has it."""
    escaped = "".join(
        f"\\U{ord(letter):08x}" if letter in '"\\' or ord(letter) < 32 or ord(letter) == 127 else letter
        for letter in text
    )
    return f'"{escaped}"'


VALUES = st.one_of(
    st.sampled_from(TOML),
    st.sampled_from([quoted(text) for text in TEXTS]),
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3).map(lambda texts: f"[{', '.join(map(quoted, texts))}]"),
)
LINE = st.tuples(st.sampled_from([*KEYS, "nosuch", "seeds", "epochs", "iters", *KINDS]), VALUES)


@st.composite
def odd_suites(draw: st.DrawFn) -> bytes:
    """TOML with a few odd lines, and at times an odd table."""
    lines = {"routing": '"em"', **dict(draw(st.lists(LINE, min_size=1, max_size=3)))}
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    for table in draw(
        st.lists(st.sampled_from(["[[matrix]]", "[[published]]", "[published]", "[a.b]", "[[a]]"]), max_size=2)
    ):
        own = {f'"{key}"' if "." in key else key: value for key, value in draw(st.lists(LINE, max_size=3))}
        own |= draw(st.sampled_from([{}, {"where": '{ dataset = "digits" }', "metric": '"error"', "value": "1.5"}]))
        text += f"{table}\n" + "".join(f"{key} = {value}\n" for key, value in own.items())
    return text.encode(errors="replace")


@st.composite
def broken_suites(draw: st.DrawFn) -> bytes:
    """A suite that ships with capsbench, of which some bytes are others, come or go."""
    content = bytearray(draw(st.sampled_from(GENUINE)))
    for _ in range(draw(st.integers(1, 3))):
        at = int(draw(st.floats(0, 1, exclude_max=True)) * len(content))
        length = draw(st.integers(0, 30))
        content[at : at + length] = draw(st.binary(max_size=4) | st.sampled_from(TEXTS).map(lambda text: text.encode()))
    return bytes(content)


@LENGTHS
def test_whatever_is_in_a_suite_is_planned_or_refused_in_a_line(folder: Path, probe: Probe, length: float) -> None:
    @searched(length * EXAMPLES)
    @given(content=odd_suites() | broken_suites(), words=st.sampled_from(COMMANDS))
    def search(content: bytes, words: list[str]) -> None:
        (folder / "suite.toml").write_bytes(content)
        called = call(*words)
        assert "Traceback" not in called.err
        assert called.code in (0, 2, 4)
        assert acts(called.out + called.err) == []
        assert "called" not in probe.left()

    search()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("named", NAMED[:6], ids=lambda named: named.partition(":")[2])
@pytest.mark.parametrize("options", ["", ":touch x"])
def test_what_is_no_part_is_never_called(folder: Path, probe: Probe, kind: str, named: str, options: str) -> None:
    lines = {"routing": '"em"', kind: f'["{named}{options}"]'}
    (folder / "suite.toml").write_text("".join(f"{key} = {value}\n" for key, value in lines.items()))
    beside = [] if kind == "routing" else ["--routing", "em"]
    for words in (["--suite", "suite.toml"], [*beside, f"--{kind}", f"{named}{options}"]):
        called = call("run", "--dry-run", *words)
        assert (called.code, len(called.err.splitlines())) == (2, 1)
        assert "called" not in probe.left()
