"""What the files of an exported network say of it: its cell, its input and its outputs."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import torch

from capsbench import __version__
from capsbench.exporting.program import BATCH, INPUT, output_names
from capsbench.predicting.trained import MADE_IMAGES, RECONSTRUCTIONS, SCORES, TrainedNetwork
from capsbench.records.disk import read_file
from capsbench.training.evaluate import THRESHOLD

KEY = "capsbench"
"""The key of the description in the metadata of ONNX and safetensors; with ``.json``, the name of the file in a ``.pt2``."""


def describe_network(trained: TrainedNetwork, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """Returns the description of an exported network, as JSON has it.

    Args:
        dtype: the type of the input; by default the network's own.
    """
    channels, height, width = trained.image
    meanings = {
        SCORES: ([BATCH, len(trained.classes)], trained.kind.meaning),
        RECONSTRUCTIONS: (
            [BATCH, trained.dataset.labels_an_image or 1, channels, height, width],
            f"from the capsules of all classes with a score above {THRESHOLD:g}"
            if trained.has_any_number
            else "of each predicted class, decoded from its capsule alone",
        ),
        MADE_IMAGES: ([BATCH, channels, height, width], "the images that the network makes of its inputs"),
    }
    return {
        "capsbench": __version__,
        "title": trained.title,
        "id": trained.cell.id,
        "cell": trained.cell.model_dump(mode="json"),
        "classes": list(trained.classes),
        "input": {
            "name": INPUT,
            "shape": [BATCH, channels, height, width],
            "dtype": str(dtype or trained.dtype).removeprefix("torch."),
            "channels": {1: "grey", 2: "stereo pair", 3: "red, green, blue"}.get(channels, str(channels)),
            "pixels": "standardised: mean 0 and variance 1 of an image"
            if trained.dataset.standardised
            else "from 0 to 1",
            "preparation": describe_preparation(trained),
        },
        "outputs": [
            {"name": name, "shape": meanings[name][0], "meaning": meanings[name][1]} for name in output_names(trained)
        ],
    }


def describe_preparation(trained: TrainedNetwork) -> str:
    """Returns what is done to an image before the network sees it, in sentences."""
    kind = {1: "Colours become grey (ITU-R BT.601).", 3: "Grey becomes three equal channels."}.get(
        trained.image.channels, ""
    )
    prepared = (inspect.getdoc(trained.dataset.prepare_images) or "").partition("\n")[0]
    if prepared:
        prepared = f"The data set {prepared[0].lower()}{prepared[1:]}"
    return " ".join(filter(None, ("Bytes are divided by 255.", kind, prepared)))


def to_json(description: dict[str, Any]) -> str:
    """Returns a description as readable JSON."""
    return json.dumps(description, indent=1)


def is_description(path: Path) -> bool:
    """Returns true for a file with a description that `to_json` gave."""
    try:
        content = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {KEY, "cell", "input", "outputs"} <= content.keys()
