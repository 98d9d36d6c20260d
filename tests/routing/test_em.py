import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.routing import EMRouting
from capsbench.routing.base import LayerShape
from capsbench_kernels import em_routing
from tests.routing.declared import read_defaults, read_flags


@pytest.fixture
def problem():
    """Poses [3, 6, 4, 4], weights [6, 5, 4, 4], activations [3, 6] and an offset [1, 6, 4, 4] in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = (3, 6, 4, 4), (6, 5, 4, 4), (3, 6), (1, 6, 4, 4)
    poses, weights, activations, offset = (
        torch.randn(shape, generator=generator, dtype=torch.double) for shape in shapes
    )
    return poses, weights, activations.sigmoid(), offset


def test_the_inverse_temperature_rises_from_iteration_to_iteration():
    routing = EMRouting(6, 5, iterations=3, inverse_temperature=0.01)
    assert routing.inverse_temperature == pytest.approx([0.01 * 0.05, 0.01 * 0.0975, 0.01 * 0.142625])


@pytest.mark.parametrize(
    ("schedule", "iterations", "expected"),
    [
        ("constant", 3, [2.0, 2.0, 2.0]),
        ("linear", 1, [2.0]),
        ("linear", 2, [2.0, 4.0]),
        ("linear", 3, [2.0, 4.0, 6.0]),
        ("linear", 5, [2.0, 3.0, 4.0, 5.0, 6.0]),
    ],
)
def test_the_temperature_schedules_of_public_implementations(schedule, iterations, expected):
    routing = EMRouting(6, 5, iterations=iterations, inverse_temperature=2.0, temperature_schedule=schedule)
    assert routing.inverse_temperature == pytest.approx(expected)


def test_class_capsules_can_have_a_temperature_of_their_own():
    middle, last = (EMRouting(6, 5, iterations=2, class_temperature=0.25) for _ in range(2))
    middle.prepare(LayerShape(6, 4, 4, 4, classes=False))
    last.prepare(LayerShape(6, 4, 4, 4, classes=True))
    assert last.inverse_temperature == pytest.approx([value / 4 for value in middle.inverse_temperature])


def test_the_mass_scale_is_that_of_gritzman():
    assert EMRouting(288, 32).mass_scale == pytest.approx(100 / (288 / 32))
    assert EMRouting(288, 32, mass=0.0).mass_scale == 1.0


def test_more_children_that_say_the_same_leave_the_parents_as_they_are(problem):
    """What the mass scale is for: layers of different fan-in see one temperature."""
    poses, weights, activations, offset = problem
    few = EMRouting(6, 5, iterations=3).double()(poses, weights, activations, offset)
    twice = (
        torch.cat([poses] * 2, 1),
        torch.cat([weights] * 2),
        torch.cat([activations] * 2, 1),
        torch.cat([offset] * 2, 1),
    )
    many = EMRouting(12, 5, iterations=3).double()(*twice)
    for ours, theirs in zip(few, many, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_parents_are_those_of_the_procedure_with_the_layers_own_settings(problem):
    poses, weights, activations, offset = problem
    routing = EMRouting(6, 5, iterations=2, inverse_temperature=0.5, mass=3.0, variance_epsilon=0.1, annealing=0.5)
    with torch.no_grad():
        routing.beta_a.copy_(torch.arange(5.0))
        routing.beta_u.copy_(-torch.arange(5.0))
    got = routing.double()(poses, weights, activations, offset)
    expected = em_routing(
        poses,
        weights,
        activations,
        torch.arange(5.0, dtype=torch.double),
        -torch.arange(5.0, dtype=torch.double),
        2,
        inverse_temperature=[0.5 * 0.05, 0.5 * 0.0975],
        offset=offset,
        mass_scale=3.0 * 5 / 6,
        variance_epsilon=0.1,
        annealing=0.5,
    )
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_betas_are_learnt(problem):
    routing = EMRouting(6, 5, iterations=2).double()
    poses, activations = routing(*problem)
    (poses.square().sum() + activations.square().sum()).backward()
    for beta in (routing.beta_a, routing.beta_u):
        assert beta.shape == (5,)
        assert beta.grad.isfinite().all()
        assert beta.grad.all()


def keep_routing_options(preset):
    """The options of the routing itself among those of a preset; ``network.NAME`` is for the network."""
    return {name: value for name, value in preset.items() if "." not in name}


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
def test_sizes_below_the_papers_have_options_of_their_own(make_cell, size):
    options = make_cell(routing="em", dataset="mnist", size=size).component_options("routing")
    papers = dict(
        inverse_temperature=0.01,
        mass=100.0,
        variance_epsilon=5e-4,
        annealing=1.0,
        normalise="window",
        gradient="all",
        temperature_schedule="authors",
        class_temperature=1.0,
    )
    assert options == {**papers, **keep_routing_options(EMRouting.presets[size])}
    assert (options == papers) == (size == "paper")


def test_only_all_parents_need_the_windows():
    assert not EMRouting(6, 5).across_windows
    assert EMRouting(6, 5, normalise="all").across_windows


def test_the_gradient_of_the_last_iteration_alone_is_another_with_the_same_values(problem):
    poses, *others = problem
    poses.requires_grad_()
    results = {}
    for gradient in ("all", "last"):
        outputs, _ = EMRouting(6, 5, iterations=3, inverse_temperature=0.5, gradient=gradient).double()(poses, *others)
        results[gradient] = outputs, torch.autograd.grad(outputs.square().sum(), poses)[0]
    assert torch.equal(results["all"][0], results["last"][0])
    assert not torch.allclose(results["all"][1], results["last"][1])


@pytest.mark.parametrize("option", ["normalise", "gradient", "temperature_schedule"])
def test_an_option_of_no_meaning_is_refused(option):
    with pytest.raises(ArgumentError) as caught:
        EMRouting(6, 5, **{option: "half"})
    assert (caught.value.argument, caught.value.value) == (option, "half")


def test_its_defaults_are_the_papers_and_those_of_few_capsule_types_its_presets():
    assert read_flags(EMRouting) == {"network": "matrix-capsules", "separate_activations": True}
    assert read_defaults(EMRouting) == {
        "iterations": 2,
        "backend": "auto",
        "inverse_temperature": 0.01,
        "temperature_schedule": "authors",
        "class_temperature": 1.0,
        "mass": 100.0,
        "variance_epsilon": 5e-4,
        "annealing": 1.0,
        "normalise": "window",
        "gradient": "all",
    }
    few = {"inverse_temperature": 0.05, "annealing": 0.1, "network.transform_init": "preserving"}
    sigma = {"network.transform_sigma": 1.0}
    assert EMRouting.presets == {"tiny": sigma | few, "small": sigma | few, "paper": sigma}
