import ast
import pickle
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

import capsbench
from capsbench.errors import (
    ArgumentError,
    CallInterrupted,
    ExportFailed,
    InOneLine,
    Kind,
    NothingMeasured,
    OutputFailed,
    ProcessFailed,
    StorageFailed,
    TrainingFailed,
    UsageError,
    reason_of,
)
from capsbench.exporting import export
from capsbench.planning.request import spell_flag
from capsbench.running.events import CellEnded, RunStarted


@pytest.mark.parametrize(
    ("error", "in_python", "on_the_command_line"),
    [
        (
            UsageError(Kind.INVALID, flag="train_size", expected="1 or more", value=0),
            "train_size: expected 1 or more, got 0",
            "--train-size: expected 1 or more, got 0",
        ),
        (
            UsageError(Kind.INVALID, flag="balanced", expected="no", value=True),
            "balanced: expected no, got yes",
            "--balanced: expected no, got yes",
        ),
        (
            UsageError(Kind.CONFLICT, "no backbone", flag="freeze_backbone", value=True),
            "freeze_backbone yes: no backbone",
            "--freeze-backbone yes: no backbone",
        ),
        (
            UsageError(Kind.UNKNOWN, flag="routing", value="dynmic", expected=["dynamic", "em"]),
            "routing: unknown 'dynmic'; did you mean 'dynamic'? choose from dynamic, em",
            "--routing: unknown 'dynmic'; did you mean 'dynamic'? choose from dynamic, em",
        ),
        (
            UsageError(
                Kind.CONFLICT, "is sized after a CNN", flag="network", value="matched", expected="use {flag:baseline_size}"
            ),
            "network matched: is sized after a CNN; use baseline_size",
            "--network matched: is sized after a CNN; use --baseline-size",
        ),
        (
            UsageError(Kind.MISSING, "no such folder", flag="out", file="results"),
            "out results: no such folder",
            "--out results: no such folder",
        ),
        (UsageError(Kind.DAMAGED, "not whole", file="a.json"), "a.json: not whole", "a.json: not whole"),
        (UsageError(Kind.AMBIGUOUS, "3 cells fit", flag="CELL", value="em"), "CELL em: 3 cells fit", "CELL em: 3 cells fit"),
        (
            UsageError(Kind.UNKNOWN, flag="CELL", value="dinamic", expected="did you mean 'dynamic'?"),
            "CELL: unknown 'dinamic'; did you mean 'dynamic'?",
            "CELL: unknown 'dinamic'; did you mean 'dynamic'?",
        ),
        (
            UsageError(Kind.UNKNOWN, flag="rooting", value="rooting", expected=["train_size", "routing"]),
            "rooting: unknown 'rooting'; did you mean 'routing'?",
            "--rooting: unknown '--rooting'; did you mean '--routing'?",
        ),
    ],
)  # fmt: skip
def test_one_line_is_made_of_the_facts_for_each_reader(
    error: UsageError, in_python: str, on_the_command_line: str
) -> None:
    assert str(error) == in_python
    assert error.describe(spell_flag) == on_the_command_line


