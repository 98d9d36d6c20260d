"""The command line as a person types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from capsbench import run
from capsbench.cli.commands import app
from capsbench.planning.request import spell_flag
from capsbench.presenting.format import SIGNIFICANT_MEANS
from capsbench.presenting.marks import COLLAPSED, has_mark
from capsbench.presenting.material import Material
from capsbench.records.cell import asked_fields
from capsbench.records.store import Store

QUICK = ["--train-size", "40", "--epochs", "1", "--seeds", "0", "--measure", "accuracy"]


@pytest.fixture(scope="module")
def results(tmp_path_factory, one_process):
    """A folder in which a small run has been made."""
    folder = tmp_path_factory.mktemp("cli")
    with one_process():
        run(routing="dynamic,em", train_size=40, epochs=1, seeds=0, measure="accuracy", out=folder / "results")
    return folder


def test_report_prints_the_table_and_where_the_pictures_are(capsbench, results):
    done = capsbench("report", cwd=results)
    assert done.returncode == 0, done.stderr
    assert "matrix-capsules" in done.stdout
    assert "pictures" in done.stdout
    assert (Path(results) / "results" / "report" / "table.csv").exists()


def test_report_explains_the_signs_of_a_printed_table_below_it(capsbench, tmp_path, capsules, matched):
    store = Store(tmp_path / "results")
    for seed, accuracy in enumerate((0.90, 0.91, 0.90)):
        store.write(capsules(accuracy, seed=seed))
        store.write(matched(accuracy - 0.2 + 0.001 * seed, seed=seed))
    lines = capsbench("report", "--format", "csv", cwd=tmp_path).stdout.splitlines()
    (row,) = [place for place, line in enumerate(lines) if "*" in line and not line.startswith("*")]
    legend = lines.index(SIGNIFICANT_MEANS)
    assert row < legend < lines.index(next(line for line in lines if line.startswith("Who won")))
    assert lines.count(SIGNIFICANT_MEANS) == 1


@pytest.mark.usefixtures("without_pictures")
def test_report_as_json_is_a_list_of_rows(capsbench, results):
    rows = json.loads(capsbench("report", "--json", cwd=results).stdout)
    assert {row["network"] for row in rows} == {"capsnet", "matrix-capsules", "matched"}


def test_the_version_is_that_of_the_package(capsbench, tmp_path):
    from capsbench import __version__

    done = capsbench("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"capsbench {__version__}\n", "")


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_an_unknown_tracker_is_refused_before_anything_runs(capsbench, tmp_path, flags):
    done = capsbench("run", "--routing", "dynamic", "--track", "tensorboard,tensorbord", *flags, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--track" in done.stderr
    assert "'tensorboard'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("in_one_process")
def test_a_run_says_where_its_cells_are_seen(capsbench, tmp_path):
    done = capsbench(
        "run", "--routing", "uniform", "--baseline", "none", *QUICK, "--track", "tensorboard", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"tensorboard --logdir {tmp_path / 'results' / 'tracking' / 'tensorboard'}" in done.stderr


def test_list_shows_the_trackers(capsbench, tmp_path):
    listed = json.loads(capsbench("list", "tracker", "--json", cwd=tmp_path).stdout)
    assert listed["tracker"].keys() == {"tensorboard", "mlflow", "wandb"}


def test_run_as_json_says_what_became_of_each_cell(capsbench, results):
    done = capsbench("run", "--routing", "dynamic,em", *QUICK, "--json", cwd=results)
    outcome = json.loads(done.stdout)
    assert len(outcome["on_record"]) == 4
    assert outcome["finished"] == outcome["failed"] == outcome["left"] == []


def test_dry_run_lists_the_cells_and_an_estimate_and_writes_nothing(capsbench, tmp_path):
    done = capsbench("run", "--routing", "em", "--iters", "1,2", *QUICK, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("matrix-capsules em") == 2
    assert "3 cells, 3 to run, about" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("in_one_process")
def test_dry_run_prints_the_first_of_many_cells(capsbench, tmp_path, monkeypatch):
    monkeypatch.setattr("capsbench.cli.planned.MOST_ROWS", 2)
    done = capsbench("run", "--routing", "dynamic", "--iters", "1,2,3", *QUICK, "--dry-run", cwd=tmp_path)
    assert done.stdout.count("capsnet dynamic") == 2
    assert "2 more cells" in done.stdout
    assert "4 cells, 4 to run" in done.stdout


@pytest.mark.usefixtures("in_one_process")
def test_a_failed_cell_is_exit_code_3(capsbench, tmp_path):
    done = capsbench(
        "run", "--routing", "em", *QUICK, "--lr", "1e30", "--schedule", "constant", "--baseline", "none", cwd=tmp_path
    )
    assert done.returncode == 3
    assert "FAILED" in done.stderr
    assert "not finite" in done.stderr


OWN_CODE = """
from capsbench.measures import Measure


