"""Runs of tiny cells in real processes: what is finished is kept, whatever happens to the rest."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

import capsbench
from capsbench.errors import Kind, TrainingFailed, UsageError
from capsbench.measures.accuracy.spec import SPEC
from capsbench.planning.count import MOST_WORKERS
from capsbench.planning.matrix import plan_cells
from capsbench.records.record import TRAINING
from capsbench.records.store import Store
from capsbench.registry import source_digest
from capsbench.running.cell_job import run_cell
from capsbench.running.events import (
    CellEnded,
    DataLeftOut,
    JobReported,
    Measured,
    MeasureLeftOut,
    Measuring,
    MeasuringAlone,
    MeasuringBetween,
    Remarked,
    RunStarted,
)
from capsbench.running.executors.local import default_workers
from capsbench.running.runner import Runner

QUICK = dict(train_size=40, epochs=1, measure="accuracy", baseline="none")


NARROWED = dict(train_size=40, epochs=1, measure="accuracy", baseline="none")


class Silent:
    """A listener that remembers a tuple of facts for each event."""

    def __init__(self):
        self.told = []

    def notify(self, event):
        match event:
            case Remarked(remark):
                self.told.append(("remark", remark))
            case DataLeftOut(dataset, cells, reason):
                self.told.append(("left out", dataset, cells, reason))
            case MeasureLeftOut(measure, reason):
                self.told.append(("left out", measure, reason))
            case RunStarted(cells, on_record):
                self.told.append(("run", len(cells), len(on_record)))
            case JobReported(cell, job_event):
                self.told.append(("job", cell.seed, job_event))
            case CellEnded(record):
                self.told.append((record.status, record.cell.seed))
            case MeasuringBetween(measure, networks):
                self.told.append(("between", measure, networks))
            case MeasuringAlone(_, measures):
                self.told.append(("alone", *measures))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def run(store, tmp_path, listener=None, **request):
    planned = plan_cells({**QUICK, **request})
    outcome = Runner(planned, store, tmp_path, listener or Silent()).run()
    return outcome, [each.cell for each in planned]


def test_a_run_leaves_a_record_a_cell_and_is_not_repeated(store, tmp_path):
    listener = Silent()
    outcome, cells = run(store, tmp_path, listener, routing="dynamic", iters="1,2", seeds=0)
    assert sorted(outcome.finished) == sorted(cell.id for cell in cells)
    record = store.read(cells[0].id)
    assert {"commit", "torch", "cpu"} <= {*record.provenance}
    assert record.training.backends == ["cpu"]
    assert record.training.seconds > 0
    assert record.training.run == record.measures["accuracy"].run == 1
    assert record.request == {"routing": "dynamic", "iters": 1, "seeds": 0, **NARROWED}
    assert listener.told[0] == ("run", 2, 0)
    assert ("finished", 0) in listener.told

    before = store.record_path(cells[0].id).read_bytes()
    outcome, _ = run(store, tmp_path, routing="dynamic", iters="1,2,3", seeds=0)
    assert sorted(outcome.on_record) == sorted(cell.id for cell in cells)
    assert len(outcome.finished) == 1
    assert store.record_path(cells[0].id).read_bytes() == before


def test_the_same_cell_twice_gives_the_same_bits(store, tmp_path):
    _, (cell,) = run(store, tmp_path, routing="em", iters=2, seeds=5)
    weights, record = store.weights_path(cell.id).read_bytes(), store.read(cell.id)
    Runner(plan_cells({**QUICK, "routing": "em", "iters": 2, "seeds": 5}), store, tmp_path, Silent(), fresh=True).run()
    assert store.weights_path(cell.id).read_bytes() == weights
    again, before = ({row[:3]: row.value for row in made.rows} for made in (store.read(cell.id), record))
    assert again.pop(("training", "start", "network")) > 0
    assert before.pop(("training", "start", "network")) > 0
    assert again.pop(("training", "duration", "network")) > 0
    assert before.pop(("training", "duration", "network")) > 0
    assert again == before


@pytest.mark.usefixtures("in_one_process")
def test_speed_is_measured_alone_after_the_training(store, tmp_path):
    listener = Silent()
    outcome, (cell,) = run(store, tmp_path, listener, routing="dynamic", seeds=0, measure="accuracy,speed")
    assert outcome.finished == [cell.id]
    kinds = [told[0] for told in listener.told]
    assert kinds.index("trained") < kinds.index("alone")
    assert {row.measure for row in store.read(cell.id).rows} == {"training", "accuracy", "speed"}


@pytest.mark.usefixtures("in_one_process")
def test_a_trained_cell_is_only_measured(store, tmp_path):
    _, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0, measure="accuracy,speed")
    record = store.read(cell.id)
    store.write(replace(record, measures={"accuracy": record.measures["accuracy"]}))
    listener = Silent()
    run(store, tmp_path, listener, routing="dynamic", seeds=0, measure="accuracy,speed")
    kinds = [type(told[-1]) if told[0] == "job" else told[0] for told in listener.told]
    assert kinds == ["run", "alone", Measuring, Measured]
    assert store.read(cell.id).status == "finished"


@pytest.mark.usefixtures("in_one_process")
def test_a_failing_cell_is_recorded_with_its_reason_and_the_rest_go_on(store, tmp_path):
    outcome, cells = run(store, tmp_path, routing="em", seeds=0, lr="1e30,0.001", schedule="constant")
    (failed,) = outcome.failed
    assert failed.cell.learning_rate == 1e30
    assert failed.reason == "the network's scores are not finite after epoch 1"
    assert len(outcome.finished) == len(cells) - 1
    assert store.read(failed.cell.id).status == "failed"


FAULTY = """
from capsbench.measures import Measure

