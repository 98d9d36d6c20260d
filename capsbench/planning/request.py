"""What a user asks for: names and values as they are typed, checked and read into fields of the Cell."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from capsbench import registry
from capsbench.errors import Kind, UsageError, reason_of
from capsbench.measures.build import checked
from capsbench.records.cell import Cell, Scalar, asked_fields, flag_of

BASELINE_FLAG = "baseline"
BASELINE_SIZE_FLAG = "baseline_size"
MEASURE_FLAG = "measure"
"""What may be asked for beside a cell's fields: the baselines beside capsule networks, and what is measured of a network."""


def spelled(name: str) -> str:
    """A name as it is typed on the command line: ``train_size`` is ``--train-size``; a positional argument is ``CELL``."""
    return name if name.isupper() else "--" + name.replace("_", "-")


def listed(value: Any) -> list[Any]:
    """The values of a name that is asked for: a list as it is, a string by its commas, anything else alone."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    return list(value) if isinstance(value, Iterable) else [value]


def choices(field: str) -> list[str]:
    """The values of a field that knows them beforehand."""
    annotation = Cell.model_fields[field].annotation
    return [str(value) for value in get_args(annotation)] if getattr(annotation, "__origin__", None) is Literal else []


ONE_LIST = "its values go into one list, A,B,..."
"""What to do instead of giving a name twice."""

BASELINE_SIZES = ("own", "matched")
"""The widths of a baseline: its own, or such as make as many parameters as the capsule network has that it stands beside."""


class Request(NamedTuple):
    """The parts of a request; ``measures`` is None where none are named."""

    fields: dict[str, list[Any]]
    options: dict[str, list[Any]]
    baselines: list[tuple[str, str]]
    measures: tuple[str, ...] | None


def split_request(request: Mapping[str, Any]) -> Request:
    """What a person's request says of fields, of options, of baselines with their sizes, and of measures.

    What it names may be imported from now on, so no request may be read from a record.
    """
    fields: dict[str, list[Any]] = {}
    options: dict[str, list[Any]] = {}
    baselines: list[str] = ["matched"]
    sizes = ["own"]
    measures: tuple[str, ...] | None = None
    check_names(request)
    for name, asked in request.items():
        key, value = name.replace("-", "_"), listed(asked)
        field = _field_of(key)
        if key in registry.BUILT_IN:
            trust_named(key, value)
        if key == BASELINE_FLAG:
            baselines = [str(item) for item in _every(key, value)]
        elif key == BASELINE_SIZE_FLAG:
            sizes = _baseline_sizes(value)
        elif key == MEASURE_FLAG:
            measures = checked(value)
        elif field is not None:
            fields[field] = _parse(field, key, value)
        else:
            options[key] = value
    return Request(fields, options, [] if "none" in baselines else list(itertools.product(baselines, sizes)), measures)


def trust_named(kind: str, names: Iterable[Any]) -> None:
    """Lets components of a kind be imported that a person names; of a measure with its setting, the measure."""
    paths = (name for name in names if isinstance(name, str))
    registry.trust(map(registry.measure_name, paths) if kind == MEASURE_FLAG else paths)


def canonical(name: str) -> str:
    """The one name of what is asked for: ``train-size`` is ``train_size``, and ``iterations`` is ``iters``."""
    key = name.replace("-", "_")
    field = _field_of(key)
    return key if field is None else flag_of(field)


def check_names(names: Iterable[str]) -> None:
    """Raises UsageError for names of which two mean the same: one of their values would be lost."""
    known: set[str] = set()
    for name in map(canonical, names):
        if name in known:
            raise UsageError(Kind.CONFLICT, "given twice", flag=name, expected=ONE_LIST)
        known.add(name)


def narrow_request(
    request: Mapping[str, Any], point: Mapping[str, Any], chosen: Mapping[str, Scalar]
) -> dict[str, Scalar | None]:
    """A request with the one value of each axis that makes this point."""
    names = {name.replace("-", "_") for name in request}
    narrowed: dict[str, Scalar | None] = {}
    for name in sorted(names - {MEASURE_FLAG, BASELINE_FLAG, BASELINE_SIZE_FLAG}):
        own = _field_of(name)
        options = [option for option in chosen if name in (option, option.partition(".")[2])]
        # An option that is named in full has its own value, whatever the short name has.
        options = [option for option in options if option == name or option not in names]
        if own is not None:
            narrowed[flag_of(own)] = point[own]
        elif options:
            narrowed[name] = chosen[options[0]]
    return narrowed


def _field_of(name: str) -> str | None:
    """The field of a Cell that a name asks for."""
    return asked_fields().get(name, name if name in asked_fields().values() else None)


def _baseline_sizes(value: Any) -> list[str]:
    sizes = [str(item) for item in listed(value)]
    for size in sizes or [""]:
        if size not in BASELINE_SIZES:
            raise UsageError(Kind.UNKNOWN, flag=BASELINE_SIZE_FLAG, value=size, expected=BASELINE_SIZES)
    return sizes


def _every(kind: str, items: list[Any]) -> list[Any]:
    """The items, or all the names of a kind where ``all`` is asked for."""
    return registry.names(kind) if items == ["all"] else items


def _parse(field: str, name: str, value: Any) -> list[Any]:
    """The values of one axis, each of the field's type; raises UsageError naming the flag and the value that is not."""
    from capsbench_kernels import BACKENDS

    info = Cell.model_fields[field]
    adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
    items = listed(value)
    if field in ("routing", "network"):
        items = _every(field, items)
    if not items:
        raise UsageError(Kind.INVALID, flag=name, expected="at least one value", value=items)
    parsed = []
    for item in items:
        wanted: Any = item
        if wanted in ("none", "all") and field == "train_size":
            wanted = None
        if field == "device":
            _check_device(name, str(wanted))
            parsed.append(str(wanted))
            continue
        if field == "backend" and wanted not in ("auto", *BACKENDS):
            raise UsageError(Kind.UNKNOWN, flag=name, value=wanted, expected=["auto", *BACKENDS])
        try:
            parsed.append(adapter.validate_python(wanted))
        except ValidationError as error:
            if known := choices(field):
                raise UsageError(Kind.UNKNOWN, flag=name, value=item, expected=known) from error
            raise UsageError(Kind.INVALID, reason_of(error), flag=name, value=item) from error
    return parsed


def _check_device(name: str, device: str) -> None:
    import torch

    if device == "auto":
        return
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise UsageError(Kind.INVALID, flag=name, expected="cpu, cuda, cuda:N or auto", value=device)
    if kind == "cuda" and not torch.cuda.is_available():
        problem = "torch sees no CUDA device here"
        raise UsageError(Kind.MISSING, problem, flag=name, value=device, expected="use cpu or auto")