@pytest.mark.parametrize(
    ("kind", "typed", "wanted"), [(bool, "maybe", "yes or no"), (int, "1.5", "whole number"), (float, "abc", "number")]
)
def test_a_value_of_another_type_is_answered_by_what_can_be_typed(kind: type, typed: str, wanted: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(typed)
    assert wanted in reason_of(refused.value)


def test_braces_of_a_user_are_left_as_they_are() -> None:
    assert (
        str(UsageError(Kind.INVALID, flag="lr", expected="a number", value="{x}")) == "lr: expected a number, got '{x}'"
    )


@pytest.mark.parametrize("kind", [UsageError, NothingMeasured])
def test_the_facts_reach_another_process(kind: type[UsageError]) -> None:
    error = kind(Kind.INVALID, flag="lr", file="a", value=-1.0, expected=["1", "2"])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert (again.kind, again.flag, again.value, again.expected) == (Kind.INVALID, "lr", -1.0, ("1", "2"))


def test_an_argument_reaches_another_process() -> None:
    again = pickle.loads(pickle.dumps(ArgumentError("backend", "auto or cpu", "abacus")))
    assert (again.argument, again.expected, again.value) == ("backend", "auto or cpu", "abacus")
    assert str(again) == "backend: expected auto or cpu, got 'abacus'"


def test_a_notebook_shows_the_line_of_the_user_and_the_line_of_the_error() -> None:
    with pytest.raises(UsageError) as caught:
        capsbench.run(routing="emm")
    *mine, last = caught.value._render_traceback_()
    assert last == f"UsageError: {caught.value}"
    assert 'capsbench.run(routing="emm")' in mine[-1]
    assert str(PACKAGE) not in "".join(mine)


@pytest.mark.parametrize("kind", [StorageFailed, ExportFailed, OutputFailed, ProcessFailed, TrainingFailed])
def test_a_notebook_shows_failures_in_one_line_as_well(kind: type[InOneLine]) -> None:
    assert kind("the disk is full")._render_traceback_() == [f"{kind.__name__}: the disk is full"]


class Stopping:
    """A listener that interrupts a run, as Ctrl-C does, once a cell has ended or before any has started."""

    def __init__(self, when: type) -> None:
        self.when = when

    def notify(self, event: object) -> None:
        if isinstance(event, self.when):
            raise KeyboardInterrupt


@pytest.mark.usefixtures("in_one_process")
def test_an_interrupted_call_ends_in_a_line_keeps_what_is_finished_and_goes_on(tmp_path: Path) -> None:
    how = {"routing": "dynamic,uniform", "dataset": "digits", "epochs": 1, "measure": "none", "baseline": "none"}
    how |= {"out": tmp_path, "train_size": 100, "seeds": 0}
    with pytest.raises(KeyboardInterrupt) as caught:  # so that a loop or the rest of a notebook does not go on
        capsbench.run(listener=Stopping(CellEnded), **how)
    assert isinstance(caught.value, CallInterrupted)
    *mine, last = caught.value._render_traceback_()
    assert last == "CallInterrupted: 1 of 2 cells on record; interrupted, 1 left: the same call continues"
    assert "capsbench.run(listener=" in mine[-1]
    assert str(PACKAGE) not in "".join(mine)
    stopped = caught.value.result
    outcome = capsbench.run(**how)
    assert (outcome.on_record, outcome.finished) == (stopped.finished, stopped.left)
    assert len({*outcome.on_record, *outcome.finished}) == 2


@pytest.mark.usefixtures("in_one_process")
def test_a_call_that_is_interrupted_before_it_has_begun_ends_in_a_line_too(tmp_path: Path) -> None:
    with pytest.raises(CallInterrupted) as caught:
        capsbench.run(routing="dynamic", baseline="none", out=tmp_path, listener=Stopping(RunStarted))
    assert caught.value.result is None
    assert "the same call" in str(caught.value)
    assert str(PACKAGE) not in "".join(caught.value._render_traceback_())
    assert list(tmp_path.glob("records/*")) == []


def test_functions_of_the_package_are_the_same_in_another_process() -> None:
    assert pickle.loads(pickle.dumps(capsbench.export)) is capsbench.export is not export


PACKAGE = Path(capsbench.__file__).parent
OTHER_SPELLINGS = {"records/software/provenance.py", "reporting/formats/html.py"}
"""Whose hyphens are those of other programs' flags and of CSS."""

WHOLE_COMMANDS = {"records/cell.py", "reporting/rerun.py"}


def core_files() -> list[str]:
    """The modules that know flags by their Python names alone."""
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if "cli" not in path.parts}
    return sorted(files - OTHER_SPELLINGS - WHOLE_COMMANDS)


def strings_of(tree: ast.AST) -> list[str]:
    """The strings of a module, those with places to fill as a whole; docstrings left out."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    filled = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    within = {part for node in filled for part in ast.walk(node)}
    plain = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docstrings | within]
    return [ast.unparse(node) for node in filled] + [node.value for node in plain if isinstance(node.value, str)]


@pytest.mark.parametrize("file", core_files())
def test_only_the_command_line_spells_flags(file: str) -> None:
    """A whole command may stand in backquotes."""
    strings = strings_of(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))
    assert [string for string in strings if re.search("--[a-zA-Z]", re.sub("`[^`]*`", "", string))] == []
