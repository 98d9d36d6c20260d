"""The formats of an exported network: each writes a file under a temporary name, checks it, and puts it in its place."""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from capsbench.errors import Kind, UsageError, message_of
from capsbench.exporting.describe import KEY, describe_network, is_description, to_json
from capsbench.exporting.program import (
    BATCH,
    INPUT,
    Checked,
    Run,
    check_program,
    copy_for_export,
    draw_images,
    export_program,
    output_names,
    run_module,
)
from capsbench.networks.build import build_network
from capsbench.predicting.trained import TrainedNetwork
from capsbench.records.artifacts import read_weights
from capsbench.records.disk import replace_file, write_file

PACKAGES = ("onnxscript", "onnxruntime")
"""The packages that ONNX needs, of the extra `export`."""


def write_torch_export(trained: TrainedNetwork, path: Path) -> Checked:
    """Writes a program of torch, ``torch.export.load(path).module()``, that needs no other package."""
    copied = copy_for_export(trained)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own
        torch.export.save(
            export_program(copied),
            buffer,
            extra_files={f"{KEY}.json": to_json(describe_network(trained, copied.dtype))},
        )
        with replace_file(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
            loaded = torch.export.load(io.BytesIO(temporary.read_bytes())).module()
            return check_program(copied, run_module(copied, loaded))


def write_onnx(trained: TrainedNetwork, path: Path) -> Checked:
    """Writes a network as ONNX, checked by ONNX Runtime.

    Raises:
        UsageError: the packages are missing, or ONNX lacks an operator of the network.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"it needs {' and '.join(missing)}"
        raise UsageError(Kind.MISSING, problem, flag="to", value="onnx", expected="pip install 'capsbench[export]'")
    copied = copy_for_export(trained, ["float32"])  # ONNX Runtime has no convolution of float64
    program = export_program(copied)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        try:
            exported = torch.onnx.export(
                program,
                (draw_images(copied, 2),),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=output_names(copied),
                dynamic_shapes=({0: BATCH},),  # names it: the program has a symbol of torch
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise _explain_onnx(error, trained) from error
    assert exported is not None
    exported.model.metadata_props[KEY] = to_json(describe_network(trained, copied.dtype))
    with replace_file(path) as temporary:
        exported.save(temporary, external_data=False)
        return check_program(copied, _run_onnx(temporary, output_names(copied)))


def _explain_onnx(error: BaseException, trained: TrainedNetwork) -> UsageError:
    """Returns the error of a network that ONNX cannot express, with the operator that it lacks."""
    messages = " ".join(map(str, _list_causes(error)))
    lacking = sorted(set(re.findall(r"No ONNX function found for <OpOverload\(op='(?:\w+\.)?(\w+)'", messages)))
    problem = f"ONNX has no operator {', '.join(lacking)}" if lacking else "the exporter of ONNX fails"
    part = trained.cell.routing or trained.cell.network
    return UsageError(
        Kind.CONFLICT,
        f"{problem}, which {part} needs" if lacking else f"{problem} with {part}: {str(error).partition(chr(10))[0]}",
        flag="to",
        value="onnx",
        expected="{flag:to} torch-export takes it",
    )


def _list_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _run_onnx(path: Path, names: list[str]) -> Run:
    """Loads a file by ONNX Runtime; raises UsageError if that cannot run it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        problem = f"ONNX Runtime cannot run it: {message_of(error, first_line=True)}"
        raise UsageError(
            Kind.CONFLICT, problem, flag="to", value="onnx", expected="{flag:to} torch-export may take it"
        ) from error

    def run(images: Tensor) -> dict[str, Tensor]:
        outputs = session.run(names, {INPUT: images.numpy()})
        return {name: torch.from_numpy(output) for name, output in zip(names, outputs, strict=True)}

    return run


def write_safetensors(trained: TrainedNetwork, path: Path) -> Checked:
    """Writes the weights as safetensors, with the description in their metadata, and beside them as JSON.

    Raises:
        UsageError: a JSON of something else is in its place.
    """
    beside = path.with_suffix(".json")
    if beside.exists() and not is_description(beside):
        problem = "it would be replaced, and no export wrote it"
        raise UsageError(Kind.CONFLICT, problem, flag="out", file=beside, expected=f"another name than {path.name}")
    description = to_json(describe_network(trained))
    with replace_file(path) as temporary:
        temporary.write_bytes(to_safetensors(trained, description))
        checked = check_weights(trained, temporary)
    write_file(beside, f"{description}\n".encode())
    return checked


def to_safetensors(trained: TrainedNetwork, description: str) -> bytes:
    """Returns the weights as the content of a file of safetensors, with a description in its metadata."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()}
    return save(weights, {"format": "pt", KEY: description})


def check_weights(trained: TrainedNetwork, path: Path) -> Checked:
    """Compares a network that is built anew, with the weights of a file, with the network; raises ExportFailed."""
    copied = copy_for_export(trained)
    network = build_network(copied.cell, dataset=copied.dataset)
    network.load_state_dict(read_weights(path, None))
    anew = TrainedNetwork(copied.cell, copied.title, network.requires_grad_(False), copied.dataset)
    return check_program(copied, anew.compute_outputs)