class Faulty(Measure):
    alone = True

    def __call__(self, subject):
        raise RuntimeError("no such luck")
"""


@pytest.mark.usefixtures("in_one_process")
def test_a_measure_that_fails_takes_nothing_away(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faulty.py").write_text(FAULTY)
    outcome, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0, measure="accuracy,faulty:Faulty")
    (failed,) = outcome.failed
    record = store.read(cell.id)
    assert failed.reason == record.reason == "faulty:Faulty: RuntimeError: no such luck"
    noted = record.failures["faulty:Faulty"]
    assert noted.reason == "RuntimeError: no such luck"
    assert "raise RuntimeError" in noted.trace
    assert {row.measure for row in record.rows} == {"training", "accuracy"}


@pytest.mark.usefixtures("in_one_process")
def test_a_measure_that_was_mended_gives_each_number_once(store, tmp_path, monkeypatch):
    """The first measure ran well beside the one that failed, and is taken again with it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xmoody.py").write_text(
        FAULTY.replace("Faulty", "Moody").replace(
            'raise RuntimeError("no such luck")',
            "from pathlib import Path; return [] if Path('mended').exists() else 1 / 0",
        )
    )
    wanted = dict(routing="dynamic", seeds=0, measure="accuracy,speed,xmoody:Moody")
    outcome, (cell,) = run(store, tmp_path, **wanted)
    assert "division by zero" in outcome.failed[0].reason
    (tmp_path / "mended").touch()
    outcome, _ = run(store, tmp_path, **wanted)
    assert outcome.finished == [cell.id]
    record = store.read(cell.id)
    named = [row[:3] for row in record.rows]
    assert len(named) == len(set(named))
    assert record.reason == ""
    assert record.failures == {}


BETWEEN = """
from capsbench.measures.base import MeasureBetween
from capsbench.records.record import Row

class Agreement(MeasureBetween):
    def between(self, source, targets):
        images = source.data.test.images
        said = [target.network.eval()(images).argmax(dim=1) for target in (source, *targets)]
        agree = [float((each == said[0]).double().mean()) for each in said[1:]]
        return [[Row("agreement", "agreement", source.cell.id, share, "fraction")] for share in agree]
"""


