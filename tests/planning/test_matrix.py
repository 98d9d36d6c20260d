import sys

import pytest

from capsbench.errors import Kind, UsageError
from capsbench.measures.build import left_out
from capsbench.networks.build import build_network, parameter_count
from capsbench.planning import matrix
from capsbench.planning.matrix import cells_of, plan_cells
from capsbench.planning.suites import read_suite, suite_names
from capsbench.registry import YOUR_OWN
from capsbench_kernels import choose_backend


def test_comma_lists_are_axes():
    cells = cells_of({"routing": "dynamic,em", "iters": "1,2,3", "seeds": "0,1", "baseline": "none"})
    assert len(cells) == 2 * 3 * 2
    assert {(cell.network, cell.routing) for cell in cells} == {("capsnet", "dynamic"), ("matrix-capsules", "em")}


def test_values_from_python_a_suite_or_the_command_line_are_the_same():
    typed = cells_of({"routing": "em", "iters": "1,2", "train-size": "100"})
    python = cells_of({"routing": ["em"], "iterations": [1, 2], "train_size": 100})
    assert [cell.id for cell in typed] == [cell.id for cell in python]


def test_a_cnn_appears_once_not_once_an_iteration_count():
    cells = cells_of({"routing": "em", "iters": "1,2,3", "seeds": "0,1"})
    baselines = [cell for cell in cells if not cell.has_routing]
    assert [(cell.network, cell.iterations, cell.seed) for cell in baselines] == [
        ("matched", None, 0),
        ("matched", None, 1),
    ]


def test_many_seeds_are_resolved_once_and_each_has_a_request_of_its_own(monkeypatch):
    resolved = []
    resolve = matrix.resolve_cell
    monkeypatch.setattr(matrix, "resolve_cell", lambda *point: resolved.append(point) or resolve(*point))
    planned = plan_cells({"routing": "dynamic,em", "seeds": range(50)})
    assert len(resolved) == 2
    assert {job.request["seeds"]: job.cell.seed for job in planned} == {seed: seed for seed in range(50)}
    assert len({job.cell.id for job in planned}) == len(planned) == 4 * 50


def test_measures_make_one_cell_in_whatever_order_they_were_asked_for():
    one, other = (
        cells_of({"routing": "em", "seeds": 0, "measure": spec})[0]
        for spec in ("speed,accuracy", "accuracy,speed,speed")
    )
    assert one.id == other.id


def test_baselines_are_chosen_by_name():
    cells = cells_of({"routing": "dynamic", "seeds": 0, "baseline": "matched,cnn-sabour2017"})
    assert [cell.network for cell in cells] == ["capsnet", "matched", "cnn-sabour2017"]
    assert len(cells_of({"routing": "dynamic", "seeds": 0, "baseline": "none"})) == 1


def test_a_network_with_an_objective_of_its_own_has_no_loss_no_baseline_and_measures_of_its_own():
    planned = plan_cells({"network": "capsnet,transforming-autoencoder", "seeds": 0})
    of_classes = ("accuracy", "adversarial", "affine", "cost", "equivariance", "speed")
    assert [(each.cell.network, each.cell.loss, each.measures) for each in planned] == [
        ("capsnet", "margin", of_classes),
        ("matched", "cross-entropy", of_classes),
        ("transforming-autoencoder", None, ("cost", "speed", "transformation")),
    ]
    (alone,) = plan_cells({"network": "transforming-autoencoder", "seeds": 0, "measure": "speed:full"})
    assert alone.measures == ("speed:full",)
    cell = alone.cell
    assert (cell.shift, cell.reconstruction, cell.options["network.transform"]) == (0, False, "shift")


def test_every_network_is_each_that_can_be_measured_so():
    planned = plan_cells({"network": "all", "baseline": "none", "measure": "accuracy", "seeds": 0})
    assert "capsnet" in {each.cell.network for each in planned}
    assert {each.measures for each in planned} == {("accuracy",)}


def test_a_measure_that_applies_to_none_of_all_networks_is_refused():
    with pytest.raises(UsageError) as caught:
        plan_cells({"network": "all", "baseline": "none", "measure": "viewpoint", "seeds": 0})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "measure", "viewpoint")


def test_a_cell_has_those_of_the_measures_that_apply_to_it():
    both = {"network": "capsnet,transforming-autoencoder", "baseline": "none", "seeds": 0}
    planned = plan_cells({**both, "measure": "all"})
    assert [("accuracy" in each.measures, "transformation" in each.measures) for each in planned] == [
        (True, False),
        (False, True),
    ]
    named = plan_cells({**both, "measure": "accuracy,speed"})
    assert [each.measures for each in named] == [("accuracy", "speed"), ("speed",)]


