"""`capsbench.challenge`: does mine win? One routing or network against others, each tuned with the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capsbench import registry
from capsbench.errors import Kind, UsageError
from capsbench.planning.classes import name_classes
from capsbench.planning.defaults import TRIALS
from capsbench.planning.request import split_values, trust_named
from capsbench.tuning.tune import tune
from capsbench.tuning.tuner import Tuned

FOLDER = "results/challenge"
RIVALS = ("dynamic", "em")
"""The routings that a routing is compared with by default."""


def challenge(
    contender: str | type,
    *,
    against: str | Sequence[str | type] | None = None,
    budget: int = TRIALS,
    out: str = FOLDER,
    **how: Any,
) -> Tuned:
    """Tunes a routing or network and its rivals with the same budget, and trains the winners anew.

    Routings are compared in one network: that of ``contender``, or ``network``. Each network is compared with its matched CNN
    too. `capsbench.report` with ``for_=contender`` then answers in a sentence.

    Args:
        contender: a routing or a network, built in or your own as ``module:Class``, or the class itself.
        against: its rivals of the same kind; by default `RIVALS`, and for a network its matched CNN alone.
        budget: the trials of each contender, CNNs included.
        out, how: as in `capsbench.tune`.

    Raises:
        UsageError: nothing was run; the message says what to change.
    """
    return tune(trials=budget, out=out, **make_request(contender, against, how), **how)


def make_request(
    contender: str | type, against: str | Sequence[str | type] | None, how: dict[str, Any]
) -> dict[str, Any]:
    """Returns the part of the request that names the contenders; raises UsageError for names of another kind.

    Args:
        how: the rest of the request, which must name no contender.
    """
    for flag in ("routing", "iters", "iterations"):
        if how.get(flag) is not None:
            problem = "conflicts with {flag:CONTENDER}"
            raise UsageError(Kind.CONFLICT, problem, flag=flag, expected="name rivals by {flag:against}")
    name: str = name_classes("CONTENDER", contender)
    trust_named("routing", [name])
    rivals = None if against is None else split_values(name_classes("against", against))
    is_routing = _is_routing(name)
    trust_named("routing", rivals or ())
    for rival in rivals or ():  # one of the other kind is none
        registry.get("routing" if is_routing else registry.kind_of(rival), rival, "against")
    if rivals and set(rivals) == {name}:
        expected = "another routing" if is_routing else "another network"
        raise UsageError(Kind.INVALID, flag="against", value=name, expected=f"{expected} than the contender")
    if is_routing:
        rivals = list(RIVALS) if rivals is None else rivals
        request: dict[str, Any] = {"routing": list(dict.fromkeys([name, *rivals]))}
        if how.get("network") is None:
            request["network"] = registry.get("routing", name).network
        return request
    if how.get("network") is not None:
        problem = "is for a routing; {flag:CONTENDER} is a network"
        raise UsageError(Kind.CONFLICT, problem, flag="network", expected="name rivals by {flag:against}")
    return {"network": list(dict.fromkeys([name, *(rivals or [])]))}


def _is_routing(name: str) -> bool:
    """Returns true for a routing, false for a network; raises UsageError for what is neither."""
    try:
        registry.get("routing", name, "CONTENDER")
    except UsageError as fault:
        kind = registry.kind_of(name)
        if name in registry.names(kind):
            return False
        if fault.kind is Kind.UNKNOWN:
            known = sorted({*registry.names("routing"), *registry.names("network")})
            raise UsageError(Kind.UNKNOWN, flag="CONTENDER", value=name, expected=[*known, registry.YOUR_OWN]) from None
        if fault.kind is not Kind.INVALID:  # it cannot be imported
            raise
        registry.get("network", name, "CONTENDER")
        return False
    return True
