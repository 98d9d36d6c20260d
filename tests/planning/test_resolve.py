"""What a user's own parts declare is checked while a cell is planned."""

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.matrix import plan_cells

NETWORK = """
from capsbench.networks.capsnet import CapsNet


class Mine(CapsNet):
    {declared}
"""

ROUTING = """
from capsbench.routing import DynamicRouting


class Mine(DynamicRouting):
    presets = {{"tiny": {{{presets!r}: 2.0}}}}

    def __init__(self, children, parents, *, iterations=2, backend="auto", {argument}=1.0):
        super().__init__(children, parents, iterations=iterations, backend=backend)
"""


def write_module(folder, monkeypatch, code):
    """Writes a module of a new name for each test, and returns the path of its class."""
    monkeypatch.chdir(folder)
    name = folder.name.replace("-", "_")
    (folder / f"{name}.py").write_text(code)
    return f"{name}:Mine"


def plan(**request):
    return plan_cells({"dataset": "digits", "size": "tiny", "seeds": 0, "baseline": "none", **request})


def read_refusal(**request):
    with pytest.raises(UsageError) as caught:
        plan(**request)
    return caught.value


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ("def sizes(self, image): return {}", "sizes(image)"),
        ("sizes = classmethod(lambda cls, image: ['tiny'])", "sizes(image)"),
        ("sizes = classmethod(lambda cls, image: {'tiny': 3})", "sizes(image)['tiny']"),
        ("recipe = classmethod(lambda cls, size: [size])", "recipe('tiny')"),
        ("recipe = classmethod(lambda cls, size: 1 / 0)", "recipe('tiny')"),
        ("recipe = classmethod(lambda cls, size: {'learning_rat': 0.1})", "learning_rat"),
        ("recipe = classmethod(lambda cls, size: {'learning_rate': 'fast'})", "learning_rate"),
    ],
)
def test_what_a_network_declares_wrongly_is_refused_by_its_name(declared, named, tmp_path, monkeypatch):
    path = write_module(tmp_path, monkeypatch, NETWORK.format(declared=declared))
    refusal = read_refusal(network=path)
    assert (refusal.flag, path in str(refusal), named in str(refusal)) == ("network", True, True)


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        ('loss = "margins"', "loss"),
        ('routing = "dynamics"', "routing"),
        ("loss = 3", "loss"),
        ('loss = "no:One"', "loss"),
    ],
)
def test_a_partner_that_a_network_declares_and_that_does_not_exist_is_refused(declared, kind, tmp_path, monkeypatch):
    path = write_module(tmp_path, monkeypatch, NETWORK.format(declared=declared))
    refusal = read_refusal(network=path)
    assert (refusal.kind, refusal.flag, refusal.value) == (Kind.CONFLICT, "network", path)
    assert kind in refusal.problem
    (planned,) = plan(network=path, loss="spread", routing="em", iters=1)
    assert (planned.cell.loss, planned.cell.routing) == ("spread", "em")


def test_a_partner_of_a_users_own_needs_not_be_named_by_the_user(tmp_path, monkeypatch):
    code = NETWORK.replace("class Mine(", "class Loss(MarginLoss):\n    pass\n\n\nclass Mine(")
    name = tmp_path.name.replace("-", "_")
    code = "from capsbench.training.losses import MarginLoss\n" + code.format(declared=f'loss = "{name}:Loss"')
    (planned,) = plan(network=write_module(tmp_path, monkeypatch, code))
    assert planned.cell.loss == f"{name}:Loss"
    assert planned.cell.code.keys() == {"network", "loss"}


def test_a_network_that_a_routing_declares_and_that_does_not_exist_is_refused(tmp_path, monkeypatch):
    code = ROUTING.format(presets="sharpness", argument="sharpness") + '\n    network = "capsnets"\n'
    path = write_module(tmp_path, monkeypatch, code)
    refusal = read_refusal(routing=path)
    assert (refusal.kind, refusal.flag, refusal.value) == (Kind.CONFLICT, "routing", path)
    assert "capsnets" in refusal.problem


def test_a_value_that_the_user_names_replaces_one_of_a_recipe(tmp_path, monkeypatch):
    declared = "recipe = classmethod(lambda cls, size: {'learning_rate': 'fast'})"
    (planned,) = plan(network=write_module(tmp_path, monkeypatch, NETWORK.format(declared=declared)), lr=0.01)
    assert planned.cell.learning_rate == 0.01


def test_presets_are_options_of_the_routing_or_of_networks(tmp_path, monkeypatch):
    def write(presets):
        return write_module(tmp_path, monkeypatch, ROUTING.format(presets=presets, argument="sharpness"))

    refusal = read_refusal(routing=write("sharpnes"))
    assert (refusal.kind, refusal.flag, refusal.value) == (Kind.INVALID, "routing", "sharpnes")
    assert "sharpness" in str(refusal)
    (planned,) = plan(routing=write("sharpness"))
    assert planned.cell.options["routing.sharpness"] == 2.0
    (planned,) = plan(routing=write("network.transform_sigmas"))  # another network may have it
    assert planned.cell.options["routing.sharpness"] == 1.0


def test_a_subclass_may_lack_options_that_its_base_class_presets(tmp_path, monkeypatch):
    code = "from capsbench.routing import EMRouting\n\n\nclass Base(EMRouting):\n"
    code += "    presets = {'tiny': {'final_beta': 0.02}}\n\n\n"
    code += "class Mine(Base):\n    def __init__(self, children, parents, *, iterations=2, backend='auto'):\n"
    code += "        super().__init__(children, parents, iterations=iterations, backend=backend)\n"
    (planned,) = plan(routing=write_module(tmp_path, monkeypatch, code))
    assert not any(option.startswith("routing.") for option in planned.cell.options)


@pytest.mark.parametrize("argument", ["size", "seeds", "lr", "learning_rate", "train_size"])
def test_an_option_of_the_name_of_a_flag_is_refused(argument, tmp_path, monkeypatch):
    path = write_module(tmp_path, monkeypatch, ROUTING.format(presets="network.x", argument=argument))
    refusal = read_refusal(routing=path)
    assert (refusal.kind, refusal.flag, refusal.value) == (Kind.CONFLICT, "routing", path)
    assert argument in refusal.problem


def test_a_subclass_of_a_built_in_part_keeps_its_options(tmp_path, monkeypatch):
    code = "from capsbench.networks.inverted_attention import InvertedAttentionCapsNet as Base\n\n\nclass Mine(Base):\n    pass\n"
    (planned,) = plan(network=write_module(tmp_path, monkeypatch, code), dataset="cifar10")
    assert "network.backbone" in planned.cell.options
