"""Command lines that nobody means: one line and exit code 2, or cells that fail; never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsbench.planning.request import spell_flag
from capsbench.records.cell import asked_fields
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.faults.calling import LENGTHS, call, searched
from tests.making import make_capsules, make_record

EXAMPLES = 50

NUMBERS = [
    *("inf", "-inf", "nan", "1e400", "-1", "0", "-0.0", "1e-400", "1_000", "0x10", "1e5", "\u0661"),
    *(str(2**31), str(2**63), str(2**64), str(10**30), "9" * 5000),
]
WORDS = [
    *("", " ", ",", ",,", "a,,b", "none", "all", "yes", "True", "None", "em,em", "é", "\u202e", "x" * 300, "x" * 5000),
    *("a:b", ":", "a:", ":b", "a.b:c", "math:inf", "os:system", "..", "/", "/dev/null", "[", "{flag:seed}"),
    *("--", "=", "a=b"),
]
VALUES = [*NUMBERS, *WORDS]

FIELDS = [spell_flag(flag) for flag in asked_fields()]
OPTIONS = ["--squash", "--leaky", "--stem", "--epsilon", "--temperature", "--beta", "--nosuch", "--routing.epsilon"]
BESIDE = ["--measure", "--baseline", "--baseline-size", "--workers", "--axis", "--suite", "--out", "--data-dir"]
FLAGS = {
    "run": [*FIELDS, *OPTIONS, *BESIDE],
    "measure": ["--measure", "--out", "--where", "--data-dir", "--workers"],
    "report": ["--out", "--run", "--where", "--by", "--suite", "--format", "--to"],
    "show": ["--out", "--images", "--index", "--to", "--data-dir"],
    "predict": ["--cell", "--top", "--out"],
    "export": ["--to", "--out"],
    "compare": ["--format"],
    "check": ["--tolerance", "--slower", "--summary", "--junit"],
    "status": ["--out"],
    "prune": ["--out"],
    "list": [],
    "data list": ["--data-dir"],
    "data verify": ["--data-dir"],
    "env": ["--data-dir"],
}
GIVEN = {
    "run": ["--dry-run", "--routing", "em"],
    "measure": ["--measure", "accuracy"],
    "report": ["--format", "csv"],
    "show": [],
    "predict": ["results", "image.png"],
    "export": [],
    "compare": ["results", "results"],
    "check": ["--against", "results"],
}
"""What a command is given where none of the odd flags is the same."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with results, in which commands are called; no network is trained."""
    folder = tmp_path_factory.mktemp("typed")
    for seed in range(3):
        rows = [Row("accuracy", "accuracy", "test", 0.9 + seed / 100, "fraction")]
        Store(folder / "results").write(make_record(make_capsules(seed=seed), rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("capsbench.reporting.build.drawing", lambda *arguments: nullcontext(dict))
        for room in ("running.executors.local", "running.estimate"):
            patch.setattr(f"capsbench.{room}.in_processes", lambda jobs, *arguments, **named: iter(()))
        yield folder


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    command = draw(st.sampled_from([*FLAGS, *["run"] * 8]))
    odd = draw(st.lists(st.tuples(st.sampled_from(FLAGS[command] or ["--json"]), st.sampled_from(VALUES)), max_size=3))
    words = command.split()
    given = GIVEN.get(command, [])
    if not {name for name, _ in odd} & {*given}:
        words += given
    elif command == "run":
        words += ["--dry-run"]
    words += [word for name, value in odd for word in (name, value)]
    if draw(st.booleans()):
        words.append(draw(st.sampled_from(VALUES)))
    return words


@LENGTHS
def test_no_command_line_ends_in_a_traceback(folder: Path, length: float) -> None:
    @searched(length * EXAMPLES)
    @given(words=command_lines())
    def search(words: list[str]) -> None:
        called = call(*words)
        assert "Traceback" not in called.err
        assert called.code in (0, 1, 2, 3, 4)
        if called.code == 2:
            assert len(called.err.splitlines()) == 1
            assert len(called.err) < 20_000

    search()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--lr", "inf"], "--lr"),
        (["--lr", "nan"], "--lr"),
        (["--weight-decay", "inf"], "--weight-decay"),
        (["--clip", "nan"], "--clip"),
        (["--reconstruction-weight", "inf"], "--reconstruction-weight"),
        (["--threads", "100000"], "--threads"),
        (["--epochs", str(2**31)], "--epochs"),
        (["--train-size", str(10**30)], "--train-size"),
        (["--stem", str(2**63)], "--stem"),
        (["--epsilon", "inf"], "--epsilon"),
    ],
)
def test_a_number_that_cannot_be_is_a_line_that_names_the_flag(folder: Path, flags: list[str], named: str) -> None:
    called = call("run", "--dry-run", "--routing", "em", *flags)
    assert called.code == 2
    assert called.err.startswith(f"capsbench: {named}: ")


@pytest.mark.parametrize("command", [["report"], ["measure", "--measure", "accuracy"], ["run", "--routing", "em"]])
def test_a_name_that_no_file_can_have_is_a_line(folder: Path, command: list[str]) -> None:
    called = call(*command, "--out", "x" * 300)
    assert (called.code, len(called.err.splitlines())) == (2, 1)


TOML = [  # of test_hostile_suites.py too
    *("true", "1", "1.5", "inf", "nan", '""', '"x"', "[]", "{}", "[[]]", '[1, "a"]', "[true]", "[{a = 1}]"),
    *("1979-05-27", "07:32:00", "99999999999999999999", f'"{"x" * 300}"', '["math:inf"]'),
]
KEYS = [name.removeprefix("--") for name in FIELDS] + [
    "measure",
    "baseline",
    "baseline-size",
    "axis",
    "matrix",
    "published",
]


@pytest.mark.parametrize("measure", ["true", "1", "[[]]", '[1, "accuracy"]', "1979-05-27"])
def test_measures_of_a_suite_are_names(folder: Path, measure: str) -> None:
    (folder / "suite.toml").write_text(f'routing = "em"\nmeasure = {measure}\n')
    called = call("run", "--suite", "suite.toml", "--dry-run")
    assert called.code == 2
    assert called.err.startswith("capsbench: --suite suite.toml: measure: ")


def test_a_suite_that_is_deep_is_a_line(folder: Path) -> None:
    (folder / "suite.toml").write_text("a = " + "[" * 3000 + "]" * 3000)
    assert call("run", "--suite", "suite.toml").code == 2


OWN = """
from capsbench.data.sets.digits import Digits
from capsbench.routing.uniform import UniformRouting

class Mute(Exception):
    def __str__(self):
        raise ValueError("no")

class Leaves(Digits):
    def load(self, folder):
        exit()

class Mutes(Digits):
    def load(self, folder):
        raise Mute

class NotMade(UniformRouting):
    def __init__(self, **options):
        exit(0)
"""


@pytest.mark.parametrize(
    "flags",
    [
        ["--dataset", "own_faults:Leaves"],
        ["--dataset", "own_faults:Mutes"],
        ["--routing", "own_faults:NotMade"],
        ["--routing", "own_leaves:Any"],
    ],
    ids=lambda flags: flags[1],
)
def test_code_that_leaves_or_cannot_say_why_it_failed_is_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    (folder / "own_faults.py").write_text(OWN)
    (folder / "own_leaves.py").write_text("exit()\n")
    monkeypatch.syspath_prepend(folder)
    called = call("run", *flags, "--train-size", "40", "--baseline", "none")
    assert (called.code, len(called.err.splitlines())) == (2, 1)
    assert called.err.startswith("capsbench: --")
