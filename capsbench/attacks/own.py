"""A user's own attacks: functions, and attacks of libraries, beside those of `capsbench.attacks.adapter`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from capsbench.attacks.adapter import ATTACKS, Attack, AttackKind
from capsbench.attacks.threats import OWN_LOSS, Threat
from capsbench.errors import FOREIGN, ArgumentError, TrainingFailed, message_of

MakeAttack: TypeAlias = Callable[[nn.Module, float, int], Callable[[Tensor, Tensor], Tensor]]
"""Makes an attack from the network, a module from images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``; epsilon; and the
number of steps. The attack returns images in [0, 1] within epsilon in L-inf, for images and their labels ``[B]``. An attack of
torchattacks or foolbox is one."""


def check_attacks(own: Mapping[str, MakeAttack]) -> None:
    """Checks a user's own attacks before any is made.

    Raises:
        ArgumentError: they have no names; a name is that of another attack, or no text; or an attack is no function of the
            network, epsilon and the number of steps.
    """
    if not isinstance(own, Mapping):
        raise ArgumentError("own_attacks", "a dictionary from names to functions (network, epsilon, steps)", own)
    for name, make in own.items():
        if not isinstance(name, str) or not name or "," in name or name in ATTACKS:
            expected = f"names without commas other than {', '.join(ATTACKS)}, not {name!r},"
            raise ArgumentError("own_attacks", expected, name)
        if (signature := _find_other_signature(make)) is not None:
            expected = f"a function (network, epsilon, steps), not {signature},"
            raise ArgumentError(f"own_attacks[{name!r}]", expected, signature)


def _find_other_signature(make: Any) -> str | None:
    """Returns the signature of what does not take (network, epsilon, steps), or the type of what is no function; else None."""
    if not callable(make):
        return f"a value of type {type(make).__name__}"
    try:
        signature = inspect.signature(make)
    except (TypeError, ValueError):  # some functions in C have none
        return None
    names = [*signature.parameters]
    # A class of a library may have its steps elsewhere, and would take their number for the size of a step.
    takes_steps_elsewhere = "steps" in names and names.index("steps") != len(("network", "epsilon"))
    try:
        signature.bind(None, None, None)
    except TypeError:
        return str(signature)
    return str(signature) if takes_steps_elsewhere else None


@contextmanager
def add_attacks(own: Mapping[str, MakeAttack]) -> Iterator[None]:
    """Adds attacks in L-inf by their names in the block.

    Raises:
        ArgumentError: see `check_attacks`.
    """
    check_attacks(own)
    added = {name: AttackKind(_adapt(name, make), {Threat.LINF: (OWN_LOSS,)}) for name, make in own.items()}
    ATTACKS.update(added)
    try:
        yield
    finally:
        for name in added:
            del ATTACKS[name]


def _adapt(name: str, make: MakeAttack) -> Callable[..., Any]:
    """Returns the constructor of an attack whose errors name it, and whose images are checked."""

    def make_adapted(
        attack: Attack, model: nn.Module, seed: int, constant: float
    ) -> Callable[[Tensor, Tensor], Tensor]:
        with _name_errors(name):
            perturb = make(model, attack.epsilon, attack.steps)
        if not callable(perturb):
            raise TrainingFailed(f"own attack {name!r} made {_describe(perturb)}, expected a function (images, labels)")

        def perturb_checked(images: Tensor, labels: Tensor) -> Tensor:
            shape, device = images.shape, images.device
            with _name_errors(name):
                examples = perturb(images, labels)
            # Images of another shape could broadcast, and one would stand for all.
            if not isinstance(examples, Tensor) or (examples.shape, examples.device) != (shape, device):
                expected = f"a tensor {[*shape]} on {device}"
                raise TrainingFailed(f"own attack {name!r} gave {_describe(examples)}, expected {expected}")
            return examples

        return perturb_checked

    return make_adapted


@contextmanager
def _name_errors(name: str) -> Iterator[None]:
    """Names the attack in the errors of its code; those of a full memory pass, since a smaller batch is tried then."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except FOREIGN as error:
        raise RuntimeError(f"own attack {name!r}: {type(error).__name__}: {message_of(error)}") from error


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {[*value.shape]} on {value.device}"
    return f"a value of type {type(value).__name__}"
