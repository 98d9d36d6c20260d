"""From ``NAME`` or ``NAME:SETTING`` to a measure."""

from __future__ import annotations

from capsbench import registry
from capsbench.errors import UsageError
from capsbench.measures.base import Measure


def make_measure(spec: str) -> Measure:
    """The measure of ``accuracy``, ``speed:full``, ``my.module:Measure`` or ``my.module:Measure:setting``.

    Raises:
        UsageError: an unknown measure or setting.
    """
    name, setting = _parts(spec)
    measure = registry.get("measure", name)
    try:
        made = measure(setting or None)
    except (ValueError, TypeError) as error:
        raise UsageError(f"--measure {spec}: {error}") from error
    if not isinstance(made, Measure):
        raise UsageError(f"--measure {spec}: expected a subclass of capsbench.measures.Measure")
    return made


def measure_name(spec: str) -> str:
    """The name of a measure without its setting."""
    return _parts(spec)[0]


def _parts(spec: str) -> tuple[str, str]:
    name, _, setting = spec.partition(":")
    if setting and name not in registry.names("measure"):
        attribute, _, setting = setting.partition(":")
        name = f"{name}:{attribute}"
    return name, setting
