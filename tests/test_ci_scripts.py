"""The scripts of `.ci`: a fault breaks a line that is there, beside tests that are there; a loss is one in all that is judged."""

import importlib.machinery
import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from capsbench import registry
from capsbench.cli.commands import app
from capsbench.comparing.judged import list_judged
from capsbench.measures.spec import built_in_specs
from capsbench.planning.request import split_values
from capsbench.planning.suites import read_suite
from capsbench.records.record import Row
from capsbench.records.software.requirements import parse_requirements, read_requirements
from capsbench.records.store import Store
from capsbench.reporting.findings.answers import list_claims
from capsbench.reporting.findings.questions import read_questions
from tests.comparing.records import record
from tests.making import make_capsules, make_record

CHECKOUT = Path(__file__).parent.parent


def script(name):
    """A script of `.ci`, which has no suffix, as a module."""
    path = str(CHECKOUT / ".ci" / name)
    spec = importlib.util.spec_from_loader(name, importlib.machinery.SourceFileLoader(name, path))
    module = importlib.util.module_from_spec(spec)
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


faults, alarms, mutants, reference = script("faults"), script("alarms"), script("mutants"), script("reference")
findings = script("findings")


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.name)
def test_a_fault_breaks_one_line_and_has_tests(fault):
    for edit in fault.edits:
        assert (CHECKOUT / edit.file).read_text().count(edit.old) == 1, f"{edit.file}: {edit.old}"
        assert edit.old != edit.new
    for test in fault.tests:
        assert (CHECKOUT / test).exists()


def test_the_networks_that_faults_touch_are_in_the_suite():
    routings = {routing for matrix in read_suite("ci").matrices for routing in split_values(matrix.get("routing", []))}
    assert {routing for fault in faults.FAULTS for routing in fault.routings} <= routings


def test_the_table_of_the_document_has_every_fault():
    text = (CHECKOUT / "docs" / "ci.md").read_text()
    assert [fault.name for fault in faults.FAULTS if f"| {fault.name} |" not in text] == []


def test_a_fault_is_planted_and_taken_out_again(tmp_path):
    path = tmp_path / "code.py"
    path.write_text("a = 1\nb = 2\n")
    fault = faults.Fault("b", [faults.Edit("code.py", "b = 2", "b = 3")], [], [])
    with faults.broken(tmp_path, fault):
        assert path.read_text() == "a = 1\nb = 3\n"
    assert path.read_text() == "a = 1\nb = 2\n"
    absent = fault._replace(edits=[faults.Edit("code.py", "c = 3", "")])
    with pytest.raises(SystemExit) as caught, faults.broken(tmp_path, absent):
        pass
    assert "c = 3" in str(caught.value)


def test_a_loss_of_ten_points_is_one_of_each_judged_number():
    numbers = list_judged(built_in_specs(), "mean")
    rows = [Row(each.measure, each.metric.name, (each.judged.conditions or ("all",))[0], 0.5, "") for each in numbers]
    before = record(0.9, rows=rows)
    after = alarms.worse(before, 10)
    for number in numbers:
        old, new = (number.average([*number.find_rows(each, {}).values()]) for each in (before, after))
        assert (old - new) * (1 if number.metric.higher_is_better else -1) == pytest.approx(0.1), number.title
    assert before.rows[0] == after.rows[0]  # parameters


def test_seeds_that_have_all_contenders_are_split():
    found = alarms.records_by_seed([alarms.REFERENCE])
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert len({len(records) for records in found.values()}) == 1


