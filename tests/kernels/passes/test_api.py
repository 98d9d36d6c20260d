"""The calls of the vote pass: what is refused, which backend runs, under autocast and in 16 bits."""

import functools

import pytest
import torch

from capsbench_kernels import (
    BACKENDS,
    ArgumentError,
    Parents,
    ReferenceWarning,
    UnavailableBackend,
    choose_backend,
    vote_pass,
)
from capsbench_kernels.passes import api


@pytest.mark.parametrize(
    ("argument", "change", "expected", "value"),
    [
        ("poses", lambda t: t[0], "[N, I, R, D]", [5, 4, 3]),
        ("poses", lambda t: t[:0], "[N, I, R, D]", [0, 5, 4, 3]),
        ("poses", lambda t: t.to(torch.float8_e4m3fn), "float32, float64, bfloat16, float16", torch.float8_e4m3fn),
        ("weights", lambda t: t[1:], "[5, J, 3, E]", [4, 4, 3, 2]),
        ("activations", lambda t: t[:, 1:], "[3, 5]", [3, 4]),
        ("activations", lambda t: t.float(), "torch.float64", torch.float32),
        ("offset", lambda t: t[..., 1:], "[1, 5, 4, 2]", [1, 5, 4, 1]),
        ("weights", lambda t: t.to("meta"), "cpu", "meta"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(problem, argument, change, expected, value):
    made = problem()
    made[argument] = change(made[argument])
    with pytest.raises(ArgumentError) as caught:
        vote_pass(**made)
    assert (caught.value.argument, caught.value.value) == (argument, value)
    assert expected in caught.value.expected


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_under_autocast_votes_are_made_and_summed_in_float32(problem, backend):
    made = problem(children=50)
    belief = Parents(*(field.float() for field in made.pop("parents")))
    made = {name: tensor.float() for name, tensor in made.items()}
    expected = vote_pass(**made, parents=belief, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        got = vote_pass(**made, parents=belief, backend=backend)
        halved = vote_pass(**(made | {"poses": made["poses"].bfloat16()}), parents=belief, backend=backend)
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert halved.first.dtype == torch.float


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("level", [1e6, 1e7, 1e9])
def test_shares_add_up_however_large_the_logits(backend, level):
    """A log-sum-exp in float32 loses the sum, so forward and backward must not use it."""
    generator = torch.Generator().manual_seed(0)
    poses, weights = torch.ones(1, 40, 1, 1), torch.ones(40, 8, 1, 1)
    activations = torch.rand(1, 40, generator=generator).requires_grad_()
    belief = Parents(bias=level + torch.rand(1, 8, generator=generator))
    mass = vote_pass(poses, weights, belief, activations, backend=backend).mass
    torch.testing.assert_close(mass.sum(), activations.sum())
    mass.sum().backward()
    torch.testing.assert_close(activations.grad, torch.ones(1, 40))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_moments_may_be_changed_in_place(problem, backend):
    made = problem()
    made["poses"].requires_grad_()
    moments = vote_pass(**made, backend=backend)
    for moment in moments:
        moment.mul_(2)
    moments.first.sum().backward()
    assert made["poses"].grad.isfinite().all()


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_another_default_device_changes_nothing(problem, backend):
    made = problem()
    expected = vote_pass(**made, backend=backend)
    with torch.device("meta"):
        got = vote_pass(**made, backend=backend)
    for ours, theirs in zip(got, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_a_device_that_is_none_is_refused():
    with pytest.raises(ArgumentError) as caught:
        choose_backend("auto", "nonsense")
    assert (caught.value.argument, caught.value.value) == ("device", "nonsense")


@pytest.mark.parametrize(("missing", "alone"), [("precision", "mean"), ("mean", "precision")])
def test_a_mean_needs_its_precision(problem, missing, alone):
    made = problem()
    made["parents"] = made["parents"]._replace(**{missing: None})
    with pytest.raises(ArgumentError) as caught:
        vote_pass(**made)
    assert (caught.value.argument, caught.value.value) == ("parents", alone)


def test_a_backend_that_cannot_run_is_refused_not_replaced(problem):
    assert choose_backend("auto") in BACKENDS
    with pytest.raises(ArgumentError) as caught:
        vote_pass(**problem(), backend="warp")
    assert (caught.value.argument, caught.value.value) == ("backend", "warp")
    assert caught.value.expected.split(", ") == ["auto", *BACKENDS]


@pytest.mark.parametrize(("device", "fused"), [("cuda", "triton"), ("cpu", "cpu")])
def test_auto_says_once_why_it_takes_the_reference(monkeypatch, device, fused):
    monkeypatch.setattr(
        api, "_find_obstacle", lambda backend, device: None if backend == "reference" else "it is too old"
    )
    monkeypatch.setattr(api, "_warn_once", functools.cache(api._warn_once.__wrapped__))
    with pytest.raises(UnavailableBackend) as caught:
        choose_backend(fused, device)
    assert (caught.value.value, caught.value.expected) == (fused, "reference")
    with pytest.warns(ReferenceWarning) as warned:
        assert choose_backend("auto", device) == "reference"
    assert [(each.message.backend, each.message.reason) for each in warned] == [(fused, "it is too old")]
    assert choose_backend("auto", device) == "reference"  # without a warning, which would be an error here


def test_a_backend_on_a_device_that_its_kernels_do_not_run_on_says_why():
    with pytest.raises(UnavailableBackend) as caught:
        choose_backend("cpu", "mps")
    assert (caught.value.value, caught.value.expected) == ("cpu", "reference")
    assert "mps" in caught.value.reason


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_shapes_alone_need_no_device(backend):
    assert choose_backend(backend, "meta") == backend
    assert choose_backend("auto", "meta") == "reference"


def test_where_nothing_is_fused_auto_says_nothing():
    assert choose_backend("auto", "mps") == "reference"


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("narrow", [("poses", "weights", "offset"), ()], ids=["16-bit poses", "float32 poses"])
def test_activations_and_belief_of_16_bits_are_taken_in_float32(problem, narrow, dtype, backend):
    made = problem(problems=2)
    belief = Parents(*(field.to(dtype) for field in made.pop("parents")))
    made = {name: tensor.to(dtype) for name, tensor in made.items()}
    exact = vote_pass(**{k: t.double() for k, t in made.items()}, parents=Parents(*(f.double() for f in belief)))
    mixed = {name: tensor if name in (*narrow, "activations") else tensor.float() for name, tensor in made.items()}
    mixed["activations"].requires_grad_()
    moments = vote_pass(**mixed, parents=belief, backend=backend)
    for ours, expected in zip(moments, exact, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)
    moments.first.sum().backward()
    assert mixed["activations"].grad.dtype == dtype


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("no module", name="numba"), ["numba", "not installed"]),
        (ImportError("Numba needs NumPy 2.4 or less"), ["Numba needs NumPy 2.4 or less"]),
    ],
)
def test_a_backend_that_cannot_be_imported_says_why(monkeypatch, error, words):
    def refuse(backend):
        raise error

    monkeypatch.setattr(api, "import_kernels", refuse)
    monkeypatch.setattr(api, "_warn_once", lambda backend, reason: reasons.append((backend, reason)))
    reasons = []
    with pytest.raises(UnavailableBackend) as caught:
        choose_backend("cpu")
    assert all(word in caught.value.reason for word in words)
    assert choose_backend("auto") == "reference"
    assert reasons == [("cpu", caught.value.reason)]
    assert choose_backend("reference") == "reference"


def test_defaults_of_the_public_functions():
    assert choose_backend() == choose_backend("auto", "cpu") == "cpu"
    assert BACKENDS == ("reference", "cpu", "triton")
