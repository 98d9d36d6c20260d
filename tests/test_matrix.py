import pytest

from capsbench.errors import UsageError
from capsbench.matrix import cells_of
from capsbench.measures.build import left_out
from capsbench.models.build import build_network, parameter_count


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
    baselines = [cell for cell in cells if cell.routing is None]
    assert [(cell.network, cell.iterations, cell.seed) for cell in baselines] == [
        ("matched", None, 0),
        ("matched", None, 1),
    ]


def test_the_matched_baseline_has_the_size_and_the_budget_of_its_network():
    capsules, baseline = cells_of({"routing": "dynamic", "iters": 1, "seeds": 3, "epochs": 7, "batch": 32})
    assert abs(parameter_count(baseline) / parameter_count(capsules) - 1) < 0.02
    shared = ("dataset", "train_size", "size", "epochs", "batch_size", "optimizer", "schedule", "shift", "seed")
    assert all(getattr(baseline, field) == getattr(capsules, field) for field in shared)
    assert (baseline.loss, baseline.reconstruction) == ("cross-entropy", False)


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


@pytest.mark.parametrize("baseline", ["resnet", "all-conv", "avgpool-gu2021", "cnn-sabour2017", "cnn-hinton2018"])
def test_any_baseline_can_have_the_size_of_the_network_it_stands_beside(baseline):
    asked = {"routing": "dynamic", "seeds": 0, "baseline": baseline}
    capsules, own = cells_of(asked)
    same, matched = cells_of({**asked, "baseline_size": "matched"})
    assert (same, own.options["network.parameters"]) == (capsules, 0)
    assert abs(parameter_count(own) / parameter_count(capsules) - 1) > 0.02
    assert abs(parameter_count(matched) / parameter_count(capsules) - 1) < 0.02
    assert matched.options == {**own.options, "network.parameters": parameter_count(capsules)}
    assert (own.title, matched.title) == (
        f"{baseline} tiny, digits, seed 0",
        f"{baseline} to {parameter_count(capsules):,} tiny, digits, seed 0",
    )


def test_both_sizes_of_a_baseline_and_matched_once():
    cells = cells_of({"routing": "em", "seeds": 0, "baseline": "matched,resnet", "baseline-size": "own,matched"})
    assert [cell.network for cell in cells] == ["matrix-capsules", "matched", "resnet", "resnet"]


def test_a_network_with_an_objective_of_its_own_has_no_loss_no_baseline_and_measures_of_its_own():
    cells = cells_of({"network": "capsnet,transforming-autoencoder", "seeds": 0})
    of_classes = ("accuracy", "adversarial", "affine", "equivariance", "speed")
    assert [(cell.network, cell.loss, cell.measures) for cell in cells] == [
        ("capsnet", "margin", of_classes),
        ("matched", "cross-entropy", of_classes),
        ("transforming-autoencoder", None, ("speed", "transformation")),
    ]
    (alone,) = cells_of({"network": "transforming-autoencoder", "seeds": 0, "measure": "speed:full"})
    assert alone.measures == ("speed:full",)
    assert (alone.shift, alone.reconstruction, alone.options["network.transform"]) == (0, False, "shift")


def test_every_network_is_each_that_can_be_measured_so():
    cells = cells_of({"network": "all", "baseline": "none", "measure": "accuracy", "seeds": 0})
    assert "capsnet" in {cell.network for cell in cells}
    assert {cell.measures for cell in cells} == {("accuracy",)}


def test_a_cell_has_those_of_the_measures_that_apply_to_it():
    cells = cells_of({"network": "capsnet,transforming-autoencoder", "baseline": "none", "seeds": 0, "measure": "all"})
    assert [("accuracy" in cell.measures, "transformation" in cell.measures) for cell in cells] == [
        (True, False),
        (False, True),
    ]
    named = cells_of(
        {"network": "capsnet,transforming-autoencoder", "baseline": "none", "seeds": 0, "measure": "accuracy,speed"}
    )
    assert [cell.measures for cell in named] == [("accuracy", "speed"), ("speed",)]