class Mine(Measure):
    def applies_to(self, cell):
        return cell.netwrok == "capsnet"

    def __call__(self, subject):
        return []
"""


def test_an_error_of_a_users_own_code_is_one_line_that_names_its_line_and_exit_code_2(capsbench, tmp_path):
    (tmp_path / "applying.py").write_text(OWN_CODE)
    done = capsbench("run", "--routing", "dynamic", "--measure", "applying:Mine", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "applying.py, line 7" in line
    assert "netwrok" in line


READS_RECORDS = {
    "report": ["report", "--out", "FOLDER"],
    "measure": ["measure", "--measure", "accuracy", "--out", "FOLDER"],
    "show": ["show", "--out", "FOLDER"],
    "compare": ["compare", "FOLDER", "FOLDER"],
    "check": ["check", "--against", "FOLDER", "--out", "FOLDER"],
    "status": ["status", "--out", "FOLDER"],
    "prune": ["prune", "--out", "FOLDER"],
}
"""Every command that reads a folder of records."""


@pytest.mark.parametrize("command", READS_RECORDS)
@pytest.mark.parametrize("folder", ["nowhere", "empty", "file"])
def test_a_wrong_folder_of_records_is_exit_code_2(capsbench, tmp_path, command, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    done = capsbench(*(folder if word == "FOLDER" else word for word in READS_RECORDS[command]), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{folder}: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("command", sorted(READS_RECORDS.keys() - {"check", "prune"}))
def test_a_folder_of_a_run_in_which_nothing_was_measured_is_exit_code_4(capsbench, tmp_path, command):
    (tmp_path / "results" / "runs").mkdir(parents=True)
    done = capsbench(*("results" if word == "FOLDER" else word for word in READS_RECORDS[command]), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["run", "--iters", "0"], ["--iters", "'0'"]),
        (["run", "--iters", "x"], ["--iters", "'x'"]),
        (["run", "--routing", "em,foo"], ["--routing", "'foo'", "dynamic, em, uniform"]),
        (["run", "--train-size", "10000000"], ["--train-size", "10000000"]),
        (["run", "--baseline-size", "big"], ["--baseline-size", "'big'", "own, matched"]),
        (["run", "--routing", "em", "--stem-norm", "layer"], ["--stem-norm", "'layer'", "none or batch"]),
        (["run", "--network", "matched"], ["--network", "--baseline"]),
        (["run", "--size", "paper", "--routing", "dynamic"], ["--network capsnet", "--size paper"]),
        (["run", "--axis", "annealing"], ["--axis", "'annealing'"]),
        (["run", "--suite", "demoo"], ["--suite", "'demoo'", "'demo'"]),
        (["run", "--suite", "wrong.toml"], ["--suite wrong.toml", "'routin'", "'routing'"]),
        (["run", "--suite", "broken.toml"], ["--suite broken.toml"]),
        (["run", "--out", "a-file"], ["--out a-file"]),
        (["run", "--rooting", "em"], ["--rooting", "'--routing'"]),
        (["run", "--squahs", "unit"], ["--squahs", "'--squash'"]),
        (["run", "--squash"], ["--squash"]),
        (["run", "--squash", "unit", "--axis", "squash=sabour"], ["--squash"]),
        (["run", "--loss", "margin", "--axis", "loss=spread"], ["--loss"]),
        (["run", "--transform-sigma", "--fresh"], ["--transform-sigma"]),
        (["run", "em"], ["'em'"]),
        (["rum"], ["rum"]),
        (["list", "networks"], ["KIND", "'networks'", "'network'"]),
        (["report", "--run", "yesterday"], ["yesterday"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(capsbench, results, arguments, facts):
    (results / "wrong.toml").write_text('routin = ["em"]')
    (results / "broken.toml").write_text("routing = ")
    (results / "a-file").write_text("")
    done = capsbench(*arguments, cwd=results)
    assert done.returncode == 2, done.stderr
    assert [fact for fact in facts if fact not in done.stderr] == []
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


SUITE = """
routing = "dynamic"
iters = 1
seeds = [0, 1]
epochs = 1
baseline = "none"
measure = "accuracy"
dataset = ["digits", "absent:Absent"]

