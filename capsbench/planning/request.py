"""Reads a request: names and values as the user typed them, checked and parsed into fields of the Cell."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import TypeAdapter, ValidationError

from capsbench import registry
from capsbench.errors import Kind, UsageError, reason_of
from capsbench.measures.build import ALL, check_measures
from capsbench.records.cell import Cell, Scalar, asked_fields, flag_of, short_name
from capsbench.records.parts import forget_datasets
from capsbench.sources import locations
from capsbench.sources.weights import locate_weights, spell_weights

BASELINE_FLAG = "baseline"
BASELINE_SIZE_FLAG = "baseline_size"
MEASURE_FLAG = "measure"
"""The names in a request that are neither fields nor options: baselines, their sizes, and measures."""


def spell_flag(name: str) -> str:
    """Returns a name as on the command line: ``train_size`` is ``--train-size``; a positional argument stays ``CELL``."""
    return name if name.isupper() else "--" + name.replace("_", "-")


def split_values(value: Any) -> list[Any]:
    """Returns the values asked for: those of a list, of a string with commas, or the value alone."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")]
    return list(value) if isinstance(value, Iterable) else [value]


def list_choices(field: str) -> list[str]:
    """Returns the values to choose from, for a field that has a fixed set."""
    annotation = Cell.model_fields[field].annotation
    return [str(value) for value in get_args(annotation)] if getattr(annotation, "__origin__", None) is Literal else []


WEIGHTS = "weights"
"""The field of weights trained elsewhere; a user types the path of their file."""

ONE_LIST = "its values go into one list, A,B,..."
"""The remedy for a name that is given twice."""

EPOCHS, AUTO = "epochs", "auto"
"""The flag of epochs, and its value if a search finds them (`capsbench.converge`)."""

SPELL: Mapping[str, Callable[[Any], Any]] = {"dataset": locations.spell_typed, WEIGHTS: spell_weights}
"""Field whose value on record is not what a user types -> the function that returns what was typed."""

EXPANDED = ("routing", "network", BASELINE_FLAG)
"""The flags of components that take ``all``: every component that fits the rest of the request."""

BASELINE_SIZES = ("own", "matched")
"""The sizes of a baseline: its own, or matched to the capsule network's parameter count."""


class Request(NamedTuple):
    """The parts of a request; ``measures`` is None where none are named, ``expanded`` has the flags that ask for ``all``."""

    fields: dict[str, list[Any]]
    options: dict[str, list[Any]]
    baselines: list[tuple[str, str]]
    measures: tuple[str, ...] | None
    expanded: frozenset[str]


def split_request(request: Mapping[str, Any]) -> Request:
    """Splits a user's request into fields, options, baselines with their sizes, and measures.

    The process may import the components that the request names, so the request must not come from a record.
    """
    fields: dict[str, list[Any]] = {}
    options: dict[str, list[Any]] = {}
    baselines: list[str] = ["matched"]
    sizes = ["own"]
    measures: tuple[str, ...] | None = None
    expanded: set[str] = set()
    check_names(request)
    for name, asked in request.items():
        key, value = name.replace("-", "_"), split_values(asked)
        field = _find_field(key)
        if key in registry.BUILT_IN:
            trust_named(key, value)
        if key in EXPANDED and value == [ALL]:
            expanded.add(key)
            value = registry.names(key)
        if key == BASELINE_FLAG:
            baselines = [str(item) for item in value]
        elif key == BASELINE_SIZE_FLAG:
            sizes = _parse_baseline_sizes(value)
        elif key == MEASURE_FLAG:
            measures = check_measures(value)
        elif field is not None:
            if field == "dataset":
                _refuse_comma(key, asked)
            fields[field] = _parse_axis(field, key, value)
        else:
            options[key] = value
    pairs = [] if "none" in baselines else list(itertools.product(baselines, sizes))
    return Request(fields, options, pairs, measures, frozenset(expanded))


def is_auto(epochs: object) -> bool:
    """Returns true for epochs that a search finds: ``auto``, or ``auto:5``, which starts from 5."""
    return isinstance(epochs, str) and epochs.partition(":")[0] == AUTO


