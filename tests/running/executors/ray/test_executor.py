"""Jobs as tasks of Ray: what they find on a node that shares no disk with the command, and what comes back.

The tests share one Ray, to which this process is connected. The executor treats it as a cluster: nothing of this machine's
folders is told to a node.
"""

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from capsbench import registry
from capsbench.errors import Kind, ProcessFailed, TrainingFailed, UsageError
from capsbench.records.record import Artifact
from capsbench.records.sharing.process import NODE
from capsbench.records.store import Store
from capsbench.running.events import Checkpointed, Remarked
from capsbench.running.executors.base import Job, Place, Settings, WorkerLost

ray = pytest.importorskip("ray")

from capsbench.running.executors.ray import cluster, executor  # noqa: E402
from capsbench.running.executors.ray.executor import RayExecutor, read_own_modules  # noqa: E402
from capsbench.running.executors.ray.task import Task  # noqa: E402

OWN = "import helper_of_own\n\nclass Part:\n    value = helper_of_own.VALUE\n"


@pytest.fixture(scope="module")
def ray_here():
    """A Ray whose nodes take turns with no other capsbench on this machine; paths of its sockets have to be short."""
    cluster._silence_ray()
    before = signal.getsignal(signal.SIGTERM)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        ray.init("local", num_cpus=2, **cluster.QUIET)
        signal.signal(signal.SIGTERM, before)
        yield
        ray.shutdown()


@pytest.fixture
def place(tmp_path):
    data = tmp_path / "data"
    (data / "shapes").mkdir(parents=True)
    (data / "shapes/train").write_bytes(b"images")
    return Place(Store(tmp_path / "results"), data)