@pytest.mark.usefixtures("in_one_process")
def test_a_measure_between_networks_is_taken_of_each_pair_once(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.py").write_text(BETWEEN)
    wanted = dict(routing="dynamic", measure="accuracy,pairs:Agreement", seeds="0,1")
    listener = Silent()
    outcome, cells = run(store, tmp_path, listener, **wanted)
    assert sorted(outcome.finished) == sorted(cell.id for cell in cells)
    assert listener.told[-1] == ("between", "pairs:Agreement", 2)
    table = capsbench.load(store.folder).query("measure == 'agreement'")
    assert sorted(zip(table["condition"], table["cell"], strict=True)) == sorted(
        (source.id, target.id) for source in cells for target in cells
    )
    assert (table[table["condition"] == table["cell"]]["value"] == 1).all()
    assert (table[table["condition"] != table["cell"]]["value"] < 1).all()

    path = store.between_path("pairs:Agreement", cells[0].id, cells[1].id)
    before = path.read_bytes()
    taken = [record.measures["pairs:Agreement"].data for record in store.add_between(store.records()[0])]
    assert taken == [store.read(cell.id).measures["accuracy"].data for cell in cells]
    run(store, tmp_path, **{**wanted, "seeds": "0,1,2"})
    assert path.read_bytes() == before
    assert len(capsbench.load(store.folder).query("measure == 'agreement'")) == 9


@pytest.mark.usefixtures("in_one_process")
def test_a_damaged_measure_between_networks_is_taken_again(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "couples.py").write_text(BETWEEN)
    wanted = dict(routing="dynamic", measure="couples:Agreement", seeds="0,1")
    outcome, cells = run(store, tmp_path, **wanted)
    assert len(outcome.finished) == 2
    path = store.between_path("couples:Agreement", cells[0].id, cells[1].id)
    before = path.read_bytes()
    path.write_bytes(before[:20])
    assert len(capsbench.load(store.folder).query("measure == 'agreement'")) == 3
    run(store, tmp_path, **wanted)
    assert path.read_bytes() == before


SEVERAL = """
import os
from pathlib import Path

from capsbench.measures import Measure
from capsbench.records.record import Row

class Loud(Measure):
    def __call__(self, subject):
        raise RuntimeError("too loud")

class Quiet(Measure):
    def __call__(self, subject):
        raise RuntimeError("too quiet")

class Deadly(Measure):
    alone = True

    def __call__(self, subject):
        os._exit(3)

class Honest(Measure):
    def __call__(self, subject):
        return [Row("honest", "truth", "test", 1.0, "fraction")]

class Steady(Honest):
    alone = True

    def __call__(self, subject):
        (record,) = Path("results/records").glob("*.json")
        assert "died" in record.read_text()  # what came before it, alone too, is on record by now
        return []
"""


def test_all_measures_of_a_cell_that_fail_are_told_and_on_record(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "several.py").write_text(SEVERAL)
    names = ("Loud", "Quiet", "Deadly", "Honest", "Steady")
    specs = [f"several:{name}" for name in names]
    outcome, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0, measure=specs)
    record = store.read(cell.id)
    assert [each.reason for each in outcome.failed] == [record.reason]
    assert record.reason == (
        "several:Loud: RuntimeError: too loud; several:Quiet: RuntimeError: too quiet; "
        "several:Deadly: the process died: exit code 3"
    )
    assert sorted(record.measured) == ["several:Honest", "several:Steady"]
    assert record.status == "trained"


@pytest.mark.usefixtures("in_one_process")
def test_what_failed_alike_is_told_once(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "muted.py").write_text(SEVERAL.replace("too loud", "too quiet"))
    _, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0, measure=["muted:Loud", "muted:Quiet"])
    assert store.read(cell.id).reason == "muted:Loud, muted:Quiet: RuntimeError: too quiet"


