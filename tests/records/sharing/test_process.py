"""Processes told apart across machines."""

import os
import subprocess
import sys

from capsbench.records.sharing.process import identify_process, machine_token


def test_a_process_is_dead_once_it_has_ended_or_its_number_is_used_again():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = identify_process(child.pid)
    assert not process.is_dead
    assert process._replace(born="1").is_dead
    child.communicate(b"\n")
    assert process.is_dead


def test_a_process_of_another_machine_is_not_known_to_be_dead():
    process = identify_process(os.getpid())
    assert not process._replace(host="elsewhere", born="1").is_dead
    assert not process._replace(boot="another", born="1").is_dead


def test_the_token_of_the_machine_is_the_same_in_each_of_its_processes():
    script = "from capsbench.records.sharing.process import machine_token; print(machine_token())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == machine_token()
    assert len(machine_token()) == 8
