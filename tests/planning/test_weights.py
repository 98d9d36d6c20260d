import pytest
import torch
from safetensors.torch import save_file

import capsbench
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network
from capsbench.networks.weights import explain_misfit, read_state
from capsbench.planning.matrix import plan_cells
from capsbench.presenting.contenders import verdicts_of
from capsbench.presenting.naming import Names
from capsbench.records.store import Store

RESNET = dict(network="resnet", size="tiny")


@pytest.fixture
def state():
    """The random weights of a tiny ResNet on digits, by their names."""
    (cell,) = capsbench.cells(**RESNET, seeds=0)
    torch.manual_seed(7)
    return build_network(cell).state_dict()


@pytest.fixture
def given(state, tmp_path):
    """The path of a file with these weights."""
    torch.save(state, tmp_path / "resnet.pt")
    return str(tmp_path / "resnet.pt")


def refuse(weights, **request):
    """Returns the refusal of a request with a file of weights."""
    with pytest.raises(UsageError) as caught:
        capsbench.cells(**{**RESNET, **request}, weights=str(weights))
    assert caught.value.flag == "weights"
    return caught.value


def test_a_network_with_weights_is_one_cell_without_epochs_whatever_the_seeds(given):
    (cell,) = capsbench.cells(**RESNET, weights=given, epochs=5, seeds=[3, 4, 5])
    (trained,) = capsbench.cells(**RESNET, epochs=5, seeds=3)
    assert (cell.epochs, cell.seed, cell.is_given, len(cell.weights)) == (0, 3, True, 12)
    assert (trained.epochs, trained.is_given, trained.weights) == (5, False, "none")
    assert cell.id != trained.id


def test_the_baselines_beside_it_are_trained_as_ever(tmp_path):
    request = dict(network="capsnet", routing="dynamic", iters=1, epochs=5, seeds=[0, 1])
    capsules, *baselines = capsbench.cells(**request)[1:]
    torch.save(build_network(capsules).state_dict(), tmp_path / "capsnet.pth")
    planned = plan_cells({**request, "weights": str(tmp_path / "capsnet.pth")})
    assert [job.cell for job in planned[1:]] == baselines
    assert [job.cell.is_given for job in planned] == [True, False, False]
    assert [job.request.get("weights") for job in planned] == [str(tmp_path / "capsnet.pth"), None, None]


def test_other_bytes_are_another_cell_and_the_place_of_the_file_is_none(state, given, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    torch.save(state, tmp_path / "elsewhere" / "resnet.pt")
    torch.save({name: tensor + 0 for name, tensor in reversed(state.items())}, tmp_path / "other.pt")
    here, there, other = (
        capsbench.cells(**RESNET, weights=str(path))[0].id
        for path in (given, tmp_path / "elsewhere" / "resnet.pt", tmp_path / "other.pt")
    )
    assert here == there
    assert here != other


def test_weights_that_do_not_fit_are_refused_with_the_names_of_the_tensors(state, tmp_path):
    first, *_, last = state
    changed = {**state, "mine": torch.zeros(2), last: torch.zeros(3)}
    del changed[first]
    save_file(changed, tmp_path / "changed.safetensors")
    refusal = refuse(tmp_path / "changed.safetensors")
    assert refusal.kind is Kind.CONFLICT
    assert all(name in refusal.problem for name in (first, "mine", f"{last} [3] instead of [10]"))


def test_only_the_first_of_many_tensors_are_named(state, tmp_path):
    save_file({"mine": torch.zeros(2)}, tmp_path / "few.safetensors")
    problem = refuse(tmp_path / "few.safetensors").problem
    names = [*state]
    assert all(name in problem for name in names[:3])
    assert not any(name in problem for name in names[3:])
    assert f"{len(names) - 3} more" in problem


class Harmful:
    """What would create a file if it were unpickled."""

    def __reduce__(self):
        return (open, ("acted", "w"))


@pytest.mark.parametrize("content", ["text", {"epoch": 3}, [torch.zeros(2)], Harmful()])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_without_tensors_by_name_are_refused_and_run_no_code(tmp_path, monkeypatch, content, suffix):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / f"odd{suffix}")
    assert refuse(tmp_path / f"odd{suffix}").kind is Kind.DAMAGED
    assert not (tmp_path / "acted").exists()


def test_files_that_are_absent_or_of_another_kind_are_refused(tmp_path):
    assert refuse(tmp_path / "absent.pt").kind is Kind.MISSING
    assert refuse(tmp_path).kind is Kind.INVALID
    (tmp_path / "folder.pt").mkdir()
    assert refuse(tmp_path / "folder.pt").kind is Kind.INACCESSIBLE