@pytest.fixture
def own_part(tmp_path, monkeypatch):
    """A user's own part in two modules, in a folder that no node knows."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "part_of_own.py").write_text(OWN)
    (folder / "helper_of_own.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(folder))
    registry.trust(["part_of_own:Part"])
    yield folder
    for name in ("part_of_own", "helper_of_own"):
        sys.modules.pop(name, None)


def look_around(place, send):
    """Returns what a job finds: its folders, its data, its environment."""
    data = {path.name: path.read_bytes() for path in place.data_folder.rglob("*") if path.is_file()}
    variables = os.environ.get("OMP_NUM_THREADS"), os.environ.get(NODE)
    return place.store.folder, place.data_folder, data, variables, place.shared


def import_own(place, send):
    import part_of_own

    return part_of_own.Part.value, str(Path(part_of_own.__file__).parent), registry.is_trusted("part_of_own:Part")


def read_and_write(place, send):
    """Reads a file that came with the job, and sends another one as an event."""
    (before,) = [path.read_bytes() for path in (place.store.folder / "weights").iterdir()]
    path = place.store.folder / "checkpoints/a.safetensors"
    path.parent.mkdir()
    path.write_bytes(before + b" and more")
    send(Remarked("on the way"))
    send(Checkpointed(Artifact("checkpoints/a.safetensors")))
    return "done"


def fail(what, place, send):
    if what == "raise":
        raise TrainingFailed("the loss became nan")
    if what == "exit":
        os._exit(3)
    if what == "worker":  # kills the worker of Ray, the parent of the server of processes
        server = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(server.rpartition(")")[2].split()[1]), signal.SIGKILL)
    while True:
        signal.pause()


def run_all(ray_executor, jobs, **how):
    events = []
    results = dict(ray_executor.run(jobs, lambda name, event: events.append((name, event)), **how))
    return results, events


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_node_knows_nothing_of_the_folders_of_the_command(place, own_part, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    place.store.folder.mkdir()
    (place.store.folder / "weights").mkdir()
    (place.store.folder / "weights/a").write_bytes(b"weights")
    jobs = [
        Job("looks", look_around, (), data=("shapes/train",)),
        Job("imports", import_own, ()),
        Job("writes", read_and_write, (), reads=("weights/a", "weights/absent")),
    ]
    ray_executor = RayExecutor(place, Settings())
    tasks = []
    monkeypatch.setattr(executor, "Task", lambda *parts: tasks.append(Task(*parts)) or tasks[-1])
    results, events = run_all(ray_executor, jobs)
    results_folder, data_folder, data, variables, shared = results["looks"]
    assert (data, variables, shared) == ({"train": b"images"}, ("5", socket.gethostname()), True)
    assert results["imports"][0] == 7
    assert results["imports"][2]
    assert results["writes"] == "done"
    assert (place.store.folder / "checkpoints/a.safetensors").read_bytes() == b"weights and more"
    assert [event for _, event in events] == [
        Remarked("on the way"),
        Checkpointed(Artifact("checkpoints/a.safetensors")),
    ]
    for folder in (results_folder, data_folder, Path(results["imports"][1])):
        assert ray_executor.token in str(folder)
        assert not folder.is_relative_to(place.store.folder.parent)
    for task in tasks:
        sent = ray.cloudpickle.dumps(task)
        assert not [folder for folder in (place.store.folder, place.data_folder, own_part) if bytes(folder) in sent]
    ray_executor.close()
    assert not data_folder.exists()
    assert ray.is_initialized()


@pytest.mark.usefixtures("ray_here")
@pytest.mark.slow
def test_each_end_of_a_job_is_told_apart(place):
    jobs = [
        Job("raise", fail, ("raise",)),
        Job("exit", fail, ("exit",)),
        Job("worker", fail, ("worker",)),
        Job("hang", fail, ("hang",), time_limit=0.5),
        Job("looks", look_around, ()),
    ]
    results, _ = run_all(RayExecutor(place, Settings()), jobs)
    assert {name: type(result) for name, result in results.items()} == {
        "raise": TrainingFailed,
        "exit": ProcessFailed,
        "worker": WorkerLost,
        "hang": ProcessFailed,
        "looks": tuple,
    }
    assert "exit code 3" in str(results["exit"])
    assert "time limit" in str(results["hang"])


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_job_alone_has_all_cores_of_a_node(place, monkeypatch):
    ray_executor = RayExecutor(place, Settings())
    needs = []
    options = ray_executor.remote.options
    monkeypatch.setattr(ray_executor, "remote", Recording(options, needs))
    results, _ = run_all(ray_executor, [Job("alone", look_around, ())], alone=True)
    assert (needs[0]["num_cpus"], results["alone"][-1]) == (2, False)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_job_that_waits_for_a_node_of_its_own_shares_one_in_the_end(place, monkeypatch):
    @ray.remote(num_cpus=1)
    class Guest:
        def is_here(self):
            return True

    guest = Guest.remote()
    assert ray.get(guest.is_here.remote())
    monkeypatch.setattr(executor, "SECONDS_FOR_A_NODE", 0.1)
    results, events = run_all(RayExecutor(place, Settings()), [Job("alone", look_around, ())], alone=True)
    ray.kill(guest)
    assert results["alone"][-1]
    assert [type(event) for _, event in events] == [Remarked]


def wait_for_end(place, send):
    """Writes a checkpoint at SIGTERM, and does not end before."""
    path = place.store.folder / "checkpoints/a.safetensors"

    def handle_sigterm(number, frame):
        path.parent.mkdir()
        path.write_bytes(b"the last epoch")
        os._exit(143)

    signal.signal(signal.SIGTERM, handle_sigterm)
    send(Remarked("ready"))
    while True:
        signal.pause()


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("has_ended", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_an_interrupted_job_leaves_a_checkpoint_and_frees_its_cores(place, has_ended):
    def interrupt(name, event):
        raise KeyboardInterrupt

    ray_executor = RayExecutor(place, Settings())
    with pytest.raises(KeyboardInterrupt):
        list(ray_executor.run([Job("waits", wait_for_end, ())], interrupt))
    path = place.store.folder / "checkpoints/a.safetensors"
    if has_ended:  # the head had received a checkpoint, and removed it as the training ended
        ray_executor.received.add("checkpoints/a.safetensors")
    ray_executor.close()
    assert (path.exists(), has_ended or path.read_bytes()) == (not has_ended, has_ended or b"the last epoch")
    results, _ = run_all(RayExecutor(place, Settings()), [Job("alone", look_around, ())], alone=True)  # needs all cores
    assert not results["alone"][-1]


class Recording:
    """A remote function that notes the options of its calls."""

    def __init__(self, options, needs):
        self.call, self.needs = options, needs

    def options(self, **needs):
        self.needs.append(needs)
        return self.call(**needs)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_a_gpu_by_its_number_is_refused(place):
    with pytest.raises(UsageError) as caught:
        run_all(RayExecutor(place, Settings()), [Job("one", look_around, (), device="cuda:1")])
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "device", "cuda:1")


@pytest.mark.slow
def test_modules_are_named_as_they_are_imported(own_part, tmp_path):
    package = own_part / "package_of_own"
    (package / "inner").mkdir(parents=True)
    for path in ("__init__.py", "inner/__init__.py"):
        (package / path).write_text("")
    (package / "inner/deep.py").write_text("from helper_of_own import VALUE\n\nclass Deep:\n    value = VALUE\n")
    assert read_own_modules(["package_of_own.inner.deep:Deep"]).keys() == {
        "package_of_own/__init__.py",
        "package_of_own/inner/__init__.py",
        "package_of_own/inner/deep.py",
        "helper_of_own.py",
    }
    assert read_own_modules(["absent_of_own:Part"]) == {}
