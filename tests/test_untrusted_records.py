"""A folder of records that somebody else made, with their modules in it: no command imports one unless it is allowed to."""

import sys

import pytest

import capsbench as python_api
from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.planning import contender_defaults
from capsbench.records.record import Row
from capsbench.records.store import Store
from tests.making import make_capsules, make_record

EVIL = 'open({ran!r}, "w").close()\n\nclass Evil: ...\n'

CNN = {"routing": None, "iterations": None, "loss": "cross-entropy", "options": {}}

CELLS = {
    "dataset": {"dataset": "evil_dataset:Evil"},
    "network": {"network": "evil_network:Evil"},
    "routing": {"routing": "evil_routing:Evil"},
    "loss": {"loss": "evil_loss:Evil"},
    "baseline": {**CNN, "network": "evil_baseline:Evil"},
    "digested": {"routing": "evil_digested:Evil", "code": {"routing": "0123456789ab"}},
    "option": {"options": {"routing.kind": "evil_option:Evil"}},
    "measure": {"epochs": 11},
}
"""Where a record names a module -> the fields of its cell."""

IMPORTED = CELLS.keys() - {"option", "measure"}
"""What is imported of a record if its code is allowed."""

RUN = ["run", "--routing", "em", "--iters", "1", "--seeds", "0", "--train-size", "20", "--epochs", "1", "--no-measure"]

COMMANDS = {
    "report": ["report", "--format", "csv,md"],
    "report of a run": ["report", "--last", "--format", "csv,md"],
    "report by": ["report", "--where", "routing=evil_routing:Evil", "--by", "routing", "--format", "csv"],
    "compare": ["compare", "results", "results"],
    "check": ["check", "--against", "results"],
    "measure": ["measure", "--measure", "accuracy"],
    "merge": ["merge", "results", "--out", "merged"],
    "list": ["list"],
    "run": RUN,
    "run dry": [*RUN, "--dry-run"],
}

TAKES_FLAG = ["report", "report of a run", "compare", "check", "measure"]

SUITE = """
routing = "evil_suite:Evil"

[[published]]
table = "Table 1"
row = "[b]"
metric = "error"
value = 1.5
source = "a paper"
where = { dataset = "digits" }
"""


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """The folder, in which a record names a module in each of its fields, and a run notes where those modules lie."""
    modules = tmp_path / "modules"
    modules.mkdir()
    for field in (*CELLS, "suite"):
        for folder in (tmp_path, modules):
            (folder / f"evil_{field}.py").write_text(EVIL.format(ran=str(tmp_path / f"ran-{field}")))
    (tmp_path / "evil.toml").write_text(SUITE)
    store = Store(tmp_path / "results")
    cells = []
    for field, fields in CELLS.items():
        for seed in range(3):
            cell = make_capsules(**{**fields, "seed": seed, "options": fields.get("options", {})})
            measure = "evil_measure:Evil" if field == "measure" else "accuracy"
            rows = [Row("accuracy", "accuracy", "test", 0.9 + seed / 100, "fraction")]
            store.write(make_record(cell, [] if field == "measure" else rows, measured=[measure], wanted=[measure]))
            store.weights_path(cell.id).parent.mkdir(exist_ok=True)
            store.weights_path(cell.id).write_bytes(b"")
            cells.append(cell)
    store.write_run(cells, "capsbench run", suite=str(tmp_path / "evil.toml"), folders=[modules])
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])  # as after `python -m`
    contender_defaults._find_defaults.cache_clear()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("evil_")]:
        del sys.modules[name]


def ran(folder):
    return {path.name.removeprefix("ran-") for path in folder.glob("ran-*")}


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_imports_what_records_name(capsbench, foreign, command):
    done = capsbench(*COMMANDS[command], cwd=foreign)
    assert "Traceback" not in done.stderr
    assert ran(foreign) == set()
    assert str(foreign / "modules") not in sys.path


@pytest.mark.parametrize("command", TAKES_FLAG)
def test_a_command_that_is_allowed_to_imports_it(capsbench, foreign, command):
    done = capsbench(*COMMANDS[command], "--allow-code", cwd=foreign)
    assert "Traceback" not in done.stderr
    assert ran(foreign) == IMPORTED


ON_A_CELL = {
    "show": lambda cell: ["show", cell],
    "predict": lambda cell: ["predict", "results", "image.png", "--cell", cell],
}
"""Command on one network -> its arguments, for the network of a cell."""


@pytest.mark.parametrize("command", ON_A_CELL)
@pytest.mark.parametrize("field", CELLS)
def test_a_command_on_a_network_imports_its_parts_only_if_it_is_allowed_to(capsbench, foreign, field, command):
    cell = make_capsules(**{"options": {}, **CELLS[field]})
    arguments = ON_A_CELL[command](cell.id)
    done = capsbench(*arguments, cwd=foreign)
    assert (done.returncode, ran(foreign)) == (2, set())
    assert ("--allow-code" in done.stderr) == (field in IMPORTED)
    capsbench(*arguments, "--allow-code", cwd=foreign)
    assert ran(foreign) == {field} & IMPORTED


def test_python_reads_a_table_without_importing_anything(foreign):
    table = python_api.load(foreign / "results")
    assert set(table["routing"].dropna()) >= {"evil_routing:Evil", "evil_digested:Evil"}
    assert ran(foreign) == set()


def test_a_network_of_untrusted_parts_is_left_out_of_a_measure_by_name(foreign):
    with pytest.raises(UsageError) as caught:
        python_api.measure(foreign / "results", measure="accuracy", where=["routing=evil_routing:Evil"])
    assert all(fact in str(caught.value) for fact in ("evil_routing:Evil", "--allow-code"))
    with pytest.raises(UsageError) as caught:
        registry.get("routing", "evil_routing:Evil")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (
        Kind.UNTRUSTED,
        "routing",
        "evil_routing:Evil",
    )


def test_the_suite_of_a_run_s_note_imports_nothing_and_one_that_is_named_does(capsbench, foreign):
    assert "evil.toml" in capsbench("report", "--format", "csv", cwd=foreign).stdout
    assert ran(foreign) == set()
    capsbench("report", "--format", "csv", "--suite", "evil.toml", cwd=foreign)
    assert ran(foreign) == {"suite"}


def test_what_a_record_names_is_imported_once_the_user_names_it(capsbench, foreign):
    done = capsbench("run", "--routing", "evil_routing:Evil", "--dry-run", cwd=foreign)
    assert (done.returncode, ran(foreign)) == (2, {"routing"})
    assert all(fact in done.stderr for fact in ("--routing", "'evil_routing:Evil'", "capsbench.routing.base.Routing"))