OWN_MEASURES = """
from capsbench.measures import Measure
from capsbench.measures.adversarial.measure import Adversarial

class Own(Measure):
    def __call__(self, subject): ...

class Attacked(Adversarial): ...
"""


@pytest.mark.parametrize(
    ("named", "replaced"),
    [
        ("beside_all:Own", set()),
        ("beside_all:Attacked", {"adversarial"}),  # both have numbers of one name
        ("adversarial:full", {"adversarial"}),
        ("accuracy", set()),
    ],
)
def test_measures_may_be_named_beside_all(named, replaced, tmp_path, monkeypatch):
    (tmp_path / "beside_all.py").write_text(OWN_MEASURES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    asked = {"routing": "em", "seeds": 0, "baseline": "none"}
    (every,) = plan_cells({**asked, "measure": "all"})
    (planned,) = plan_cells({**asked, "measure": f"{named},all"})
    assert {*planned.measures} == {*every.measures} - replaced | {named}
    assert {*planned.unnamed} == {*planned.measures} - {named}
    assert planned.request["measure"].split(",") == sorted(["all", named])
    assert plan_cells(planned.request) == [planned]
    sys.modules.pop("beside_all", None)


def test_a_measure_beside_all_that_applies_to_none_of_the_networks_is_refused():
    with pytest.raises(UsageError) as caught:
        plan_cells({"routing": "em", "seeds": 0, "measure": "all,viewpoint"})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "measure", "viewpoint")


def test_no_measure_plans_training_alone():
    planned = plan_cells({"routing": "em", "seeds": 0, "measure": "none"})
    assert [(each.cell.network, each.measures) for each in planned] == [("matrix-capsules", ()), ("matched", ())]


def test_what_is_measured_and_where_makes_no_other_cell(monkeypatch):
    (cell,) = cells_of({"routing": "em", "seeds": 0, "baseline": "none"})
    for measure in ("none", "accuracy", "adversarial,adversarial:full", "all", "all,speed:full"):
        assert cells_of({"routing": "em", "seeds": 0, "baseline": "none", "measure": measure}) == [cell]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    planned = [
        plan_cells({"routing": "em", "seeds": 0, "baseline": "none", "device": device})[0]
        for device in ("auto", "cuda", "cuda:1")
    ]
    assert [each.device for each in planned] == ["cuda", "cuda", "cuda:1"]
    assert len({each.cell.id for each in planned}) == 1
    assert planned[0].cell.id != cell.id
    with pytest.raises(UsageError) as caught:
        plan_cells({"routing": "em", "seeds": 0, "baseline": "none", "device": "cuda:0,cuda:1"})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "device", "cuda:0,cuda:1")


def test_a_cell_that_two_requests_ask_for_has_the_measures_of_both():
    same = {"routing": "em", "seeds": 0, "baseline": "none"}
    (planned,) = plan_cells({**same, "measure": "speed"}, {**same, "measure": "accuracy"})
    assert planned.measures == ("accuracy", "speed")


@pytest.mark.parametrize("named_first", [True, False])
def test_measures_that_one_of_two_requests_names_do_not_give_way(named_first):
    same = {"routing": "em", "seeds": 0, "baseline": "none"}
    usual, named = plan_cells(same)[0], plan_cells({**same, "measure": "accuracy"})[0]
    assert (usual.unnamed, named.unnamed) == (usual.measures, ())
    (planned,) = plan_cells(*([{**same, "measure": "accuracy"}, same][:: 1 if named_first else -1]))
    assert sorted((*planned.unnamed, "accuracy")) == [*planned.measures] == [*usual.measures]