@pytest.mark.usefixtures("in_one_process")
def test_a_measure_between_networks_that_fails_is_on_record_until_it_is_taken(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mended = "        from pathlib import Path\n        assert Path('mended').exists() or source.cell.seed, 'not yet'\n"
    (tmp_path / "trios.py").write_text(BETWEEN.replace("        images =", mended + "        images ="))
    wanted = dict(routing="dynamic", measure="accuracy,trios:Agreement", seeds="0,1")
    reason = "trios:Agreement: AssertionError: not yet"
    outcome, cells = run(store, tmp_path, **wanted)
    for _ in range(2):
        (failed,) = outcome.failed
        record = store.read(failed.cell.id)
        assert (failed.cell.seed, failed.reason, record.reason, record.status) == (0, reason, reason, "finished")
        assert outcome.finished + outcome.on_record == [cell.id for cell in cells if cell.seed == 1]
        assert outcome.left == []
        assert capsbench.report(store.folder, formats=["md"]).failed == [(failed.cell.title, reason)]
        outcome, _ = run(store, tmp_path, **wanted)
    (tmp_path / "mended").touch()
    outcome, _ = run(store, tmp_path, **wanted)
    assert outcome.failed == []
    assert sorted(outcome.on_record) == sorted(cell.id for cell in cells)
    records = [store.read(cell.id) for cell in cells]
    code = source_digest("measure", "trios:Agreement")
    assert all(store.has_between("trios:Agreement", one, other, 1, code) for one in records for other in records)
    assert store.read(failed.cell.id).reason == ""


CLASHING = """
from capsbench.measures import Measure
from capsbench.records.record import Row

class Clashing(Measure):
    def __call__(self, subject):
        return [Row("accuracy", "mine", "test", 0.5, "fraction")]
"""


@pytest.mark.usefixtures("in_one_process")
def test_rows_by_the_name_of_another_measure_are_refused(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clashing.py").write_text(CLASHING)
    outcome, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0, measure="accuracy,clashing:Clashing")
    (failed,) = outcome.failed
    assert failed.reason == ("clashing:Clashing: gave a row of the name 'accuracy', which is another measure's")
    assert "accuracy" in {row.measure for row in store.read(cell.id).rows}


@pytest.mark.usefixtures("in_one_process")
def test_what_was_measured_between_networks_goes_with_the_weights(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twins.py").write_text(BETWEEN)
    wanted = dict(routing="dynamic", measure="accuracy,twins:Agreement", seeds="0,1")
    run(store, tmp_path, **wanted)
    _, (cell,) = run_fresh(store, tmp_path, **{**wanted, "seeds": 0, "measure": "accuracy"})
    one, other = (store.read(each.cell.id) for each in plan_cells({**QUICK, **wanted}))
    code = source_digest("measure", "twins:Agreement")
    assert one.cell == cell
    left = [(a, b) for a in (one, other) for b in (one, other) if store.has_between("twins:Agreement", a, b, 1, code)]
    assert left == [(other, other)]
    assert store.kept(one, "accuracy") != {}


def run_fresh(store, tmp_path, **request):
    planned = plan_cells({**QUICK, **request})
    return Runner(planned, store, tmp_path, Silent(), fresh=True).run(), [each.cell for each in planned]


@pytest.mark.usefixtures("in_one_process")
def test_a_fresh_run_that_fails_leaves_the_old_record(store, tmp_path, monkeypatch):
    _, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0)
    before, weights = store.read(cell.id), store.weights_path(cell.id).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(
            "capsbench.running.executors.local.in_processes",
            lambda jobs, *_: ((job.name, TrainingFailed("bad")) for job in jobs),
        )
        outcome, _ = run_fresh(store, tmp_path, routing="dynamic", seeds=0)
    assert [record.reason for record in outcome.failed] == ["bad"]
    record = store.read(cell.id)
    assert (record.training, record.measures) == (before.training, before.measures)
    assert store.weights_path(cell.id).read_bytes() == weights
    assert (record.is_outdated, record.failures[TRAINING].run) == (True, 2)

    outcome, _ = run(store, tmp_path, routing="dynamic", seeds=0)  # not "on record"
    assert outcome.finished == [cell.id]
    assert store.read(cell.id).failures == {}


class Interrupting(Silent):
    """Stops a run as Ctrl-C does, once so many cells have ended."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def notify(self, event):
        super().notify(event)
        if isinstance(event, CellEnded) and [kind for kind, *_ in self.told].count("finished") == self.after:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("in_one_process")
def test_what_a_fresh_run_leaves_is_made_anew_by_the_same_run_that_is_not_fresh(store, tmp_path):
    wanted = dict(routing="dynamic", seeds="0,1,2")
    _, cells = run(store, tmp_path, **wanted)

    def trained_by():
        return [store.read(cell.id).training.run for cell in cells]

    outcome = Runner(plan_cells({**QUICK, **wanted}), store, tmp_path, Interrupting(after=1), fresh=True).run()
    assert (outcome.interrupted, len(outcome.left), trained_by().count(2)) == (True, 2, 1)
    assert sorted(store.runs()[-1].anew) == sorted(cell.id for cell in cells)
    assert capsbench.report(store.folder, formats=["md"]).document.unfinished.outdated == 2

    left = [cell for cell, by in zip(cells, trained_by(), strict=True) if by == 1]
    outcome, _ = run(store, tmp_path, routing="dynamic", seeds=str(left[0].seed))  # a part of it
    assert outcome.finished == [left[0].id]
    listener = Silent()
    outcome, _ = run(store, tmp_path, listener, **wanted)
    (event, remark), started = listener.told[:2]
    assert (event, started) == ("remark", ("run", 3, 2))
    assert remark.startswith("1 cell is trained again")
    assert (outcome.finished, store.runs()[-1].anew) == ([left[1].id], [left[1].id])
    assert sorted(trained_by()) == [2, 3, 4]
    outcome, _ = run(store, tmp_path, **wanted)
    assert (len(outcome.on_record), store.runs()[-1].anew) == (3, [])


@pytest.mark.usefixtures("in_one_process")
def test_between_the_networks_of_a_fresh_run_none_of_before_stands_in_for_one_that_failed(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quads.py").write_text(BETWEEN)
    wanted = dict(routing="dynamic", measure="quads:Agreement", seeds="0,1")
    _, cells = run(store, tmp_path, **wanted)

    def run_but_one(planned, *arguments):
        if planned.cell.seed == 1:
            raise TrainingFailed("bad")
        return run_cell(planned, *arguments)

    monkeypatch.setattr("capsbench.running.runner.run_cell", run_but_one)
    run_fresh(store, tmp_path, **wanted)
    code = source_digest("measure", "quads:Agreement")
    one, other = (store.read(cell.id) for cell in cells)
    left = [(a, b) for a in (one, other) for b in (one, other) if store.has_between("quads:Agreement", a, b, 1, code)]
    assert left == [(one, one), (other, other)]


@pytest.mark.usefixtures("in_one_process")
def test_a_missing_measure_is_refused_where_the_weights_are_gone(store, tmp_path):
    _, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0)
    before = store.record_path(cell.id).read_bytes()
    store.weights_path(cell.id).unlink()
    with pytest.raises(UsageError) as caught:
        run(store, tmp_path, routing="dynamic", seeds=0, measure="accuracy,affine:quick")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "measure", "affine:quick")
    assert store.record_path(cell.id).read_bytes() == before
    assert run(store, tmp_path, routing="dynamic", seeds=0)[0].on_record == [cell.id]
    outcome, _ = run_fresh(store, tmp_path, routing="dynamic", seeds=0, measure="accuracy,affine:quick")
    assert outcome.finished == [cell.id]


@pytest.mark.parametrize("workers", [-1, 0, MOST_WORKERS + 1])
def test_no_workers_and_too_many_are_refused(tmp_path, workers):
    for call in (partial(capsbench.run, out=tmp_path), partial(capsbench.measure, tmp_path)):
        with pytest.raises(UsageError) as caught:
            call(measure="accuracy", workers=workers)
        assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, "workers", workers)


@pytest.mark.usefixtures("in_one_process")
def test_a_damaged_record_is_made_again(store, tmp_path):
    _, (cell,) = run(store, tmp_path, routing="dynamic", seeds=0)
    store.record_path(cell.id).write_text('{"schema": 1')
    outcome, _ = run(store, tmp_path, routing="dynamic", seeds=0)
    assert outcome.finished == [cell.id]
    assert store.read(cell.id).status == "finished"


def test_what_cannot_run_is_refused_before_anything_is_written(store, tmp_path):
    with pytest.raises(UsageError) as caught:
        run(store, tmp_path, routing="dynamic", train_size=10_000_000)
    assert caught.value.flag == "train_size"
    assert not store.folder.exists()


@pytest.mark.usefixtures("in_one_process")
@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nothing_that_was_finished(capsbench, tmp_path):
    asked = ["run", "--routing", "dynamic", "--seeds", "0,1,2", "--workers", "1"]
    asked += ["--train-size", "200", "--epochs", "4", "--measure", "accuracy", "--baseline", "none", "--out", "out"]
    command = [sys.executable, "-m", "capsbench", *asked]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    store = Store(tmp_path / "out")
    deadline = time.monotonic() + 120
    while not (done := [r for r in store.records()[0] if r.status == "finished"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(done) in (1, 2)
    assert store.records()[1] == []
    again = capsbench(*asked, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "on record already" in again.stderr
    assert len(store.records()[0]) == 3


@pytest.mark.slow
def test_ctrl_c_ends_soon_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "capsbench", "run", "--routing", "em", "--seeds", "0", "--epochs", "500"]
    command += ["--baseline", "none", "--out", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / "runs").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)  # 500 epochs take minutes
    assert process.returncode == 130
    assert "run the same command again: capsbench run --routing em" in output


def test_as_many_networks_at_a_time_as_fill_the_cores(monkeypatch):
    monkeypatch.setattr("capsbench.running.executors.local.usable_cores", lambda: 8)
    (planned,) = plan_cells({**QUICK, "routing": "dynamic", "seeds": 0})
    assert default_workers([planned]) == 8
    assert default_workers([replace(planned, cell=planned.cell.model_copy(update={"threads": 3}))]) == 2
    assert default_workers([replace(planned, device="cuda")]) == 1


ABSENT = """
from capsbench.data.base import Dataset
from capsbench.errors import Kind, UsageError
from capsbench.data import ImageShape

class Absent(Dataset):
    image, classes = ImageShape(1, 8, 8), 10

    def load(self, folder):
        raise UsageError(Kind.MISSING, "not to be had", file="absent.npy")
"""


@pytest.fixture
def with_absent(tmp_path, monkeypatch):
    """A module of a data set that cannot be had, in the folder one works in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "absent.py").write_text(ABSENT)


