"""Reads weights that were trained elsewhere, and checks that they fit a network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from capsbench.errors import FOREIGN, Kind, UsageError, message_of

REMEDY = "torch.save(network.state_dict(), FILE) writes such a file"

WRAPPERS = ("module.", "_orig_mod.")
"""What torch puts before the name of each tensor of a network that trains on several GPUs, or is compiled."""

MOST = 3
"""The most tensors of a kind that a message names."""


def read_state(path: str | Path, network: nn.Module) -> dict[str, Tensor]:
    """Reads the tensors of a file by their names: safetensors, or a ``state_dict`` that `torch.save` wrote.

    A training program may save them beside other things, such as the epoch and the state of its optimizer; they are found if they
    are the only tensors by name. No code of the file runs: torch unpickles tensors and containers alone.

    Args:
        path: the file.
        network: the network that gets them; `WRAPPERS` before all names are left out, but for those that its names have.

    Raises:
        UsageError: the file cannot be read, or has something other than tensors by name.
    """
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FOREIGN as error:
        problem = _explain_unreadable(path, error)
        raise UsageError(Kind.DAMAGED, problem, flag="weights", value=path, expected=REMEDY) from error
    state = content if _has_tensors(content) else _find_nested(content, path)
    names = [str(name) for name in state]
    # A network may itself have all its layers in one that is called ``module``.
    wrapper = _find_wrapper(names).removesuffix(_find_wrapper([*network.state_dict()]))
    return dict(zip([name.removeprefix(wrapper) for name in names], state.values(), strict=True))


def _find_wrapper(names: Sequence[str]) -> str:
    """Returns the `WRAPPERS` before all names, such as those of a network on several GPUs that is compiled."""
    wrapper = ""
    while names and (inner := next((one for one in WRAPPERS if all(n.startswith(wrapper + one) for n in names)), "")):
        wrapper += inner
    return wrapper


def _explain_unreadable(path: str | Path, error: BaseException) -> str:
    # torch's own reasons are pages of advice, which would have the code of the file run.
    if found := re.search(r"GLOBAL ([\w.]+)", message_of(error)):
        return f"holds an object of {found[1]}, whose code is not run"
    kind = "safetensors" if Path(path).suffix == ".safetensors" else "what torch.save writes of tensors"
    return f"is damaged, or not {kind}"


def _has_tensors(content: object) -> TypeGuard[Mapping[object, Tensor]]:
    """Returns true for tensors by name."""
    return isinstance(content, Mapping) and all(isinstance(tensor, Tensor) for tensor in content.values())


def _find_nested(content: object, path: str | Path) -> Mapping[object, Tensor]:
    """Returns the tensors that a training program saved beside other things; raises UsageError for none or several."""
    if not isinstance(content, Mapping):
        problem = f"holds a {type(content).__name__}, expected tensors by name"
        raise UsageError(Kind.DAMAGED, problem, flag="weights", value=path, expected=REMEDY)
    nested = {str(name): value for name, value in content.items() if _has_tensors(value) and value}
    if len(nested) != 1:
        within = f"tensors by name within {_name_first([*nested])}" if nested else "no tensors by name"
        problem = f"holds {_name_first([*map(str, content)])}, with {within}"
        raise UsageError(Kind.DAMAGED, problem, flag="weights", value=path, expected=REMEDY)
    (state,) = nested.values()
    return state


def explain_misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Returns which tensors are missing, unknown, of another shape or type, or not finite; empty if the weights fit.

    Args:
        network: may be on the meta device.
    """
    wanted = network.state_dict()
    absent, unknown = [name for name in wanted if name not in state], [name for name in state if name not in wanted]
    both = {name: (state[name], tensor) for name, tensor in wanted.items() if name in state}
    kinds = {
        "missing": absent,
        "unknown": unknown,
        "another shape": [
            f"{name} {list(given.shape)} instead of {list(tensor.shape)}"
            for name, (given, tensor) in both.items()
            if given.shape != tensor.shape
        ],
        "another type": [
            f"{name} {_name_type(given)} instead of {str(tensor.dtype).removeprefix('torch.')}"
            for name, (given, tensor) in both.items()
            if _is_other_type(given, tensor)
        ],
        "not finite": [
            name
            for name, (given, tensor) in both.items()
            if not _is_other_type(given, tensor) and not given.isfinite().all()
        ],
    }
    return "; ".join(f"{kind}: {_name_first(names)}" for kind, names in kinds.items() if names)


def _is_other_type(given: Tensor, wanted: Tensor) -> bool:
    """Returns true for a tensor that cannot be converted: one without numbers, or of whole ones in the place of fractions."""
    kinds = [(tensor.is_floating_point(), tensor.is_complex()) for tensor in (given, wanted)]
    return given.is_meta or kinds[0] != kinds[1]


def _name_type(tensor: Tensor) -> str:
    return f"{'meta ' if tensor.is_meta else ''}{tensor.dtype}".replace("torch.", "")


def _name_first(names: list[str]) -> str:
    more = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")
