"""Exported networks: each file computes what its network computes, alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import capsbench as python_api
from capsbench import registry
from capsbench.errors import ExportFailed, Kind, UsageError
from capsbench.exporting import FORMATS, TOLERANCE
from capsbench.exporting.program import check_program, copy_for_export, draw_images

ALONE = """
import json, sys
for name in ("capsbench", "capsbench_kernels", "capsbench_baselines"):
    sys.modules[name] = None  # importing it is an error
import torch
extra = {"capsbench.json": ""}
program = torch.export.load(sys.argv[1], extra_files=extra).module()
outputs = program(torch.load(sys.argv[2]))
torch.save([outputs] if isinstance(outputs, torch.Tensor) else list(outputs), sys.argv[3])
print(extra["capsbench.json"] if isinstance(extra["capsbench.json"], str) else extra["capsbench.json"].decode())
"""


def run_alone(program, images, folder):
    """Runs a program in a process without this package; returns its outputs and its description."""
    torch.save(images, folder / "images.pt")
    arguments = [str(program), str(folder / "images.pt"), str(folder / "outputs.pt")]
    done = subprocess.run([sys.executable, "-I", "-c", ALONE, *arguments], check=True, capture_output=True, text=True)
    return torch.load(folder / "outputs.pt"), json.loads(done.stdout)


def run_onnx(path, images):
    """Runs an ONNX file; returns its outputs by name, and its description."""
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(path)
    assert {described.shape[0] for described in (*session.get_inputs(), *session.get_outputs())} == {"batch"}
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return dict(zip(names, map(torch.from_numpy, outputs), strict=True)), json.loads(
        session.get_modelmeta().custom_metadata_map["capsbench"]
    )


@pytest.fixture
def network(trained):
    return lambda wanted: python_api.network(wanted, trained / "results")


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore")  # torch's own
def test_a_program_of_torch_takes_batches_of_any_size(trained, network, tmp_path):
    (path,) = python_api.export("matched", "torch-export", tmp_path / "a.pt2", folder=trained / "results").files
    program = torch.export.load(path).module()
    for count in (1, 7):
        images = draw_images(network("matched"), count)
        with torch.no_grad():
            assert_close(program(images), network("matched")(images).softmax(dim=1))


@pytest.mark.slow
def test_a_program_of_torch_runs_without_this_package(trained, network, tmp_path):
    result = python_api.export("dynamic", "torch-export", tmp_path / "a.pt2", folder=trained / "results")
    assert result.files == [tmp_path / "a.pt2"]
    assert result.checked.difference <= TOLERANCE
    images = draw_images(network("dynamic"), 3)
    (scores, reconstructions), description = run_alone(result.files[0], images, tmp_path)
    predictions = network("dynamic").predict(images)
    assert_close(scores.sort(descending=True).values, torch.tensor([prediction.scores for prediction in predictions]))
    assert_close(reconstructions, torch.stack([prediction.reconstructions for prediction in predictions]))
    assert [output["name"] for output in description["outputs"]] == ["scores", "reconstructions"]
    assert description["cell"] == result.cell.model_dump(mode="json")


def test_onnx_runtime_runs_a_cnn_with_batches_of_any_size(trained, network, tmp_path):
    pytest.importorskip("onnxscript")
    (path,) = python_api.export("matched", "onnx", tmp_path / "a.onnx", folder=trained / "results").files
    for count in (1, 7):
        images = draw_images(network("matched"), count)
        outputs, description = run_onnx(path, images)
        assert list(outputs) == ["scores"]
        with torch.no_grad():
            assert_close(outputs["scores"], network("matched")(images).softmax(dim=1))
    assert description["input"]["shape"] == ["batch", 1, 8, 8]
    assert description["input"]["pixels"] == "from 0 to 1"
    assert description["classes"] == list("0123456789")


def test_safetensors_have_the_weights_and_the_cell(trained, network, tmp_path):
    weights, facts = python_api.export(
        "dynamic", "safetensors", tmp_path / "a.safetensors", folder=trained / "results"
    ).files
    with safe_open(weights, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert json.loads(file.metadata()["capsbench"]) == json.loads(facts.read_text())
    expected = network("dynamic").network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    assert facts == tmp_path / "a.json"


def test_by_default_the_file_lies_in_the_results_folder(put, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cell = put(routing="dynamic", dataset="digits")
    result = python_api.export(to="safetensors")
    assert result.files[0] == Path("results/exported") / f"{cell.id}.safetensors"
    assert python_api.export("results", "hub").files[0].parent == Path("results/exported") / cell.id


@pytest.mark.parametrize(
    ("to", "out", "flag", "kind"),
    [
        ("pickle", None, "to", Kind.UNKNOWN),
        ("onnx", "network.pt2", "out", Kind.INVALID),
        ("torch-export", "folder", "out", Kind.INVALID),
        ("hub", "full", "out", Kind.INVALID),
        ("hub", "file", "out", Kind.INVALID),
    ],
)
def test_a_wrong_format_or_path_is_named_before_anything_is_written(
    trained, tmp_path, monkeypatch, to, out, flag, kind
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "README.md").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError) as caught:
        python_api.export("dynamic", to, out, folder=trained / "results")
    assert (caught.value.flag, caught.value.kind) == (flag, kind)
    assert (tmp_path / "full" / "README.md").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file"}


def test_without_its_packages_onnx_says_what_to_install(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("capsbench.exporting.formats.PACKAGES", ("onnxscript_that_is_missing",))
    with pytest.raises(UsageError) as caught:
        python_api.export("dynamic", "onnx", tmp_path / "a.onnx", folder=trained / "results")
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "to")
    assert "capsbench[export]" in caught.value.expected


def test_an_operator_that_onnx_lacks_is_named(trained, tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")

    def refuse(*arguments, **names):
        try:
            raise RuntimeError("No ONNX function found for <OpOverload(op='prims.digamma', overload='default')>. More")
        except RuntimeError as error:
            raise torch.onnx.errors.OnnxExporterError("Failed to convert") from error

    monkeypatch.setattr("capsbench.exporting.formats.export_program", lambda trained: None)
    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(UsageError) as caught:
        python_api.export("dynamic", "onnx", tmp_path / "a.onnx", folder=trained / "results")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "to")
    assert caught.value.problem == "ONNX has no operator digamma, which dynamic needs"
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_computes_anything_else_is_refused(network):
    capsules = copy_for_export(network("dynamic"))

    def shift_scores(images):
        outputs = capsules.compute_outputs(images)
        return {**outputs, "scores": outputs["scores"] + 2 * TOLERANCE}

    def lose_scores(images):
        return {**capsules.compute_outputs(images), "scores": torch.full((len(images), 10), torch.nan)}

    assert check_program(capsules, capsules.compute_outputs).difference == 0
    for wrong in (shift_scores, lose_scores):
        with pytest.raises(ExportFailed):
            check_program(capsules, wrong)


def test_a_file_that_fails_its_check_is_not_written(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("capsbench.exporting.program.TOLERANCE", -1.0)
    with pytest.raises(ExportFailed):
        python_api.export("matched", "safetensors", tmp_path / "a.safetensors", folder=trained / "results")
    assert list(tmp_path.iterdir()) == []


REQUESTS = [
    # An iteration is traced each time anew.
    *({"routing": name} for name in registry.names("routing") if name not in ("em", "variational-bayes")),
    dict(routing="variational-bayes", iters=1),
    dict(routing="em", iters=1, normalise="all", reconstruction=True),
    dict(network="transforming-autoencoder"),
    dict(network="all-conv"),
    dict(routing="dynamic", leaky=True, bias=True, precision="float64"),
    dict(routing="dynamic", precision="bfloat16", channels_last=True),
]

REFUSED = {("onnx", "variational-bayes"): "digamma"}
"""Format and routing -> the operator that the format lacks."""


@pytest.mark.slow
@pytest.mark.parametrize("to", ["torch-export", "onnx"])
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: " ".join(map(str, request.values())))
def test_every_routing_and_kind_of_network_is_exported_or_refused_by_name(put, tmp_path, request_, to):
    pytest.importorskip("onnxscript")
    put(dataset="digits", **request_)
    path = tmp_path / ("a.onnx" if to == "onnx" else "a.pt2")
    if lacking := REFUSED.get((to, request_.get("routing", ""))):
        with pytest.raises(UsageError) as caught:
            python_api.export(tmp_path / "results", to, path)
        assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "to")
        assert f"operator {lacking}, which {request_['routing']}" in caught.value.problem
        assert not path.exists()
        return
    result = python_api.export(tmp_path / "results", to, path)
    assert result.checked.difference <= TOLERANCE
    network = python_api.network(tmp_path / "results")
    images = draw_images(network, 4)
    with torch.no_grad():
        expected = network.compute_outputs(images)
    given = images.float() if to == "onnx" else images
    if to == "onnx":
        outputs = list(run_onnx(path, given)[0].values())
    else:
        outputs = torch.export.load(path).module()(given)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    tolerance = 0.02 if network.cell.precision == "bfloat16" else 10 * TOLERANCE
    for actual, output in zip(outputs, expected.values(), strict=True):
        torch.testing.assert_close(actual.to(output.dtype), output, rtol=tolerance, atol=tolerance)


def test_formats_are_those_of_the_command():
    assert FORMATS == ("onnx", "torch-export", "safetensors", "hub")


def test_safetensors_replaces_its_own_description_and_no_other_file(trained, tmp_path):
    def write(wanted, folder=trained / "results"):
        return python_api.export(wanted, "safetensors", tmp_path / "net.safetensors", folder=folder)

    assert write("dynamic").files == [tmp_path / "net.safetensors", tmp_path / "net.json"]
    write("matched")  # an earlier export
    assert json.loads((tmp_path / "net.json").read_text())["cell"]["network"] == "matched"
    weights = (tmp_path / "net.safetensors").read_bytes()
    for mine in ("{}", '{"cell": 1}', "[1]", "no JSON"):
        (tmp_path / "net.json").write_text(mine)
        with pytest.raises(UsageError) as caught:
            write("dynamic")
        assert (caught.value.kind, caught.value.flag, caught.value.file) == (
            Kind.CONFLICT,
            "out",
            tmp_path / "net.json",
        )
        assert (tmp_path / "net.json").read_text() == mine
    assert (tmp_path / "net.safetensors").read_bytes() == weights


def test_nothing_is_exported_among_the_files_of_records(trained, tmp_path):
    (weights,) = (trained / "results" / "weights").glob(
        f"{python_api.network('dynamic', trained / 'results').cell.id}.*"
    )
    before = weights.read_bytes()
    with pytest.raises(UsageError) as caught:
        python_api.export("dynamic", "safetensors", weights, folder=trained / "results")
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "out")
    assert weights.read_bytes() == before


def test_folders_of_the_users_own_may_have_such_names(trained, tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "notes.json").write_text("{}")
    path = tmp_path / "weights" / "net.safetensors"
    assert python_api.export("dynamic", "safetensors", path, folder=trained / "results").files[0] == path