def test_the_state_of_a_checkpoint_is_found_in_it(state, tmp_path):
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    assert capsbench.cells(**RESNET, weights=str(tmp_path / "checkpoint.pth"))[0].is_given


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {
            "model_state_dict": state,
            "optimizer_state_dict": {"state": {}, "param_groups": []},
            "epoch": 3,
        },
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()}, "scaler": None},
        lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
        lambda state: {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()},
    ],
    ids=["training", "several GPUs", "compiled", "both", "half"],
)
def test_the_state_of_other_programs_is_the_same_network(wrap, state, tmp_path):
    torch.save(wrap(state), tmp_path / "other.pt")
    loaded = read_state(tmp_path / "other.pt", build_network(capsbench.cells(**RESNET, seeds=0)[0], device="meta"))
    assert loaded.keys() == state.keys()
    assert all(torch.allclose(loaded[name].double(), tensor.double(), atol=1e-2) for name, tensor in state.items())
    assert capsbench.cells(**RESNET, weights=str(tmp_path / "other.pt"))[0].is_given


@pytest.mark.parametrize("before", ["", "module.", "_orig_mod.module."])
def test_a_network_may_have_a_layer_called_module(before, tmp_path):
    network = torch.nn.Module()
    network.module = torch.nn.Linear(2, 3)
    torch.save({before + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / "own.pt")
    loaded = read_state(tmp_path / "own.pt", network)
    assert {*loaded} == {"module.weight", "module.bias"}
    assert explain_misfit(network, loaded) == ""


def test_one_of_two_states_is_not_guessed(state, tmp_path):
    torch.save({"model": state, "ema": state, "epoch": 3}, tmp_path / "two.pt")
    refusal = refuse(tmp_path / "two.pt")
    assert (refusal.kind, refusal.value) == (Kind.DAMAGED, str(tmp_path / "two.pt"))
    assert "within model, ema" in refusal.problem


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ("long", "another type"),
        ("nan", "not finite"),
        ("complex", "another type"),
        ("meta", "another type"),
    ],
)
def test_weights_that_no_network_can_have_are_refused(change, kind, state, tmp_path):
    changes = {
        "long": torch.Tensor.long,
        "nan": lambda tensor: tensor * torch.nan,
        "complex": lambda tensor: tensor + 1j,
        "meta": lambda tensor: tensor.to("meta"),
    }
    *_, last = state
    torch.save({**state, last: changes[change](state[last])}, tmp_path / "odd.pt")
    refusal = refuse(tmp_path / "odd.pt")
    assert refusal.kind is Kind.CONFLICT
    assert f"{kind}: {last}" in refusal.problem


def test_a_whole_network_is_refused_by_the_name_of_its_class(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
    assert "torch.nn.modules.linear.Linear" in refuse(tmp_path / "whole.pt").problem


def test_nothing_that_trains_takes_weights(given, tmp_path):
    for search in (capsbench.tune, capsbench.converge):
        with pytest.raises(UsageError) as caught:
            search(**RESNET, weights=given, out=tmp_path / "out")
        assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "weights")


def test_no_epochs_are_for_weights_alone():
    with pytest.raises(UsageError) as caught:
        capsbench.cells(**RESNET, epochs=0)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "epochs")


@pytest.mark.usefixtures("in_one_process")
def test_it_is_measured_as_it_is_and_the_record_says_so(state, given, tmp_path):
    outcome = capsbench.run(**RESNET, weights=given, measure="accuracy", out=tmp_path / "out")
    assert not outcome.failed, outcome.failed
    ((record,), _) = Store(tmp_path / "out").records()
    training = record.training
    assert (training.history, training.seconds, [row.metric for row in training.rows]) == ([], None, ["parameters"])
    ((name, sha256),) = training.sources["weights"].items()
    assert (name, sha256[:12], len(sha256)) == ("resnet.pt", record.cell.weights, 64)
    kept = Store(tmp_path / "out").read_weights(record)
    assert all(torch.equal(kept[name], tensor) for name, tensor in state.items())
    (tmp_path / "resnet.pt").unlink()
    capsbench.measure(folder=tmp_path / "out", measure="cost")
    assert {*Store(tmp_path / "out").records()[0][0].measures} == {"accuracy", "cost"}


@pytest.mark.usefixtures("in_one_process", "without_pictures")
def test_reports_name_the_weights_and_do_not_test_them_against_trained_networks(given, tmp_path):
    out = tmp_path / "out"
    capsbench.run(**RESNET, seeds=0, train_size=20, epochs=1, measure="accuracy", out=out)
    capsbench.run(**RESNET, seeds=0, train_size=20, weights=given, measure="accuracy", out=out)
    summary = capsbench.report(out).summary.set_index("weights")
    (cell,) = capsbench.cells(**RESNET, train_size=20, weights=given, seeds=0)
    assert {*summary.index} == {"none", cell.weights}
    verdicts = verdicts_of(Store(out).records()[0])
    assert not verdicts.share_search(*summary["contender"])
    assert verdicts.difference(*summary["contender"]) is None


def test_a_name_has_the_weights_even_of_a_network_that_is_alone(given):
    (cell,) = capsbench.cells(**RESNET, weights=given)
    assert Names([cell]).label(cell.contender) == f"resnet, weights {cell.weights}"