def test_screenshots_are_of_states_whose_commands_and_records_there_are(tmp_path):
    screenshots = script("screenshots")
    commands = app.made.commands
    for state in screenshots.STATES.values():
        assert bool(state.command) != bool(state.folder)
        assert state.folder is None or (state.folder / "records").is_dir()
        assert state.command[:1] == [] or state.command[0] in commands
    screenshots.write_images(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["places.npz", "strokes.npz"]


def test_the_steps_of_a_document_are_its_files_code_and_commands():
    documents = script("documents")
    text = """Saved as `mine.py`:

```python
class Mine: ...
```

```console
$ capsbench run --routing mine:Mine
 3 cells
```

```text
capsbench run --dataset hf:owner/name
```

    capsbench report
    capsbench show "em x1"     # a picture

```python
import mine
```

```python
mine.Mine()
```
"""
    steps = list(documents.read_steps(text))
    assert [(step.file, step.content) for step in steps if step.file] == [
        ("mine.py", "class Mine: ...\n"),
        ("step.py", "import mine\n"),
    ]
    commands = ["capsbench run --routing mine:Mine", "capsbench report", 'capsbench show "em x1"     # a picture']
    assert [step.command for step in steps if not step.file] == [*commands, "python step.py"]


def test_the_documents_that_are_followed_have_commands():
    documents = script("documents")
    for name in (*documents.DOCUMENTS, *documents.BEFORE):
        assert any(step.file is None for step in documents.read_steps((CHECKOUT / "docs" / name).read_text())), name


def test_mutants_change_behaviour_one_place_at_a_time():
    source = b'''"""A constant: 1."""
def train(cell: Literal[2], size: str = "tiny") -> int:
    if TYPE_CHECKING:
        import torch
    if not cell or 0.5 <= cell < 7 != 3:
        raise ValueError(f"{1 + 1}")
    cell -= -2
    return {True: cell // 2}
class Cell:
    def __repr__(self):
        return 1
'''
    found = list(mutants.find_mutants("training/loop.py", source))
    assert {(mutant.line, mutant.function, mutant.before, mutant.after) for mutant in found} == {
        (2, "train", source.splitlines()[1].decode(), source.splitlines()[1].decode().replace('"tiny"', "'tiny?'")),
        *(
            (5, "train", "if not cell or 0.5 <= cell < 7 != 3:", after)
            for after in (
                "if cell or 0.5 <= cell < 7 != 3:",
                "if not cell and 0.5 <= cell < 7 != 3:",
                "if not cell or 1.0 <= cell < 7 != 3:",
                "if not cell or 0.5 < cell < 7 != 3:",
                "if not cell or 0.5 <= cell <= 7 != 3:",
                "if not cell or 0.5 <= cell < 8 != 3:",
                "if not cell or 0.5 <= cell < 7 == 3:",
                "if not cell or 0.5 <= cell < 7 != 4:",
            )
        ),
        *((7, "train", "cell -= -2", after) for after in ("cell += -2", "cell -= 2", "cell -= -3")),
        *(
            (8, "train", "return {True: cell // 2}", after)
            for after in (
                "return None",
                "return {False: cell // 2}",
                "return {True: cell * 2}",
                "return {True: cell // 3}",
            )
        ),
    }
    for mutant in found:
        assert mutant.apply(source).decode().splitlines()[mutant.line - 1].strip() == mutant.after


@pytest.mark.skipif(not (CHECKOUT / ".git").exists(), reason="files are listed by git: not in a source distribution")
def test_a_seed_draws_the_same_mutants_of_rooms_that_have_tests():
    drawn = mutants.draw_mutants(CHECKOUT, 50, 1)
    assert drawn == mutants.draw_mutants(CHECKOUT, 50, 1) != mutants.draw_mutants(CHECKOUT, 50, 2)
    for mutant in drawn:
        assert mutant.before in (CHECKOUT / mutant.file).read_text()
        assert all((CHECKOUT / test).exists() for test in mutants.mirrored_tests(CHECKOUT, mutant.file))


def test_a_source_file_is_mirrored_by_its_test_files(tmp_path):
    for name in ("differences", "differences_of_many", "other"):
        (tmp_path / "tests" / "stats").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / "stats" / f"test_{name}.py").touch()
    mirrored = [f"tests/stats/test_{name}.py" for name in ("differences", "differences_of_many")]
    assert mutants.mirrored_tests(tmp_path, "capsbench/stats/differences.py") == mirrored
    assert mutants.mirrored_tests(tmp_path, "capsbench/stats/moderation.py") == ["tests/stats"]
    assert mutants.mirrored_tests(CHECKOUT, "kernels/capsbench_kernels/routings/em.py") == [
        "tests/kernels/routings/test_em.py"
    ]


@pytest.mark.slow
def test_a_mutant_is_caught_or_survives_and_the_copy_alone_is_changed(tmp_path):
    checkout = tmp_path / "checkout"
    for path, content in {
        "attic/sums.py": "def add(a, b):\n    return a + b\n",
        "tests/attic/test_sums.py": "from attic.sums import add\n\n\ndef test_add():\n    assert add(2, 0) == 2\n",
    }.items():
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).write_text(content)
    subprocess.run(["git", "init", "-q", checkout], check=True)
    outcomes = {}
    source = (checkout / "attic/sums.py").read_bytes()
    program = [*mutants.find_mutants("attic/sums.py", source)]
    mutants.judge_mutants(checkout, program, lambda mutant, outcome: outcomes.update({mutant.after: outcome}))
    assert outcomes == {"return None": "caught", "return a - b": "survived"}
    assert (checkout / "attic/sums.py").read_bytes() == source


