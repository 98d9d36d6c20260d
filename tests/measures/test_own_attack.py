"""The worked example of docs/own-attack.md: a user's own attacks count in the worst case, and have rows of their own."""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import capsbench
from capsbench.attacks.adapter import ATTACKS, Attack, attack_images
from capsbench.attacks.own import add_attacks
from capsbench.attacks.plan import Plan
from capsbench.attacks.threats import OWN_LOSS
from capsbench.errors import ArgumentError, TrainingFailed
from capsbench.measures.adversarial.measure import Adversarial
from capsbench.measures.build import make_measure
from capsbench.records.store import Store

pytest.importorskip("torchattacks")

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-attack.md"
WORST = "Linf, worst case"
ASKED = dict(network="resnet", size="tiny", seeds=0, train_size=100, epochs=2, device="cpu")
BREAK_ALL = """
import torch
from capsbench.measures.adversarial.measure import Adversarial


def make_inverse(network, epsilon, steps):
    def attack(images, labels):
        with torch.enable_grad():
            leaf = images.clone().requires_grad_()
            torch.nn.functional.cross_entropy(network(leaf), labels).backward()
        return (images + epsilon * leaf.grad.sign()).clamp(0, 1)

    return attack


def make_wrong(network, epsilon, steps):
    return lambda images, labels: (1 - images)


class Attacked(Adversarial):
    own_attacks = {"inverse": make_inverse, "wrong": make_wrong}
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("attacking", None)


def read_rows(folder):
    (record,) = Store(folder).records()[0]
    assert record.failures == {}
    return record, {(row.metric, row.condition, row.level): row.value for row in record.rows}


@pytest.mark.usefixtures("in_one_process")
def test_the_worked_attacks_run_and_are_in_the_report(work):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    (work / "attacking.py").write_text(code)
    capsbench.run(out="results", **ASKED, measure="attacking:Attacked:quick")
    record, rows = read_rows("results")
    worst = min(value for (metric, condition, level), value in rows.items() if condition == WORST and level == 0.05)
    for name in ("sign-descent", "foolbox-bim", "darker"):
        assert rows["robust accuracy", f"Linf, {name}, logits, own loss", 0.05] >= worst
        assert ("invalid images", f"Linf, {name}, logits, own loss", 0.05) not in rows
    assert {row.measure for row in record.measures["attacking:Attacked:quick"].rows} == {"adversarial"}
    assert "broken.Linf" in Store("results").kept(record, "adversarial")
    # The strongest of all attacks is what "who won" compares.
    report = capsbench.report("results", formats=["csv"])
    assert len(report.summary) == 1
    table = pd.read_csv("results/report/adversarial.csv")
    assert table["own attacks"].tolist() == ["darker; foolbox-bim; sign-descent"]
    table = capsbench.load("results")
    assert {"Linf, darker, logits, own loss", WORST} <= {*table[table["measure"] == "adversarial"]["condition"]}


@pytest.mark.usefixtures("in_one_process")
def test_what_an_own_attack_breaks_counts_in_the_worst_case_and_what_is_invalid_does_not(work):
    (work / "attacking.py").write_text(BREAK_ALL)
    capsbench.run(out="results", **ASKED, measure="attacking:Attacked:quick")
    _, rows = read_rows("results")
    clean = rows["robust accuracy", WORST, 0.0]
    assert rows["robust accuracy", WORST, 0.05] <= rows["robust accuracy", "Linf, inverse, logits, own loss", 0.05]
    # Beyond epsilon: no image counts as broken.
    assert rows["robust accuracy", "Linf, wrong, logits, own loss", 0.05] == clean
    assert rows["invalid images", "Linf, wrong, logits, own loss", 0.05] > 0


def make_nothing(network, epsilon, steps):
    return lambda images, labels: images


def take_steps_last(network, epsilon, alpha=0.1, steps=10):
    return make_nothing(network, epsilon, steps)


@pytest.mark.parametrize(
    "own",
    [
        {"pgd": make_nothing},
        {"": make_nothing},
        {"a,b": make_nothing},
        {1: make_nothing},
        {"mine": 3},
        {"mine": len},
        {"mine": take_steps_last},  # the steps would be its alpha
        [make_nothing],
    ],
)
def test_names_and_values_that_are_none_are_refused_before_a_measure_is_taken(own):
    before = {*ATTACKS}
    with pytest.raises(ArgumentError), add_attacks(own):
        pass
    assert {*ATTACKS} == before
    with pytest.raises(ArgumentError):
        type("Attacked", (Adversarial,), {"own_attacks": own})("quick")


def test_attacks_are_there_in_the_block_alone():
    with add_attacks({"mine": make_nothing}):
        assert "mine" in ATTACKS
    assert "mine" not in ATTACKS
    assert make_measure("adversarial").own_attacks == {}


IMAGES, LABELS = torch.full((4, 1, 2, 3), 0.5), torch.arange(4)


def attack_by(make):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 4))
    with add_attacks({"mine": make}):
        return attack_images(Attack("mine", epsilon=0.1, loss=OWN_LOSS, steps=3), network, IMAGES, LABELS, seed=0)


@pytest.mark.parametrize(
    "returned",
    [None, IMAGES.numpy(), IMAGES[:1], IMAGES[:, :, :1], IMAGES[0], (IMAGES, LABELS)],  # some would broadcast
)
def test_what_is_no_tensor_of_the_shape_of_the_images_is_refused_by_the_name_of_the_attack(returned):
    with pytest.raises(TrainingFailed, match=r"'mine'.*4, 1, 2, 3"):
        attack_by(lambda network, epsilon, steps: lambda images, labels: returned)
    with pytest.raises(TrainingFailed, match="'mine'"):
        attack_by(lambda network, epsilon, steps: returned)


def test_an_error_of_an_own_attack_names_it():
    def fail(*arguments):
        raise KeyError("gradient")

    for make in (fail, lambda network, epsilon, steps: fail):
        with pytest.raises(RuntimeError, match="'mine': KeyError: 'gradient'") as caught:
            attack_by(make)
        assert isinstance(caught.value.__cause__, KeyError)


def test_a_batch_that_is_too_large_for_the_memory_of_an_own_attack_is_halved():
    sizes = []

    def run(images, labels):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("full")
        return images

    assert not attack_by(lambda network, epsilon, steps: run).invalid.any()
    assert {*sizes[:-2]} == {4}
    assert sizes[-2:] == [2, 2]


@pytest.mark.usefixtures("in_one_process")
def test_an_own_attack_that_fails_does_so_before_the_others_run(work, monkeypatch):
    (work / "attacking.py").write_text(BREAK_ALL.replace("epsilon * leaf", "epsilom * leaf"))
    ran = []
    monkeypatch.setattr(Plan, "run_table", lambda plan: ran.append(plan))
    outcome = capsbench.run(out="results", **ASKED, measure="attacking:Attacked:quick")
    assert "'inverse': NameError" in outcome.failed[0].reason
    assert ran == []