[[published]]
table = "Table 1"
row = "[a]"
metric = "accuracy"
value = 99.9
source = "a paper"
where = { dataset = "digits" }

[[published]]
table = "Table 1"
row = "[b]"
metric = "error"
value = 1.5
source = "a paper"
where = { dataset = "absent:Absent" }
"""

ABSENT = """
from capsbench.data.base import Dataset
from capsbench.errors import Kind, UsageError
from capsbench.data import ImageShape

class Absent(Dataset):
    image, classes = ImageShape(1, 8, 8), 10

    def load(self, folder):
        raise UsageError(Kind.MISSING, "not to be had", file="absent.npy")
"""


@pytest.mark.usefixtures("in_one_process", "without_pictures")
def test_a_suite_runs_without_the_data_that_is_not_there_and_stands_beside_the_paper(capsbench, tmp_path):
    (tmp_path / "mine.toml").write_text(SUITE)
    (tmp_path / "absent.py").write_text(ABSENT)
    plan = capsbench("run", "--suite", "mine.toml", "--dry-run", "--json", cwd=tmp_path)
    assert len(json.loads(plan.stdout)["cells"]) == 2
    assert json.loads(plan.stdout)["left_out"] == {"absent:Absent": "absent.npy: not to be had"}

    done = capsbench("run", "--suite", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out, 2 cells of absent:Absent: absent.npy: not to be had" in done.stderr
    assert "2 of 2 cells on record in results; left out, since they cannot be loaded: absent:Absent" in done.stdout

    shown = capsbench("report", "--suite", "mine.toml", cwd=tmp_path).stdout
    assert "Paper against measured" in shown
    (a,), (b,) = ([line for line in shown.splitlines() if name in line] for name in ("[a]", "[b]"))
    assert a.rstrip().endswith(("inside", "outside"))  # by the two seeds of a network that is hardly trained
    assert "no data here" in b
    assert "absent:Absent was left out of a run: absent.npy: not to be had" in shown
    assert "published.csv" in shown


@pytest.mark.parametrize("asked", [["--dataset", "absent:Absent"], ["--suite", "absent.toml"]])
def test_a_run_without_any_data_is_exit_code_2(capsbench, tmp_path, asked):
    (tmp_path / "absent.py").write_text(ABSENT)
    (tmp_path / "absent.toml").write_text('dataset = "absent:Absent"\n')
    done = capsbench("run", "--routing", "dynamic", "--baseline", "none", *asked, cwd=tmp_path)
    assert done.returncode == 2
    assert "absent.npy: not to be had" in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.mark.usefixtures("in_one_process")
def test_flags_override_the_suite(capsbench, results):
    (results / "mine.toml").write_text(
        'routing = ["em"]\niters = [1, 2]\nseeds = [0]\nbaseline = "none"\n[axis]\nrows = [3]\n'
    )
    done = capsbench("run", "--suite", "mine.toml", "--iters", "3", "--dry-run", "--json", cwd=results)
    (cell,) = json.loads(done.stdout)["cells"]
    assert (cell["routing"], cell["iterations"], cell["options"]["network.rows"]) == ("em", 3, 3)


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.parametrize(
    "given", [["--squash", "sabour,unit"], ["--squash=sabour,unit"], ["--axis", "squash=sabour,unit"]]
)
def test_an_option_is_a_flag_that_sweeps(capsbench, tmp_path, given):
    asked = ["run", "--routing", "dynamic", "--seeds", "0", "--baseline", "none", "--dry-run", "--json"]
    cells = json.loads(capsbench(*asked, *given, cwd=tmp_path).stdout)["cells"]
    assert [cell["options"]["routing.squash"] for cell in cells] == ["sabour", "unit"]
    assert [cell["options"]["network.squash"] for cell in cells] == ["sabour", "unit"]


@pytest.mark.usefixtures("in_one_process")
def test_an_axis_can_be_a_field_too(capsbench, tmp_path):
    asked = ["run", "--routing", "em", "--seeds", "0", "--baseline", "none", "--dry-run", "--json"]
    cells = json.loads(capsbench(*asked, "--axis", "loss=margin,spread", cwd=tmp_path).stdout)["cells"]
    assert [cell["loss"] for cell in cells] == ["margin", "spread"]


def test_list_shows_every_kind(capsbench, tmp_path):
    shown = json.loads(capsbench("list", "--json", cwd=tmp_path).stdout)
    assert {"routing", "network", "baseline", "dataset", "loss", "measure", "tracker", "suite", "row"} == {*shown}
    assert all(text for entries in shown.values() for text in entries.values())
    assert "matrix-capsules" in capsbench("list", "network", cwd=tmp_path).stdout
    everything = capsbench("list", cwd=tmp_path).stdout
    assert all(name in everything for name in ("folder:PATH", "torchvision:NAME", "timm:NAME", "module:Class"))


def test_env_tells_what_a_record_would(capsbench, tmp_path):
    facts = json.loads(capsbench("env", "--json", cwd=tmp_path).stdout)
    assert {"torch", "python", "cpu", "commit", "data folder"} <= {*facts}


def test_every_field_of_a_cell_is_a_flag():
    parameters = app.made.commands["run"].params
    flags = {flag for parameter in parameters for flag in parameter.opts}
    assert {spell_flag(flag) for flag in asked_fields()} <= flags


def test_every_count_has_a_lower_and_an_upper_bound():
    def walk(command):
        yield from command.params
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    counts = [parameter for parameter in walk(app.made) if parameter.type_descriptor.annotation is int]
    assert {"workers", "max_cells", "images", "batch", "threads"} <= {parameter.name for parameter in counts}
    for parameter in counts:
        assert parameter.min == (0 if "seed" in parameter.name else 1), parameter.name
        assert 1 < parameter.max < 2**31, parameter.name


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        pytest.param("run --dry-run --routing em --seeds 0 --epochs 1", "pandas", marks=pytest.mark.slow),
        ("data list", "torch"),
        ("data list --json", "pandas"),
    ],
)
def test_a_quick_command_leaves_out_what_takes_long_to_import(tmp_path, command, absent):
    script = f"import sys; sys.argv = ['capsbench', *{command.split()!r}]; from capsbench.cli.main import main; main()"
    script = f"import atexit, sys; atexit.register(lambda: print({absent!r} in sys.modules, file=sys.stderr)); {script}"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["False"]


def test_without_arguments_there_is_help_and_no_complaint(capsbench, tmp_path):
    done = capsbench(cwd=tmp_path)
    assert "Commands" in done.stdout
    assert (done.returncode, done.stderr) == (2, "")


def test_help_shows_examples(capsbench, tmp_path):
    assert "--routing em --iters 1,2,3" in capsbench("run", "--help", cwd=tmp_path).stdout


@pytest.mark.usefixtures("in_one_process")
def test_a_run_says_which_contenders_have_collapsed(capsbench, monkeypatch, tmp_path):
    asked = [
        "run",
        "--routing",
        "dynamic,em",
        "--baseline",
        "none",
        "--seeds",
        "0",
        "--train-size",
        "20",
        "--epochs",
        "1",
    ]
    asked += ["--measure", "accuracy"]
    done = json.loads(capsbench(*asked, "--json", cwd=tmp_path).stdout)
    store = Store(tmp_path / "results")
    material = Material.from_records(store.records()[0], store)
    marked = material.summary.loc[has_mark(material.summary, COLLAPSED), "routing"]
    assert sorted(title.split()[1] for title in done["collapsed"]) == sorted(marked)
    said = [line for line in capsbench(*asked, cwd=tmp_path).stdout.splitlines() if COLLAPSED.sign in line]
    assert len(said) == (1 if len(marked) else 0)
    assert all(title in said[0] for title in done["collapsed"])
    assert len(marked)  # 20 images and an epoch teach a network next to nothing