@pytest.mark.usefixtures("with_absent", "in_one_process")
def test_cells_without_data_are_left_out_where_that_is_asked_for(store, tmp_path):
    listener = Silent()
    cells = plan_cells({**QUICK, "routing": "dynamic", "seeds": "0,1", "dataset": "digits,absent:Absent"})
    outcome = Runner(cells, store, tmp_path, listener, suite="mine.toml", leave_out=True).run()
    assert outcome.left_out == {"absent:Absent": "absent.npy: not to be had"}
    assert [store.read(cell).cell.dataset for cell in outcome.finished] == ["digits"] * 2
    assert listener.told[:2] == [("left out", "absent:Absent", 2, "absent.npy: not to be had"), ("run", 2, 0)]
    (noted,) = store.runs()
    assert (noted.suite, noted.left_out) == ("mine.toml", outcome.left_out)
    assert sorted(noted.cells) == sorted(outcome.finished)


@pytest.mark.usefixtures("with_absent")
def test_a_data_set_that_cannot_be_had_ends_the_run_otherwise(store, tmp_path):
    cells = plan_cells({**QUICK, "routing": "dynamic", "seeds": 0, "dataset": "digits,absent:Absent"})
    with pytest.raises(UsageError) as caught:
        Runner(cells, store, tmp_path, Silent()).run()
    assert (caught.value.kind, caught.value.file) == (Kind.MISSING, Path("absent.npy"))
    with pytest.raises(UsageError) as caught:
        Runner(
            [each for each in cells if each.cell.dataset != "digits"], store, tmp_path, Silent(), leave_out=True
        ).run()
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "dataset", "absent:Absent")
    assert "absent.npy: not to be had" in caught.value.problem
    assert not store.folder.exists()