def test_a_measure_that_cannot_be_taken_here_is_left_out_by_default_and_refused_by_name(monkeypatch):
    monkeypatch.setattr("capsbench.measures.adversarial.missing", lambda: "torchattacks is not installed")
    (cell,) = cells_of({"routing": "em", "seeds": 0, "baseline": "none"})
    assert cell.measures == ("accuracy", "affine", "equivariance", "speed")
    assert left_out(None) == {"adversarial": "torchattacks is not installed"}
    with pytest.raises(UsageError, match=r"^--measure adversarial: torchattacks is not installed$"):
        cells_of({"routing": "em", "measure": "accuracy,adversarial"})


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
    ("request_", "message"),
    [
        ({"iters": "0"}, "--iters: input should be greater than 0, got '0'"),
        ({"iters": "x"}, "--iters: .* valid integer.*, got 'x'"),
        ({"iters": ""}, "--iters: .* valid integer.*, got ''"),
        ({"routing": "em,foo"}, "--routing: unknown 'foo'; choose from dynamic, em, uniform"),
        ({"routing": "dynamc"}, "--routing: unknown 'dynamc'; did you mean 'dynamic'?"),
        ({"network": "capsnt"}, "--network: unknown 'capsnt'; did you mean 'capsnet'?"),
        ({"dataset": "mnst"}, "--dataset: unknown 'mnst'; did you mean 'mnist'?"),
        ({"size": "large"}, "--size: unknown 'large'; choose from tiny, small, paper"),
        ({"optimizer": "adm"}, "--optimizer: unknown 'adm'; did you mean 'adam'?"),
        ({"loss": "margins"}, "--loss: unknown 'margins'; did you mean 'margin'?"),
        ({"baseline": "machted"}, "--baseline: unknown 'machted'; did you mean 'matched'?"),
        ({"baseline_size": "mached"}, "--baseline-size: unknown 'mached'; did you mean 'matched'?"),
        ({"baseline_size": []}, "--baseline-size: unknown ''; choose from own, matched"),
        (
            {"baseline": "torch.nn:Flatten", "baseline-size": "matched"},
            "--baseline-size: torch.nn:Flatten has no option parameters to be sized by; use own",
        ),
        (
            {"network": "resnet", "parameters": 100},
            "--network resnet --size tiny on digits: parameters: no CNN of this form has 100 within 2%",
        ),
        ({"measure": "acuracy"}, "--measure: unknown 'acuracy'; did you mean 'accuracy'?"),
        ({"measure": "speed:fast"}, "--measure speed:fast: unknown setting 'fast'; choose from light, full, quick"),
        ({"lr": "nan"}, "--lr: "),
        ({"device": "gpu"}, "--device: expected cpu, cuda, cuda:N or auto, got 'gpu'"),
        ({"backend": "warp"}, "--backend: expected auto, reference, cpu, triton, got 'warp'"),
        ({"anealing": "1", "routing": "em"}, "--anealing: unknown '--anealing'; did you mean '--annealing'"),
        ({"annealing": "x", "routing": "em"}, "--annealing: .*, got 'x'"),
        ({"stem_norm": "layer", "routing": "em"}, "stem_norm: expected none or batch, got 'layer'"),
        ({"size": "paper"}, "--network capsnet --size paper on digits: a 9x9 kernel does not fit"),
        ({"routing": "none"}, "--routing: unknown 'none'; choose from dynamic, em, uniform"),
        ({"iters": "all"}, "--iters: .* valid integer.*, got 'all'"),
        ({"device": "meta"}, "--device: expected cpu, cuda, cuda:N or auto, got 'meta'"),
        (
            {"measure": "speed,speed:full"},
            "--measure: expected one setting of speed, got speed and speed:full",
        ),
        ({"measure": []}, "--measure: expected at least one measure"),
        ({"routing": "em", "mass": -1}, "^--mass: expected 0 or more, got -1"),
        ({"routing": "em", "transform-sigma": "-0.5"}, "^--transform-sigma: expected 0 or more, got -0.5"),
        ({"routing": "dynamic", "scale": -1}, "^--scale: expected 0 or more, got -1"),
        ({"routing": "dynamic", "shift": 8}, "^--shift: expected less than 8, the side of the images of digits, got 8"),
        ({"network": "transforming-autoencoder", "stop-at": 0.5}, "^--stop-at: transforming-autoencoder is not about"),
        (
            {"network": "conditional-autoencoder", "baseline": "resnet"},
            "^--baseline: none of the networks asked for has",
        ),
        ({"measure": "builtins:dict"}, "--measure builtins:dict: "),
        ({"types1": "0", "routing": "em"}, "--types1: expected 1 or more, got '0'"),
        ({"hidden1": "-1", "routing": "dynamic"}, "--hidden1: expected 1 or more, got '-1'"),
        ({"network": "capsnet-hahn2019", "width": "1000000000"}, "--network capsnet-hahn2019 --size tiny on digits: "),
        (
            {"network": "resnet", "routing": "em"},
            "--routing: none of the networks asked for has capsules that are routed",
        ),
        ({"network": "resnet", "iters": "1,3"}, "--iters: none of the networks asked for has capsules that are routed"),
        ({"mass": "nan", "routing": "em"}, "--mass: .*finite.*, got 'nan'"),
        ({"routing": "__main__:Mine"}, "--routing: '__main__:Mine' is of this session; put it into a file"),
        ({"network": "cnn-hinton2018", "loss": "margin"}, "--loss: margin needs activations in"),
        (
            {"network": "cnn-hinton2018", "reconstruction": "true"},
            "--reconstruction: the CNN cnn-hinton2018 has no decoder",
        ),
        (
            {"network": "transforming-autoencoder", "measure": "accuracy,speed"},
            "^--measure accuracy: cannot be taken of transforming-autoencoder on digits; choose from speed, transformation",
        ),
        (
            {"network": "cnn-hinton2018", "measure": "transformation"},
            "^--measure transformation: cannot be taken of cnn-hinton2018 on digits; choose from accuracy, speed",
        ),
        (
            {"routing": "em", "measure": "accuracy,transformation"},
            "^--measure transformation: cannot be taken of matrix-capsules on digits; choose from accuracy, speed",
        ),
        (
            {"network": "transforming-autoencoder", "loss": "margin"},
            "^--loss: transforming-autoencoder has none, it is trained on an objective of its own; leave it out",
        ),
        (
            {"network": "transforming-autoencoder", "reconstruction": "true"},
            "^--reconstruction: transforming-autoencoder has no decoder",
        ),
        (
            {"dataset": "smallnorb", "reconstruction": "yes"},
            "--reconstruction: the decoder makes pixels from 0 to 1, those of smallnorb are standardised; use no",
        ),
        ({"network": "torch.nn:Flatten"}, "--network torch.nn:Flatten: has no sizes"),
        (
            {"routing": "builtins:dict"},
            "--routing builtins:dict: expected a subclass of capsbench.routing.base.Routing",
        ),
        ({"dataset": "capsbench.data:Dataset"}, "--dataset capsbench.data:Dataset: needs image = ImageShape"),
        ({"dataset": "builtins:dict"}, "--dataset builtins:dict: expected a subclass of capsbench.data.base.Dataset"),
        ({"network": "matched"}, "--network matched: it is sized after a capsule network; use --baseline matched"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_flag(request_, message):
    with pytest.raises(UsageError, match=message) as caught:
        cells_of(request_)
    assert "\n" not in str(caught.value)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="torch sees no CUDA device here; use cpu or auto"):
        cells_of({"device": "cuda"})
