"""Addresses of a Ray that are refused, in one line and in bounded time, before anything is run."""

import re
import socket
import subprocess
import sys

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.running.executors.ray import cluster
from capsbench.running.executors.ray.cluster import check_address, find_fitting


@pytest.mark.parametrize("address", ["", "head", "head:", "ray://head:10001", "head:1:2:x", "a b:1"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "ray_address")


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_an_address_at_which_nothing_answers_is_refused(free_port):
    with pytest.raises(UsageError) as caught:
        check_address(f"127.0.0.1:{free_port}")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (
        Kind.MISSING,
        "ray_address",
        f"127.0.0.1:{free_port}",
    )


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "no-such-host.invalid:6379"])
def test_an_address_that_cannot_exist_is_refused(address):
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "ray_address")


def test_something_else_than_a_ray_is_refused_in_time(monkeypatch):
    """Ray alone tries for minutes."""
    monkeypatch.setattr(cluster, "SECONDS_TO_JOIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(UsageError) as caught:
        check_address(f"127.0.0.1:{listener.getsockname()[1]}")
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "ray_address")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("printed", "kind", "part"),
    [
        ("[gcs] Unauthenticated: RPC error: InvalidAuthToken\nConnectionError: no\n", Kind.INACCESSIBLE, "token"),
        ("[gcs] W\nRuntimeError: Version mismatch: Ray 2.1\n", Kind.MISSING, "Version mismatch: Ray 2.1"),
        ("", Kind.MISSING, "exit code 1"),
    ],
)
def test_the_reason_is_that_of_ray(printed, kind, part, monkeypatch):
    answer = subprocess.CompletedProcess([], 1, "", printed)
    monkeypatch.setattr(cluster.subprocess, "run", lambda *command, **how: answer)
    with pytest.raises(UsageError) as caught:
        check_address("auto")
    assert (caught.value.kind, caught.value.flag) == (kind, "ray_address")
    assert part in str(caught.value)


def test_the_command_says_it_in_one_line(capsbench, tmp_path, free_port):
    arguments = (
        "run",
        "--executor",
        "ray",
        "--ray-address",
        f"127.0.0.1:{free_port}",
        "--routing",
        "em",
        "--iters",
        "1",
    )
    answer = capsbench(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert re.match(r"capsbench: --ray-address 127\.0\.0\.1:\d+: ", line)
    assert "; give the address of the head node, HOST:PORT" in line
    assert not [*tmp_path.iterdir()]


def test_without_the_package_one_line_says_how_to_install_it(capsbench, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name == "ray" or name.startswith(f"{cluster.__package__}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    answer = capsbench("run", "--executor", "ray", "--routing", "em", "--iters", "1", cwd=tmp_path)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert line.startswith("capsbench: --executor ray: ")
    assert "pip install 'capsbench[ray]'" in line


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (("--ray-address", "auto"), "--ray-address"),
        (("--executor", "slurm", "--ray-address", "auto"), "--ray-address"),
        (("--executor", "ray", "--workers", "2"), "--workers"),
        (("--executor", "ray", "--detach"), "--detach"),
    ],
)
def test_flags_of_another_executor_are_refused(arguments, flag, capsbench, tmp_path):
    answer = capsbench("run", "--routing", "em", *arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"capsbench: {flag}")


@pytest.mark.slow
def test_no_other_command_imports_ray():
    program = (
        "import sys, capsbench.api, capsbench.cli.main, capsbench.running.executors.local; print('ray' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


@pytest.mark.parametrize(
    ("threads", "gpus", "fitting"), [(1, 0, "abc"), (4, 0, "bc"), (4, 0.25, "c"), (1, 0.5, "c"), (16, 0, "")]
)
def test_nodes_fit_a_job_by_their_cores_and_gpus(threads, gpus, fitting):
    resources = {"a": {"CPU": 2.0}, "b": {"CPU": 8.0}, "c": {"CPU": 4.0, "GPU": 1.0}}
    nodes = [{"NodeID": name, "Resources": values} for name, values in resources.items()]
    assert "".join(node["NodeID"] for node in find_fitting(nodes, threads, gpus)) == fitting