REQUESTS = [
    {"routing": "em", "iters": "1,3", "seeds": "0,1", "measure": "accuracy"},
    {"routing": ["dynamic"], "squash": ["sabour", "unit"], "leaky": "yes,no", "seeds": 0, "train-size": "all,100"},
    {"routing": "dynamic", "network.squash": "sabour", "squash": "unit", "seeds": 0, "lr": 0.01},
    {"routing": "em", "baseline": "matched,resnet", "baseline-size": "own,matched", "seeds": 0},
    {"network": "resnet,transforming-autoencoder", "seeds": 3, "device": "cpu"},
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_request_of_a_cell_asks_for_that_cell(request_):
    for planned in plan_cells(request_):
        again = plan_cells(planned.request)
        assert planned.cell in [each.cell for each in again]
        assert planned.measures == next(each.measures for each in again if each.cell == planned.cell)
        assert len(again) == (2 if planned.request.get("baseline", "none") != "none" else 1)


@pytest.mark.parametrize("suite", suite_names())
def test_the_request_of_each_cell_of_a_suite_asks_for_that_cell(suite):
    planned = plan_cells(*read_suite(suite).override_with({"seeds": 0}))
    for wanted in planned[:: max(1, len(planned) // 8)]:
        again = {item.cell.id: item for item in plan_cells(wanted.request)}
        assert (again[wanted.cell.id].cell, again[wanted.cell.id].measures) == (wanted.cell, wanted.measures)


def test_a_measure_that_cannot_be_taken_here_is_left_out_by_default_and_refused_by_name(monkeypatch):
    monkeypatch.setattr("capsbench.measures.adversarial.measure.explain_missing", lambda: "not installed")
    (planned,) = plan_cells({"routing": "em", "seeds": 0, "baseline": "none"})
    assert planned.measures == ("accuracy", "affine", "cost", "equivariance", "speed")
    assert left_out(None) == {"adversarial": "not installed"}
    with pytest.raises(UsageError) as caught:
        cells_of({"routing": "em", "measure": "accuracy,adversarial"})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "measure", "adversarial")
    assert caught.value.problem == "not installed"


def test_a_baseline_can_stand_alone():
    (cell,) = cells_of({"network": "cnn-hinton2018", "seeds": 0})
    assert (cell.routing, cell.iterations, cell.loss) == (None, None, "cross-entropy")


def test_uniform_routing_has_no_iterations_to_sweep():
    cells = cells_of({"routing": "uniform", "iters": "1,2,3", "seeds": 0, "baseline": "none"})
    assert [cell.iterations for cell in cells] == [1]


def test_any_routing_runs_in_any_network():
    (cell,) = cells_of({"routing": "em", "network": "capsnet", "iters": 2, "seeds": 0, "baseline": "none"})
    assert build_network(cell).classes.routing.iterations == 2


def test_every_option_is_on_the_record_and_can_be_an_axis():
    cells = cells_of({"routing": "em", "seeds": 0, "baseline": "none", "annealing": "0.1,1", "network.rows": 3})
    assert [cell.options["routing.annealing"] for cell in cells] == [0.1, 1.0]
    assert all(cell.options["network.rows"] == 3 for cell in cells)
    assert cells[0].options["network.transform_sigma"] == 1.0


def test_an_option_leaves_those_alone_that_do_not_have_it():
    cells = cells_of({"routing": "dynamic,em", "seeds": 0, "baseline": "none", "annealing": "0.1,1"})
    assert [cell.routing for cell in cells] == ["dynamic", "em", "em"]


def test_the_paper_sizes_are_the_papers():
    cells = cells_of({"routing": "dynamic,em", "dataset": "mnist", "size": "paper", "seeds": 0, "baseline": "none"})
    by_routing = {cell.routing: cell for cell in cells}
    assert parameter_count(by_routing["dynamic"]) == 8_215_568
    assert by_routing["em"].options["routing.annealing"] == 1.0
    assert by_routing["em"].options["network.stem_norm"] == "none"


@pytest.mark.parametrize(
    ("request_", "kind", "flag", "value"),
    [
        ({"iters": "0"}, Kind.INVALID, "iters", "0"),
        ({"iters": "x"}, Kind.INVALID, "iters", "x"),
        ({"iters": ""}, Kind.INVALID, "iters", ""),
        ({"iters": "all"}, Kind.INVALID, "iters", "all"),
        ({"lr": "nan"}, Kind.INVALID, "lr", "nan"),
        ({"device": "gpu"}, Kind.INVALID, "device", "gpu"),
        ({"device": "meta"}, Kind.INVALID, "device", "meta"),
        ({"annealing": "x", "routing": "em"}, Kind.INVALID, "annealing", "x"),
        ({"mass": "nan", "routing": "em"}, Kind.INVALID, "mass", "nan"),
        ({"mass": -1, "routing": "em"}, Kind.INVALID, "mass", -1),
        ({"transform-sigma": "-0.5", "routing": "em"}, Kind.INVALID, "transform_sigma", -0.5),
        ({"scale": -1, "routing": "dynamic"}, Kind.INVALID, "scale", -1),
        ({"shift": 8, "routing": "dynamic"}, Kind.INVALID, "shift", 8),
        ({"types1": "0", "routing": "em"}, Kind.INVALID, "types1", "0"),
        ({"hidden1": "-1", "routing": "dynamic"}, Kind.INVALID, "hidden1", "-1"),
        ({"stem_norm": "layer", "routing": "em"}, Kind.INVALID, "stem_norm", "layer"),
        ({"parameters": 100, "network": "resnet"}, Kind.INVALID, "parameters", 100),
        ({"measure": "speed:fast"}, Kind.INVALID, "measure", "speed:fast"),
        ({"measure": "builtins:dict"}, Kind.INVALID, "measure", "builtins:dict"),
        ({"measure": []}, Kind.INVALID, "measure", []),
        ({"iters": []}, Kind.INVALID, "iters", []),
        ({"network": "torch.nn:Flatten"}, Kind.INVALID, "network", "torch.nn:Flatten"),
        ({"routing": "builtins:dict"}, Kind.INVALID, "routing", "builtins:dict"),
        ({"dataset": "builtins:dict"}, Kind.INVALID, "dataset", "builtins:dict"),
        ({"dataset": "capsbench.data:Dataset"}, Kind.INVALID, "dataset", "capsbench.data:Dataset"),
        ({"size": "paper"}, Kind.CONFLICT, "network", "capsnet"),
        ({"network": "capsnet-hahn2019", "width": "1000000000"}, Kind.CONFLICT, "network", "capsnet-hahn2019"),
        ({"network": "matched"}, Kind.CONFLICT, "network", "matched"),
        ({"network": "resnet", "routing": "em"}, Kind.CONFLICT, "routing", "em"),
        ({"network": "resnet", "iters": "1,3"}, Kind.CONFLICT, "iters", "1,3"),
        ({"network": "conditional-autoencoder", "baseline": "resnet"}, Kind.CONFLICT, "baseline", "resnet"),
        ({"baseline": "torch.nn:Flatten", "baseline-size": "matched"}, Kind.CONFLICT, "baseline_size", "matched"),
        ({"network": "transforming-autoencoder", "stop-at": 0.5}, Kind.CONFLICT, "stop_at", 0.5),
        ({"network": "transforming-autoencoder", "loss": "margin"}, Kind.CONFLICT, "loss", "margin"),
        ({"network": "cnn-hinton2018", "loss": "margin"}, Kind.CONFLICT, "loss", "margin"),
        ({"network": "cnn-hinton2018", "reconstruction": "true"}, Kind.CONFLICT, "reconstruction", True),
        ({"network": "transforming-autoencoder", "reconstruction": "yes"}, Kind.CONFLICT, "reconstruction", True),
        ({"dataset": "smallnorb", "reconstruction": "yes"}, Kind.CONFLICT, "reconstruction", True),
        ({"compile": "cuda-graphs", "device": "cpu"}, Kind.CONFLICT, "compile", "cuda-graphs"),
        ({"measure": "none,speed"}, Kind.CONFLICT, "measure", "none, speed"),
        ({"routing": "__main__:Mine"}, Kind.INACCESSIBLE, "routing", "__main__:Mine"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_flag(request_, kind, flag, value):
    with pytest.raises(UsageError) as caught:
        cells_of(request_)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, flag, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "flag", "value", "known"),
    [
        ({"routing": "em,foo"}, "routing", "foo", "dynamic"),
        ({"routing": "none"}, "routing", "none", "uniform"),
        ({"network": "capsnt"}, "network", "capsnt", "capsnet"),
        ({"network": "resnt"}, "network", "resnt", "resnet"),
        ({"dataset": "mnst"}, "dataset", "mnst", "mnist"),
        ({"size": "large"}, "size", "large", "paper"),
        ({"optimizer": "adm"}, "optimizer", "adm", "adam"),
        ({"loss": "margins"}, "loss", "margins", "margin"),
        ({"backend": "warp"}, "backend", "warp", "reference"),
        ({"baseline": "machted"}, "baseline", "machted", "matched"),
        ({"baseline": "machted"}, "baseline", "machted", "none"),
        ({"baseline_size": "mached"}, "baseline_size", "mached", "matched"),
        ({"baseline_size": []}, "baseline_size", "", "own"),
        ({"measure": "acuracy"}, "measure", "acuracy", "accuracy"),
        ({"anealing": "1", "routing": "em"}, "anealing", "anealing", "annealing"),
        ({"anealing": "1", "routing": "em"}, "anealing", "anealing", "train_size"),
    ],
)
def test_what_is_unknown_comes_with_what_there_is(request_, flag, value, known):
    with pytest.raises(UsageError) as caught:
        cells_of(request_)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, flag, value)
    assert known in caught.value.expected


@pytest.mark.parametrize("kind", ["routing", "network", "dataset", "loss", "measure", "baseline"])
def test_ones_own_may_be_named_where_names_are_known(kind):
    with pytest.raises(UsageError) as caught:
        cells_of({kind: "nothing"})
    assert (caught.value.flag, caught.value.expected[-1]) == (kind, YOUR_OWN)


@pytest.mark.parametrize(
    ("request_", "of", "choices"),
    [
        ({"network": "transforming-autoencoder", "measure": "accuracy,speed"}, "accuracy", {"speed", "transformation"}),
        ({"network": "cnn-hinton2018", "measure": "transformation"}, "transformation", {"accuracy", "speed"}),
        ({"routing": "em", "measure": "accuracy,transformation"}, "transformation", {"accuracy", "speed"}),
    ],
)
def test_a_measure_that_applies_to_nothing_comes_with_those_that_do(request_, of, choices):
    with pytest.raises(UsageError) as caught:
        cells_of(request_)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, "measure", of)
    assert choices <= {*caught.value.expected}
    assert of not in caught.value.expected


def test_an_option_that_is_refused_says_what_its_network_expects():
    with pytest.raises(UsageError) as caught:
        cells_of({"routing": "em", "stem_norm": "layer"})
    assert caught.value.expected == "none or batch"
    assert "matrix-capsules" in str(caught.value)


def test_a_network_that_cannot_be_built_says_at_which_size_and_on_which_data():
    with pytest.raises(UsageError) as caught:
        cells_of({"network": "capsnet", "size": "paper", "dataset": "digits"})
    assert (caught.value.__cause__.argument, caught.value.__cause__.value) == ("side", 8)
    assert all(fact in caught.value.problem for fact in ("{flag:size} paper", "digits", str(caught.value.__cause__)))


def test_a_backend_that_cannot_run_there_is_refused():
    with pytest.raises(UsageError) as caught:
        cells_of({"routing": "em", "backend": "triton", "device": "cpu"})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "backend", "triton")
    assert choose_backend("auto", "cpu") in caught.value.expected


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError) as caught:
        cells_of({"device": "cuda"})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.MISSING, "device", "cuda")


