"""A user's own attacks: functions, and attacks of libraries, beside those of `capsbench.attacks.adapter`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from torch import Tensor, nn

from capsbench.attacks.adapter import ATTACKS, AttackKind
from capsbench.attacks.threats import Threat
from capsbench.errors import ArgumentError

LOSS = "own loss"
"""Stands for the loss of an attack of a user's own."""

MakeAttack: TypeAlias = Callable[[nn.Module, float, int], Callable[[Tensor, Tensor], Tensor]]
"""Makes an attack from the network, a module from images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``; epsilon; and the
number of steps. The attack returns images in [0, 1] within epsilon in L-inf, for images and their labels ``[B]``. An attack of
torchattacks or foolbox is one."""


@contextmanager
def add_attacks(own: Mapping[str, MakeAttack]) -> Iterator[None]:
    """Adds attacks in L-inf by their names in the block.

    Raises:
        ArgumentError: a name is that of another attack, or no text; or an attack is no function.
    """
    for name, make in own.items():
        if not isinstance(name, str) or not name or "," in name or name in ATTACKS:
            raise ArgumentError("own_attacks", f"a name without commas other than {', '.join(ATTACKS)}", name)
        if not callable(make):
            raise ArgumentError(f"own_attacks: {name}", "a function (network, epsilon, steps)", type(make).__name__)
    added = {name: AttackKind(_adapt(make), {Threat.LINF: (LOSS,)}) for name, make in own.items()}
    ATTACKS.update(added)
    try:
        yield
    finally:
        for name in added:
            del ATTACKS[name]


def _adapt(make: MakeAttack) -> Callable[..., Any]:
    return lambda attack, model, seed, constant: make(model, attack.epsilon, attack.steps)