def test_too_large_a_train_size_is_no_missing_data(store, tmp_path):
    cells = plan_cells({**QUICK, "routing": "dynamic", "seeds": 0, "train_size": 10_000_000})
    with pytest.raises(UsageError) as caught:
        Runner(cells, store, tmp_path, Silent(), leave_out=True).run()
    assert caught.value.flag == "train_size"


@pytest.mark.usefixtures("in_one_process")
def test_iterations_of_what_routes_once_are_remarked_on(tmp_path, monkeypatch):
    told = Silent()
    monkeypatch.setattr("capsbench.api.make_progress", lambda console: nullcontext(told))
    wanted = {**QUICK, "seeds": 0, "out": tmp_path / "out"}
    capsbench.run(routing="dynamic,uniform", iters="1,2", **wanted)
    (event, remark), run = told.told[:2]
    assert (event, run) == ("remark", ("run", 3, 0))
    assert all(fact in remark for fact in ("--iters 1,2", "uniform", "x1"))
    told.told.clear()
    capsbench.run(routing="dynamic", iters="1,2", **wanted)
    assert told.told == [("run", 2, 2)]


def test_from_python_as_on_the_command_line(tmp_path):
    outcome = capsbench.run(routing="uniform", seeds=[0, 1], out=tmp_path / "out", **QUICK)
    table = capsbench.load(tmp_path / "out")
    assert len(outcome.finished) == 2
    assert set(table.loc[table["condition"] == "test", "metric"]) == {metric.name for metric in SPEC.metrics}