@pytest.mark.slow
def test_the_time_of_a_command_is_that_of_the_processes_that_it_leaves_behind(tmp_path):
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    leave = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}], start_new_session=True)"
    code = (
        f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from tests.test_ci_scripts import script; "
        f"commands = script('commands'); commands.adopt_orphans(); "
        f"print(commands.time_command([sys.executable, '-c', {leave!r}], {str(tmp_path)!r}, {{}}).processors)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) >= 0.3


def test_a_ratio_is_the_median_over_pairs():
    commands = script("commands")
    pairs = [(commands.Seconds(1.0, 2.0), commands.Seconds(clock, 4.0)) for clock in (1.0, 2.0, 10.0)]
    assert [commands.find_ratio(pairs, place) for place in (0, 1)] == [0.5, 0.5]


def test_the_reference_pages_are_those_of_the_command_line_and_the_registry():
    for path, text in reference.make_pages().items():
        assert path.read_text() == text, "run .ci/reference"


def test_records_of_before_get_a_file_of_each_state_of_the_software(tmp_path, monkeypatch):
    requirements = script("requirements")
    monkeypatch.setattr(requirements, "REFERENCE", tmp_path / "results" / "reference")
    folder = requirements.REFERENCE / "mine"
    facts = {
        "capsbench": "0.1.0",
        "commit": "a" * 40,
        "dirty": False,
        "python": "3.11.7",
        "torch": "2.15.0",
        "numpy": "2.4",
    }
    for seed, commit in enumerate("aab"):
        Store(folder).write(make_record(make_capsules(seed=seed), provenance={**facts, "commit": 40 * commit}))
    requirements.main()
    texts = [text for _, text in read_requirements(folder)]
    assert sorted(parse_requirements(text).facts["commit"][0] for text in texts) == ["a", "b"]
    assert all(parse_requirements(text).versions == {"torch": "2.15.0", "numpy": "2.4"} for text in texts)
    requirements.main()
    assert [text for _, text in read_requirements(folder)] == texts


def test_the_reference_has_every_command_and_every_component():
    commands, components = (text for _, text in sorted(reference.make_pages().items()))
    assert "## capsbench kernels bench" in commands
    assert "| `--until-decided` `A,B` |" in commands
    for kind in registry.BUILT_IN:
        for name in registry.BUILT_IN[kind]:
            assert f"| `{name}` |" in components


def test_findings_are_of_folders_with_runs(tmp_path):
    for folder in ("mnist/records", "mnist/runs", "search/trials/records", "ci/records", "ci/runs", "kernels/cpu"):
        (tmp_path / folder).mkdir(parents=True)
    assert findings.list_folders(tmp_path) == [tmp_path / "mnist"]


def test_the_picture_of_the_findings_shows_their_points():
    assert findings.make_stamp(findings.POINTS.read_text()) in findings.PICTURE.read_text()


def test_findings_ask_each_claim_and_what_is_measured():
    questions = read_questions(findings.QUESTIONS)
    assert [claim.number for claim in questions.claims] == [claim.number for claim in list_claims()]
    specs = built_in_specs()
    for saying in questions.sayings:
        assert saying.claims or saying.denials or saying.numbers
        for number in saying.numbers:
            metrics = specs[number.measure].metrics if number.measure in specs else ()
            chosen = [metric for metric in metrics if number.metric in (None, metric.name)]
            assert not metrics or any(metric.contests or number.title for metric in chosen)
            assert set(number.datasets) <= set(registry.names("dataset"))


def test_the_commands_that_would_decide_are_commands():
    questions = read_questions(findings.QUESTIONS)
    run = app.made.commands["run"]
    for command in {asked.decide for asked in (*questions.claims, *questions.sayings)}:
        program, name, *arguments = shlex.split(command)
        assert (program, name) == ("capsbench", "run")
        asked = run.make_context("run", arguments).params
        for kind in ("dataset", "routing", "network"):
            assert set(split_values(asked[kind] or [])) <= set(registry.names(kind)), command
        assert asked["suite"] is None or read_suite(str(asked["suite"])).matrices
