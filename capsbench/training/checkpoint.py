"""Checkpoints: all that a training needs to go on after an epoch, so that its weights are those of an uninterrupted one.

    checkpoint = parts.take_checkpoint(course)      # at the end of an epoch
    course = parts.restore(checkpoint)              # later, in another process

A checkpoint becomes a file as plain values, for JSON, and tensors (`Checkpoint.to_parts`); nothing is pickled.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from capsbench.training.course import Course, Validation


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training at the end of an epoch. Its tensors are copies, so that the training can go on meanwhile.

    Attributes:
        course: the epochs so far, with the best weights.
        network, optimizer, schedule: their states, as of torch's ``state_dict``.
        generators: the states of random generators by name: order, augmentation, torch, and cuda on a GPU.
        python, numpy: the states of the modules ``random`` and ``numpy.random``, which a user's own parts may draw from.
    """

    course: Course
    network: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]
    generators: dict[str, Tensor]
    python: tuple[Any, ...]
    numpy: dict[str, Any]

    def fits(self, network: nn.Module) -> bool:
        """Returns true if a network has weights of the same names, shapes and types."""
        return _describe_state(self.network) == _describe_state(network.state_dict())

    def to_parts(self) -> tuple[Any, dict[str, Tensor]]:
        """Returns plain values for JSON, and the tensors to which they refer by name."""
        tensors: dict[str, Tensor] = {}
        values = {part.name: getattr(self, part.name) for part in fields(self)}
        course = {part.name: getattr(self.course, part.name) for part in fields(Course)}
        return _pack({**values, "course": course}, "", tensors), tensors

    @classmethod
    def from_parts(cls, plain: Any, tensors: dict[str, Tensor]) -> Checkpoint:
        """Returns the checkpoint of the values and tensors that `to_parts` returned; raises ValueError for others."""
        try:
            values = _unpack(plain, tensors)
            course = Course(**values.pop("course"))
            if course.validation is not None:
                course.validation = Validation(*course.validation)
            return cls(course=course, **values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"not a checkpoint ({type(error).__name__}: {error})") from error


class Checkpoints(Protocol):
    """Keeps the checkpoints of one training."""

    def load(self, network: nn.Module) -> Checkpoint | None:
        """Returns the checkpoint to go on from, which fits the network; None to train from the start."""

    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps the checkpoint of an epoch that ended."""


@dataclass(frozen=True)
class MovingParts:
    """The objects of a training that change with its steps; ``order`` and ``augmentation`` are its own generators."""

    network: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    order: torch.Generator
    augmentation: torch.Generator

    def take_checkpoint(self, course: Course) -> Checkpoint:
        """Returns copies of all states, on the CPU, at the end of an epoch."""
        generators = {"order": self.order.get_state(), "augmentation": self.augmentation.get_state()}
        generators["torch"] = torch.get_rng_state()  # draws dropout masks on the CPU
        if self._on_gpu:
            generators["cuda"] = torch.cuda.get_rng_state()
        return Checkpoint(
            # The best weights and the entries of the history are never changed in place, so they need no copy.
            course=replace(course, history=[*course.history]),
            network=_copy_to_cpu(self.network.state_dict()),
            optimizer=_copy_to_cpu(self.optimizer.state_dict()),
            schedule=_copy_to_cpu(self.schedule.state_dict()),
            generators=generators,
            python=random.getstate(),
            numpy=np.random.get_state(legacy=False),
        )

    def restore(self, checkpoint: Checkpoint) -> Course:
        """Puts all parts into the state of a checkpoint, which must fit the network, and returns the course so far."""
        device = next(self.network.parameters()).device
        self.network.load_state_dict(checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self._restore_layouts()
        self.schedule.load_state_dict(checkpoint.schedule)
        self.order.set_state(checkpoint.generators["order"])
        self.augmentation.set_state(checkpoint.generators["augmentation"])
        torch.set_rng_state(checkpoint.generators["torch"])
        if self._on_gpu:
            torch.cuda.set_rng_state(checkpoint.generators["cuda"])
        random.setstate(checkpoint.python)
        np.random.set_state(checkpoint.numpy)
        course = checkpoint.course
        best = course.best_state
        best = None if best is None else {name: tensor.to(device, copy=True) for name, tensor in best.items()}
        return replace(course, history=[*course.history], best_state=best)

    def _restore_layouts(self) -> None:
        """Gives the optimiser's tensors the memory layout of their parameters, which files do not keep.

        The same kernels then run as before, whose sums may depend on the layout.
        """
        for parameter, state in self.optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    @property
    def _on_gpu(self) -> bool:
        return next(self.network.parameters()).is_cuda


def _describe_state(state: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}


def _copy_to_cpu(value: Any) -> Any:
    """Returns a copy of nested dictionaries, lists and tuples, with copies of all tensors on the CPU."""
    return _map_leaves(value, lambda leaf: leaf.detach().to("cpu", copy=True) if isinstance(leaf, Tensor) else leaf)


def _map_leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _map_leaves(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [_map_leaves(part, change) for part in value]
    return change(value)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """Converts nested Python values to JSON's types, and puts their tensors aside.

    JSON has neither tuples nor keys that are numbers: a tuple becomes ``{"tuple": [...]}``, a dictionary ``{"dict": [[key,
    value], ...]}``, and a tensor ``{"tensor": name}``. Python's JSON keeps floats to the last bit, infinite ones too.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Tensor():
            tensors[name] = value.cpu()
            return {"tensor": name}
        case np.ndarray():  # NumPy takes the state of its generator as a list, too
            return value.tolist()
        case dict():
            return {"dict": [[key, _pack(part, f"{name}/{key}", tensors)] for key, part in value.items()]}
        case list() | tuple():
            parts = [_pack(part, f"{name}/{index}", tensors) for index, part in enumerate(value)]
            return parts if isinstance(value, list) else {"tuple": parts}
    raise TypeError(f"a checkpoint cannot hold {name}, a {type(value).__name__}")


def _unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    match packed:
        case {"tensor": name}:
            return tensors[name]
        case {"tuple": parts}:
            return tuple(_unpack(part, tensors) for part in parts)
        case {"dict": pairs}:
            return {key: _unpack(part, tensors) for key, part in pairs}
        case list():
            return [_unpack(part, tensors) for part in packed]
    return packed
