"""Torch's optimisers, without the import of its compiler.

Torch wraps some of their methods to keep its compiler out of them, and imports the compiler for that, which takes as long as to
import torch. The methods inside of the wrappers give the same numbers. `TrainingStep` compiles none of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import optim


def _unwrap(method: Any) -> Any:
    return getattr(method, "__wrapped__", method)


def _make_class(kind: type[optim.Optimizer]) -> type[Any]:
    methods = {
        name: _unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    }
    # The wrapper of `step` also switches gradients off.
    methods["step"] = torch.no_grad()(_unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)


Adam = _make_class(optim.Adam)
AdamW = _make_class(optim.AdamW)
SGD = _make_class(optim.SGD)