def start_search(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns a request with the epochs from which a search for them starts; None if it asks for no such search.

    With ``epochs="auto"`` these are left open, so that they are those of the suite, the network or the data set.
    """
    rest = {name: value for name, value in request.items() if canonical_name(name) != EPOCHS}
    asked = [value for name, value in request.items() if canonical_name(name) == EPOCHS and value is not None]
    if len(asked) != 1 or len(values := split_values(asked[0])) != 1 or not is_auto(values[0]):
        return None  # a list with it is refused with the other values
    _, colon, start = values[0].partition(":")
    return rest | {EPOCHS: start} if colon else rest


def refuse_beside(decisive: str, **flags: object) -> None:
    """Refuses flags that a request cannot have beside another one, as in ``{flag:until_decided}``."""
    for flag, value in flags.items():
        if value:
            raise UsageError(Kind.CONFLICT, f"conflicts with {decisive}", flag=flag, expected="give one of them")


def trust_named(kind: str, names: Iterable[Any]) -> None:
    """Allows the import of the components that a user names; a measure's setting is left out of its path."""
    paths = (name for name in names if isinstance(name, str))
    registry.trust(map(registry.measure_name, paths) if kind == MEASURE_FLAG else paths)


def canonical_name(name: str) -> str:
    """Returns the one name of all spellings: ``train-size`` is ``train_size``, and ``iterations`` is ``iters``."""
    key = name.replace("-", "_")
    field = _find_field(key)
    return key if field is None else flag_of(field)


def check_names(names: Iterable[str]) -> None:
    """Raises UsageError if two names mean the same, since one of their values would be lost."""
    known: set[str] = set()
    for name in map(canonical_name, names):
        if name in known:
            raise UsageError(Kind.CONFLICT, "given twice", flag=name, expected=ONE_LIST)
        known.add(name)


def narrow_request(
    request: Mapping[str, Any], point: Mapping[str, Any], chosen: Mapping[str, Scalar]
) -> dict[str, Scalar | None]:
    """Returns the fields and options of a request, each with the one value that makes this point."""
    names = {name.replace("-", "_") for name in request} - {MEASURE_FLAG, BASELINE_FLAG, BASELINE_SIZE_FLAG}
    narrowed: dict[str, Scalar | None] = {}
    for name in sorted(names):
        field = _find_field(name)
        if field is not None:
            narrowed[flag_of(field)] = SPELL.get(field, lambda value: value)(point[field])
            continue
        # A short name stands for all options of that name, but for those that the request names in full.
        options = [
            option for option in chosen if option == name or (short_name(option) == name and option not in names)
        ]
        if options:
            narrowed[name] = chosen[options[0]]
    return narrowed


def _find_field(name: str) -> str | None:
    """Returns the field of a Cell that a name stands for; None for an option."""
    return asked_fields().get(name, name if name in asked_fields().values() else None)


def _parse_baseline_sizes(value: Any) -> list[str]:
    sizes = [str(item) for item in split_values(value)]
    for size in sizes or [""]:
        if size not in BASELINE_SIZES:
            raise UsageError(Kind.UNKNOWN, flag=BASELINE_SIZE_FLAG, value=size, expected=BASELINE_SIZES)
    return sizes


def _parse_axis(field: str, name: str, value: Any) -> list[Any]:
    """Returns the values of one axis in the field's type; raises UsageError that names the flag and the invalid value."""
    from capsbench_kernels import BACKENDS

    items = split_values(value)
    if not items:
        raise UsageError(Kind.INVALID, flag=name, expected="at least one value", value=items)
    parsed = []
    for item in items:
        wanted: Any = item
        if wanted in ("none", "all") and field == "train_size":
            wanted = None
        if field == "dataset":
            parsed.append(_locate_dataset(name, item))
            continue
        if field == WEIGHTS:
            parsed.append(locate_weights(name, str(item)))
            continue
        if field == "device":
            _check_device(name, str(wanted))
            parsed.append(str(wanted))
            continue
        if field == EPOCHS and is_auto(wanted):
            remedy = "capsbench.converge finds them; on the command line give {flag:epochs} auto alone, to run, tune or challenge"
            raise UsageError(Kind.CONFLICT, "is a search of its own", flag=name, value=wanted, expected=remedy)
        if field == "backend" and wanted not in ("auto", *BACKENDS):
            raise UsageError(Kind.UNKNOWN, flag=name, value=wanted, expected=["auto", *BACKENDS])
        try:
            parsed.append(_make_adapter(field).validate_python(wanted))
        except ValidationError as error:
            if known := list_choices(field):
                raise UsageError(Kind.UNKNOWN, flag=name, value=item, expected=known) from error
            raise UsageError(Kind.INVALID, reason_of(error), flag=name, value=item) from error
    return parsed


@cache
def _make_adapter(field: str) -> TypeAdapter[Any]:
    """Returns what checks a value of a field."""
    return TypeAdapter(Cell.model_fields[field].rebuild_annotation())


def _refuse_comma(name: str, asked: Any) -> None:
    """Refuses a path with a comma that exists, which would be taken for two data sets."""
    if isinstance(asked, str) and "," in asked and locations.find_location(asked)[1] is not None:
        remedy = "a comma separates data sets; name it by a path without commas"
        raise UsageError(Kind.CONFLICT, "a path with a comma", flag=name, value=asked, expected=remedy)


def _locate_dataset(name: str, typed: Any) -> str:
    """Returns the name of a data set; one that is typed as a path, such as ``folder:data/shapes``, has the name of its folder."""
    if not isinstance(typed, str):
        expected = "a name, folder:PATH, npz:PATH, csv:PATH or package.module:Class"
        raise UsageError(Kind.INVALID, flag=name, expected=expected, value=type(typed).__name__)
    if ":" not in typed and typed not in registry.names("dataset") and Path(typed).expanduser().exists():
        scheme = locations.find_scheme(Path(typed))
        raise UsageError(Kind.UNKNOWN, flag=name, value=typed, expected=f"images in it are {scheme}:{typed}")
    refuse_misspelt_scheme(name, typed)
    forget_datasets()
    return locations.locate(typed)


def refuse_misspelt_scheme(name: str, typed: str) -> None:
    """Refuses ``foldr:PATH`` for a path that exists, which would be taken for a module."""
    scheme, _, rest = typed.partition(":")
    near = difflib.get_close_matches(scheme.lower(), locations.SCHEMES, n=1)
    if near and scheme not in locations.SCHEMES and Path(rest).expanduser().exists():
        raise UsageError(Kind.UNKNOWN, flag=name, value=typed, expected=f"images in it are {near[0]}:{rest}")


def refuse_namesakes(requests: Iterable[Mapping[str, Any]]) -> None:
    """Refuses two folders or files of images that have one name: cells would not say which of them they are of."""
    known: dict[str, tuple[str, str]] = {}
    for request in requests:
        for typed in split_values(request.get("dataset")):
            name, location = locations.find_location(str(typed))
            if location is None:
                continue
            first, path = known.setdefault(name, (location.typed, location.path))
            if path != location.path:
                problem = f"it would have the name {name}, as {first} has"
                remedy = "rename one of them"
                raise UsageError(Kind.CONFLICT, problem, flag="dataset", value=typed, expected=remedy)


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