@pytest.mark.parametrize("names", [("iters", "iterations"), ("lr", "learning_rate"), ("train_size", "train-size")])
def test_one_thing_under_two_names_is_refused(names):
    with pytest.raises(UsageError) as caught:
        plan_cells({"routing": "em", names[0]: 1, names[1]: 3})
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, names[0])


@pytest.mark.parametrize(
    ("asked", "flag", "value"),
    [
        ({"routing": "em", "loss": "spread"}, "loss", "spread"),
        ({"routing": "dynamic", "loss": "cross-entropy"}, "loss", "cross-entropy"),
        ({"network": "resnet", "loss": "margin"}, "loss", "margin"),
        ({"routing": "self-routing"}, "routing", "self-routing"),
        ({"network": "capsnet", "routing": "inverted-attention"}, "routing", "inverted-attention"),
        ({"routing": "dynamic", "balanced": True}, "balanced", True),
        ({"routing": "em", "growth": "sigmoid"}, "growth", "sigmoid"),
        ({"routing": "dynamic", "measure": "affine"}, "measure", "affine"),
        ({"routing": "dynamic", "measure": "adversarial,accuracy"}, "measure", "adversarial"),
        ({"routing": "dynamic", "measure": "corruption,ood"}, "measure", "corruption, ood"),
    ],
)
def test_what_needs_a_known_number_of_classes_is_refused_for_images_of_any(scattered, asked, flag, value):
    with pytest.raises(UsageError) as caught:
        cells_of({"dataset": scattered, "seeds": 0, **asked})
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.CONFLICT, flag, value)


def test_images_of_any_number_of_classes_are_learned_by_capsules_and_cnns_and_measured(scattered):
    planned = plan_cells({"dataset": scattered, "routing": "dynamic,em", "seeds": 0})
    losses = {(job.cell.network, job.cell.loss) for job in planned}
    assert losses == {("capsnet", "margin"), ("matrix-capsules", "sigmoid"), ("matched", "sigmoid")}
    assert {job.measures for job in planned} == {("accuracy", "average-precision", "cost", "speed")}
    (every,) = {job.measures for job in plan_cells({"dataset": scattered, "network": "resnet", "measure": "all"})}
    assert every == ("accuracy", "average-precision", "cost", "speed")
