"""Commands on terminals that lack characters, or that nobody reads any more."""

import errno
import io
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from capsbench import run
from capsbench.cli import main as cli
from capsbench.cli.console import print_prose
from capsbench.records.file import seal_json
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_failed, make_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory, one_process):
    """A folder in which a small run has been made, results and all of a name that ASCII lacks."""
    folder = tmp_path_factory.mktemp("größe")
    with one_process():
        run(
            routing="dynamic", train_size=40, epochs=1, seeds=[0, 1], measure="accuracy,affine:quick",
            out=folder / "resultats-é",
        )  # fmt: skip
    (folder / "results").symlink_to("resultats-é")
    return folder


COMMANDS = [
    ["report"],
    ["report", "--out", "resultats-é", "--format", "csv"],
    ["compare", "results", "results", "--all"],
    ["check", "--against", "results", "--out", "resultats-é"],
    ["show", "matched seed 0", "--out", "resultats-é", "--images", "1"],
    ["run", "--routing", "dynamic", "--train-size", "40", "--epochs", "1", "--seeds", "2", "--measure", "accuracy"],
    ["run", "--dry-run", "--routing", "dynamic", "--train-size", "40", "--epochs", "1", "--seeds", "0,1"],
    ["measure", "--measure", "accuracy"],
    ["list", "network"],
    ["env"],
    ["data", "list"],
    ["--help"],
]


@pytest.fixture
def typed(monkeypatch, folder):
    """What a command prints, bytes, on a terminal of an encoding that refuses what it lacks; and its exit code."""

    def type_in(words, encoding, where=folder):
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding, "strict") for name in ("stdout", "stderr")}
        for name, stream in streams.items():
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.chdir(where)
        monkeypatch.setattr(sys, "argv", ["capsbench", *words])
        with pytest.raises(SystemExit) as left:
            cli.main()
        printed = []
        for stream in streams.values():
            stream.flush()
            printed.append(stream.buffer.getvalue().decode(encoding))
        return (left.value.code or 0, *printed)

    return type_in


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.usefixtures("in_one_process", "without_pictures")
def test_every_command_prints_on_a_terminal_that_has_ascii_alone(typed, words):
    code, out, err = typed(words, "ascii")
    assert "Traceback" not in err
    assert code == 0, err
    assert out


def test_what_a_terminal_lacks_is_replaced_and_what_it_has_is_not(typed):
    assert "+-" in typed(["report", "--format", "csv"], "ascii")[1]
    assert "±" in typed(["report", "--format", "csv"], "latin-1")[1]
    assert "in resultats-e/report" in typed(["report", "--format", "csv", "--out", "resultats-é"], "ascii")[1]


ACTS = "\x1b]0;owned\x07\x1b[2J\u202e"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Folders of records whose every name and reason would act on a terminal."""
    folder = tmp_path_factory.mktemp("hostile")
    for name, seeds in (("a", range(3)), ("b", range(4))):
        store = Store(folder / name)
        cells = [make_capsules(seed=seed, routing=f"em{ACTS}", options={"routing.a": f"{ACTS}\n=1"}) for seed in seeds]
        for cell in cells[:-1]:
            rows = [Row("accuracy", f"accuracy{ACTS}", f"test{ACTS}", 0.9, f"points{ACTS}")]
            rows += [Row("accuracy", "accuracy", "test", 0.9, "fraction")]
            store.write(make_record(cell, rows, provenance={"cpu": ACTS}, failures={"speed": f"{ACTS}\nspeed"}))
        store.write(make_failed(cells[-1], f"{ACTS}\nfine: all passed"))
        store.record_path("0" * 12).write_bytes(seal_json({"schema": 2, "id": ACTS, "role": ACTS}))
        store.write_run(cells, f"capsbench run {ACTS}", left_out={f"mnist{ACTS}": ACTS})
        (store.folder / "runs" / f"{ACTS.replace('/', '')}.json").write_text("{")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["report", "--out", "a", "--format", "csv"],
        ["report", "--out", "a", "--where", f"routing={ACTS}"],
        ["compare", "a", "b", "--all"],
        ["compare", "a", "b", "--all", "--format", "md"],
        ["check", "--against", "a", "--out", "b"],
        ["show", "em", "--out", "a"],
        ["show", ACTS, "--out", "a"],
        ["measure", "--measure", "accuracy", "--out", "a"],
        ["run", "--routing", f"dynamic{ACTS}"],
        [f"--{ACTS}"],
    ],
    ids=lambda words: " ".join(words).replace(ACTS, "..."),
)
def test_no_command_prints_what_a_terminal_acts_on(typed, hostile, words):
    code, out, err = typed(words, "utf-8", hostile)
    assert "Traceback" not in err
    assert code in (0, 1, 2, 3, 4)
    assert not {*ACTS[:1], "\x07", "\u202e"} & {*out, *err}
    assert not any(line.startswith("fine: ") for line in (out + err).splitlines())


def test_the_console_script_prints_where_the_locale_is_c(folder):
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"} | locale
    words = [sys.executable, "-m", "capsbench", "status", "--out", "resultats-é"]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"resultats-??, " in done.stdout


def test_a_reader_that_leaves_is_no_regression(monkeypatch):
    """As `capsbench list | head -1` does."""
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "argv", ["capsbench", "list", "suite"])
    with os.fdopen(writing, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as left:
            cli.main()
    assert left.value.code == 130


def test_a_fault_of_capsbench_itself_is_no_regression(capsbench, monkeypatch, tmp_path):
    monkeypatch.setattr("capsbench.reporting.build.report", None)  # a fault of code elsewhere would not be its own
    done = capsbench("report", cwd=tmp_path)
    assert done.returncode == 3
    assert "TypeError: 'NoneType' object is not callable" in done.stderr


def redirected(words, redirection):
    """The exit code of a command in a shell, and what it prints where that is not redirected."""
    line = f'"$0" -m capsbench {words} {redirection}'
    done = subprocess.run(["sh", "-c", line, sys.executable], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.mark.parametrize("words", ["list suite", "data list --json", "data list", "--help"])
def test_standard_output_that_is_full_is_a_line(words):
    code, _, (line,) = redirected(words, ">/dev/full")
    assert code == 3
    assert os.strerror(errno.ENOSPC) in line


@pytest.mark.parametrize(
    ("words", "redirection", "expected"),
    [
        ("list suite", ">&-", 0),
        ("list suite", ">/dev/full 2>/dev/full", 3),
        ("list nosuch", "2>/dev/full", 2),
        ("list nosuch", ">&- 2>&-", 2),
    ],
)
def test_streams_that_are_closed_or_full_change_no_exit_code(words, redirection, expected):
    assert redirected(words, redirection) == (expected, "", [])


def test_ctrl_c_while_a_command_is_left_is_told_too(capsbench, monkeypatch, tmp_path):
    @contextmanager
    def left():
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr("capsbench.cli.commands.end_in_order", left)
    done = capsbench("list", "suite", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "capsbench: interrupted\n")


def test_a_terminal_breaks_prose_between_words_and_a_file_does_not(monkeypatch, capsys):
    text = "- " + " ".join(["word 99.5\N{NO-BREAK SPACE}%,"] * 20)
    print_prose(text)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_prose(text)
    first, *others = capsys.readouterr().out.splitlines()
    assert max(map(len, [first, *others])) <= 40
    assert all(line.startswith("  word") or line.startswith("  99.5") for line in others)
    assert " ".join([first, *(line.strip(" ") for line in others)]) == text
