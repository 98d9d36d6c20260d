"""Reads weights that were trained elsewhere, and checks that they fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from capsbench.errors import FOREIGN, Kind, UsageError

NESTED = "state_dict"
"""The key under which training programs save the weights beside other things."""

UNREADABLE = "has something other than tensors by name, or cannot be read"
REMEDY = "torch.save(network.state_dict(), FILE) writes such a file"

MOST = 3
"""The most tensors of a kind that a message names."""


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a file by their names: safetensors, or a ``state_dict`` that `torch.save` wrote.

    No code of the file runs: torch unpickles tensors and containers alone.

    Raises:
        UsageError: the file cannot be read, or has something other than tensors by name.
    """
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FOREIGN as error:
        raise UsageError(Kind.DAMAGED, UNREADABLE, flag="weights", value=path, expected=REMEDY) from error
    if isinstance(state, Mapping) and isinstance(state.get(NESTED), Mapping):
        state = state[NESTED]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise UsageError(Kind.DAMAGED, UNREADABLE, flag="weights", value=path, expected=REMEDY)
    return {str(name): tensor for name, tensor in state.items()}


def explain_misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Returns which tensors are missing, unknown or of another shape; empty if the weights fit.

    Args:
        network: may be on the meta device.
    """
    wanted = network.state_dict()
    absent, unknown = [name for name in wanted if name not in state], [name for name in state if name not in wanted]
    other = [
        f"{name} {list(state[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    kinds = {"missing": absent, "unknown": unknown, "another shape": other}
    return "; ".join(f"{kind}: {_name_first(names)}" for kind, names in kinds.items() if names)


def _name_first(names: list[str]) -> str:
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")
