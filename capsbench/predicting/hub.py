"""A network in a folder for a hub of models: its configuration and its weights, without records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from capsbench import registry
from capsbench.data.images import ImageShape
from capsbench.data.own.described import DescribedImages
from capsbench.errors import Kind, UsageError
from capsbench.predicting.load import build_trained, check_unedited, choose_device
from capsbench.predicting.trained import TrainedNetwork
from capsbench.records.artifacts import read_weights
from capsbench.records.cell import Cell
from capsbench.records.disk import read_file
from capsbench.records.parse import UnfitError, parse_json
from capsbench.records.parts import Parts
from capsbench.records.record import Name
from capsbench.sources import locations

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
"""The files of the folder."""

Side = Annotated[int, Field(ge=1, le=2**16)]

REMEDY = "export the network again"


@dataclass(frozen=True)
class HubConfig:
    """What `CONFIG` says that loading needs; it says more, for people and programs.

    Attributes:
        cell: the network and its training.
        title: its title among the cells that it was exported from.
        image: channels, height and width of a prepared image.
        classes: the names of the classes, in the order of the scores.
        labels_an_image: as in `capsbench.data.Dataset`.
        weights_sha256: the digest of `WEIGHTS`.
        sources: the digests of a user's own parts, as in `capsbench.records.record.Training`.
    """

    library_name: Literal["capsbench"]
    cell: Cell
    title: Name
    image: tuple[Side, Side, Side]
    classes: Annotated[list[Name], Field(min_length=1)]
    weights_sha256: Name
    labels_an_image: Annotated[int, Field(ge=0, le=2**16)] = 1
    sources: Mapping[Name, Mapping[Name, Name]] = field(default_factory=dict)


_CONFIG = TypeAdapter(HubConfig)


def is_hub_folder(folder: Path) -> bool:
    """Returns true for a folder that has the files of a network, as `capsbench export --to hub` writes them."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def load_hub_folder(folder: Path, allow_code: bool = False) -> TrainedNetwork:
    """Returns the network in a folder.

    Args:
        allow_code: import a user's own parts that the configuration names.

    Raises:
        UsageError: a file is damaged or was changed, code that is not trusted, or other code than in training.
    """
    path = folder / CONFIG
    try:
        config = parse_json(_CONFIG, read_file(path))
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be read: {error.strerror}", file=path) from error
    except UnfitError as error:
        problem = f"not the configuration of a network of capsbench: {error}"
        raise UsageError(Kind.DAMAGED, problem, file=path, expected=REMEDY) from error
    if allow_code:
        registry.trust(part.name for part in Parts.from_cell(config.cell))
    check_unedited(config.cell, config.sources)
    weights = folder / WEIGHTS
    cell = choose_device(config.cell)
    dataset = None
    if locations.split_scheme(cell.dataset)[0]:  # images of a user's own, which are not in the folder
        options = cell.component_options("dataset")
        dataset = DescribedImages(ImageShape(*config.image), config.classes, options, config.labels_an_image)
    network = build_trained(cell, lambda: read_weights(weights, config.weights_sha256), weights, REMEDY, dataset)
    return TrainedNetwork(config.cell, config.title, network, dataset)
