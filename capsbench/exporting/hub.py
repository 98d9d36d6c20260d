"""A folder for a hub of models, such as Hugging Face's: weights, configuration and model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from capsbench.errors import Kind, UsageError
from capsbench.exporting.card import write_card
from capsbench.exporting.describe import describe_network, to_json
from capsbench.exporting.formats import check_weights, to_safetensors
from capsbench.exporting.program import Checked
from capsbench.predicting import Found, TrainedNetwork
from capsbench.predicting.hub import CARD, CONFIG, WEIGHTS, is_hub_folder
from capsbench.records.disk import read_file, replace_file, write_file

CARD_DIGEST = "card_sha256"
"""What the configuration says of the card, so that an edited one is not replaced."""


def write_hub_folder(found: Found, trained: TrainedNetwork, folder: Path) -> Checked:
    """Writes the folder, the configuration last; other files of an earlier export stay, such as those of git.

    Raises:
        UsageError: the folder has files of something else.
    """
    if folder.exists() and not is_hub_folder(folder) and (not folder.is_dir() or any(folder.iterdir())):
        expected = "a new or empty folder, or one of an earlier export"  # README.md of another would be lost
        raise UsageError(Kind.INVALID, flag="out", expected=expected, value=str(folder))
    description = describe_network(trained)
    card = write_card(found, trained, description, folder.name).encode()
    _refuse_edited_card(folder, card)
    content = to_safetensors(trained, to_json(description))
    with replace_file(folder / WEIGHTS) as temporary:
        temporary.write_bytes(content)
        checked = check_weights(trained, temporary)
    training = found.record.training
    config = {
        "library_name": "capsbench",
        **description,
        "image": list(trained.image),
        "labels_an_image": trained.dataset.labels_an_image,
        "weights_sha256": hashlib.sha256(content).hexdigest(),
        "sources": {kind: dict(digests) for kind, digests in training.sources.items()} if training else {},
        CARD_DIGEST: hashlib.sha256(card).hexdigest(),
    }
    write_file(folder / CARD, card)
    write_file(folder / CONFIG, f"{json.dumps(config, indent=1)}\n".encode())
    return checked


def _refuse_edited_card(folder: Path, new: bytes) -> None:
    """Refuses a folder whose card was edited since an earlier export, such as by adding a licence, and would be lost."""
    try:
        digest = json.loads(read_file(folder / CONFIG))[CARD_DIGEST]
        card = read_file(folder / CARD)
    except (OSError, ValueError, KeyError, TypeError):  # no export yet, none of this version, or no card
        return
    if card != new and hashlib.sha256(card).hexdigest() != digest:  # an export that was cut off has written the new one
        problem = "it was edited since the earlier export, and would be replaced"
        expected = "move it away, or name another folder"
        raise UsageError(Kind.CONFLICT, problem, flag="out", file=folder / CARD, expected=expected)
