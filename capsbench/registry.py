"""Names to routings, networks, baselines, data sets, losses and measures; a user's own by import path or entry point.

A name is looked up among the built-in ones below, then among the entry points of installed distributions (group
``capsbench.routing``, ``capsbench.network``, ...). Anything of the form ``package.module:Attribute`` is imported, if the user
named it (`trust`): records hold such names too, and a record is not trusted. Nothing is called that is no subclass of what its
kind has to be (`BASES`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from capsbench.errors import FOREIGN, Kind, UsageError, message_of
from capsbench.sources import Source, forget_modules, read_source

BUILT_IN: dict[str, dict[str, str]] = {
    "routing": {
        "dynamic": "capsbench.routing.dynamic:DynamicRouting",
        "em": "capsbench.routing.em:EMRouting",
        "uniform": "capsbench.routing.uniform:UniformRouting",
        "variational-bayes": "capsbench.routing.variational_bayes:VariationalBayesRouting",
        "self-attention": "capsbench.routing.self_attention:SelfAttentionRouting",
        "self-routing": "capsbench.routing.self_routing:SelfRouting",
        "inverted-attention": "capsbench.routing.inverted_attention:InvertedAttentionRouting",
    },
    "network": {
        "capsnet": "capsbench.networks.capsnet:CapsNet",
        "matrix-capsules": "capsbench.networks.matrix_capsules:MatrixCapsules",
        "efficient-capsnet": "capsbench.networks.efficient_capsnet:EfficientCapsNet",
        "capsnet-hahn2019": "capsbench.networks.self_routing:SelfRoutingCapsNet",
        "capsnet-tsai2020": "capsbench.networks.inverted_attention:InvertedAttentionCapsNet",
        "transforming-autoencoder": "capsbench.networks.transforming_autoencoder:TransformingAutoencoder",
        "conditional-autoencoder": "capsbench.networks.conditional_autoencoder:ConditionalAutoencoder",
    },
    "baseline": {
        "matched": "capsbench_baselines.matched:MatchedCNN",
        "cnn-sabour2017": "capsbench_baselines.sabour2017:SabourCNN",
        "cnn-hinton2018": "capsbench_baselines.hinton2018:HintonCNN",
        "avgpool-gu2021": "capsbench_baselines.gu2021:AveragePoolingCNN",
        "all-conv": "capsbench_baselines.springenberg2014:AllConvolutionalCNN",
        "resnet": "capsbench_baselines.he2016:ResNet",
    },
    "dataset": {
        "digits": "capsbench.data.sets.digits:Digits",
        "mnist": "capsbench.data.sets.mnist:MNIST",
        "fashion-mnist": "capsbench.data.sets.fashion_mnist:FashionMNIST",
        "kmnist": "capsbench.data.sets.kmnist:KMNIST",
        "cifar10": "capsbench.data.sets.cifar10:CIFAR10",
        "cifar10-24": "capsbench.data.sets.cifar10:CIFAR10Patches",
        "svhn": "capsbench.data.sets.svhn:SVHN",
        "smallnorb": "capsbench.data.sets.smallnorb:SmallNORB",
        "smallnorb-mono": "capsbench.data.sets.smallnorb:SmallNORBMono",
        "smallnorb-new-toys": "capsbench.data.sets.smallnorb:SmallNORBNewToys",
        "smallnorb-azimuth": "capsbench.data.sets.smallnorb:SmallNORBAzimuth",
        "smallnorb-elevation": "capsbench.data.sets.smallnorb:SmallNORBElevation",
        "affnist": "capsbench.data.sets.affnist:AffNIST",
        "affnist-full": "capsbench.data.sets.affnist:AffNISTFull",
        "affine-mnist": "capsbench.data.sets.affine_sets:AffineMNIST",
        "affine-fashion-mnist": "capsbench.data.sets.affine_sets:AffineFashionMNIST",
        "affine-kmnist": "capsbench.data.sets.affine_sets:AffineKMNIST",
        "multimnist": "capsbench.data.sets.multimnist:MultiMNIST",
    },
    "loss": {
        "margin": "capsbench.training.losses:MarginLoss",
        "spread": "capsbench.training.losses:SpreadLoss",
        "cross-entropy": "capsbench.training.losses:CrossEntropy",
    },
    "measure": {
        "accuracy": "capsbench.measures.accuracy.measure:Accuracy",
        "cost": "capsbench.measures.cost.measure:Cost",
        "speed": "capsbench.measures.speed.measure:Speed",
        "transformation": "capsbench.measures.transformation.measure:Transformation",
        "adversarial": "capsbench.measures.adversarial.measure:Adversarial",
        "affine": "capsbench.measures.affine.measure:Affine",
        "viewpoint": "capsbench.measures.viewpoint.measure:Viewpoint",
        "overlap": "capsbench.measures.overlap.measure:Overlap",
        "equivariance": "capsbench.measures.equivariance.measure:Equivariance",
        "routing-robustness": "capsbench.measures.routing_robustness.measure:RoutingRobustness",
        "detection": "capsbench.measures.detection.measure:Detection",
        "transfer": "capsbench.measures.transfer.measure:Transfer",
    },
}

BASES = {
    "routing": "capsbench.routing.base:Routing",
    "network": "torch.nn:Module",
    "baseline": "torch.nn:Module",
    "dataset": "capsbench.data.base:Dataset",
    "loss": "capsbench.training.losses:Loss",
    "measure": "capsbench.measures.base:Measure",
}
"""The class that a component of a kind has to be a subclass of."""

YOUR_OWN = "package.module:Attribute for your own"
"""What may be named beside the names that are known."""

RESERVED = ("all", "none")
"""Names that stand for every component of a kind, and for no component."""


_trusted: set[str] = set()
"""The import paths of a user's own that may be imported in this process."""


def trust(paths: Iterable[str]) -> None:
    """Lets components be imported that the user named by ``package.module:Attribute``, for as long as this process lives.

    Called with what a person typed, and never with what was read from a record unless that person allowed it.
    """
    _trusted.update(path for path in paths if ":" in path)


def trusted_paths() -> frozenset[str]:
    """What `trust` was told, for a process that is to trust the same."""
    return frozenset(_trusted)


def is_trusted(name: str) -> bool:
    """Whether a name may be imported: a path that the user named, or any name of what is built in or installed."""
    return ":" not in name or name in _trusted


def _entry_points(kind: str) -> dict[str, EntryPoint]:
    return _read_entry_points(kind)[0]


def _sharing_names(kind: str) -> tuple[str, ...]:
    """The kinds whose names are asked for by one flag: a name of one is taken for all of them."""
    return ("network", "baseline") if kind in ("network", "baseline") else (kind,)


def about_name(kind: str, name: str) -> list[str]:
    """A line for each entry point that is ignored though its name is this one."""
    return [ignored[name] for each in _sharing_names(kind) if name in (ignored := ignored_entry_points(each))]


def ignored_entry_points(kind: str) -> dict[str, str]:
    """Name -> a line for each entry point that does not count, since its name stands for something else."""
    return _read_entry_points(kind)[1]


@cache
def _read_entry_points(kind: str) -> tuple[dict[str, EntryPoint], dict[str, str]]:
    """The entry points of a kind that count, by name; and what `ignored_entry_points` gives."""
    counted: dict[str, EntryPoint] = {}
    ignored: dict[str, str] = {}
    for point in entry_points(group=f"capsbench.{kind}"):
        taken = _taken(kind, point.name) or (f"is {counted[point.name].value}" if point.name in counted else "")
        if taken:
            ignored[point.name] = f"the entry point {point.value} is ignored: {kind} {point.name} {taken}; rename it"
        else:
            counted[point.name] = point
    return counted, ignored


def _taken(kind: str, name: str) -> str:
    """What a name of a kind stands for, as the end of a sentence; empty where it is free for an entry point."""
    if name in RESERVED:
        return "has a meaning of its own"
    if any(name in BUILT_IN[each] for each in _sharing_names(kind)):
        return "is built in"
    return "is a baseline" if kind == "network" and name in _entry_points("baseline") else ""


def names(kind: str) -> list[str]:
    """The names known for a kind, the built-in ones first."""
    return [*BUILT_IN[kind], *_entry_points(kind)]


def kind_of(network: str) -> str:
    """The kind of a network's name: ``baseline`` for a CNN that is known as one, else ``network``."""
    return "baseline" if network in names("baseline") else "network"


def get(kind: str, name: str, flag: str | None = None) -> Any:
    """The class that ``name`` stands for, a subclass of its kind's in `BASES`.

    Args:
        flag: the flag that it was named by, if that is not the kind's.

    Raises:
        UsageError: a name that is not known, with the nearest names; a user's own that is not trusted, cannot be imported or is
            no such class.
    """
    flag = flag or kind
    if name in BUILT_IN[kind]:
        return _import(flag, BUILT_IN[kind][name])
    if ":" in name:
        component = _import_own(flag, name)
    elif name in _entry_points(kind):
        component = _load_entry_point(flag, _entry_points(kind)[name])
    else:
        raise UsageError(Kind.UNKNOWN, flag=flag, value=name, expected=[*names(kind), YOUR_OWN])
    # `isinstance` would ask an object for its class, which runs code of an object that answers for itself.
    if not (issubclass(type(component), type) and issubclass(component, _import(flag, BASES[kind]))):
        expected = f"a subclass of {BASES[kind].replace(':', '.')}"
        raise UsageError(Kind.INVALID, flag=flag, expected=expected, value=name)
    return component


def _load_entry_point(flag: str, point: EntryPoint) -> Any:
    try:
        return _load_current(point.module, point.attr, point.load)
    except FOREIGN as error:
        problem = f"the entry point cannot be imported: {type(error).__name__}: {message_of(error)}"
        raise UsageError(Kind.MISSING, problem, flag=flag, value=point.name) from error


def declared_version(kind: str, name: str) -> int | None:
    """The version that a built-in component declares, as ``version`` in its class; None for a user's own.

    It is read from the source file, since importing most components imports torch.
    """
    return _version_in_source(BUILT_IN[kind][name]) if name in BUILT_IN[kind] else None


def training_version() -> int:
    """The version of the training loop, read from its source file."""
    return _version_in_source("capsbench.training.loop:VERSION")


@cache
def _version_in_source(path: str) -> int:
    """The value of ``module:CONSTANT``, or of ``version`` in the class ``module:Class``; 1 where it declares none."""
    module, _, attribute = path.partition(":")
    top = importlib.util.find_spec(module.partition(".")[0])
    assert top is not None
    assert top.origin is not None
    source = Path(top.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    statements = ast.parse(source.read_text(encoding="utf-8")).body
    for statement in statements:
        if isinstance(statement, ast.ClassDef) and statement.name == attribute:
            return _assigned(statement.body, "version") or 1
    return _assigned(statements, attribute) or 1


def _assigned(statements: list[ast.stmt], name: str) -> int | None:
    """The number that one of the statements gives to a name."""
    for statement in statements:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return int(statement.value.value)  # type: ignore[arg-type]
    return None


def split_spec(spec: str) -> tuple[str, str]:
    """(name, setting) of a measure as it is asked for: ``adversarial:full``, ``my.module:Mine``, ``my.module:Mine:full``.

    The setting is empty where none is named.
    """
    name, _, setting = spec.partition(":")
    if setting and name not in names("measure"):
        attribute, _, setting = setting.partition(":")
        name = f"{name}:{attribute}"
    return name, setting


def measure_name(spec: str) -> str:
    """The name of a measure without its setting."""
    return split_spec(spec)[0]


def measure_setting(spec: str) -> str:
    """The setting of a measure, ``default`` where none is named."""
    return split_spec(spec)[1] or "default"


def _import(flag: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except FOREIGN as error:  # a user's module may raise anything while it is imported
        problem = f"cannot be imported: {type(error).__name__}: {message_of(error)}"
        absent = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        remedy = "work in the folder of its module, or name that in PYTHONPATH" if absent else None
        raise UsageError(Kind.MISSING, problem, flag=flag, value=path, expected=remedy) from error


def _import_own(flag: str, path: str) -> Any:
    """A user's own, as its file is now: an edited module is loaded anew."""
    if not is_trusted(path):
        problem = "code that a record names is not imported"
        remedy = "{flag:allow_code} allows it, where you trust who made the records"
        raise UsageError(Kind.UNTRUSTED, problem, flag=flag, value=path, expected=remedy)
    module_name, _, attribute = path.partition(":")
    if module_name == "__main__":
        remedy = "put it into a file, which other processes can import"
        raise UsageError(Kind.INACCESSIBLE, "it is of this session", flag=flag, value=path, expected=remedy)
    look_in([])
    return _load_current(module_name, attribute, lambda: _import(flag, path))


def look_in(folders: Iterable[Path]) -> None:
    """Has a user's modules looked for in the working directory, then in some folders, where Python finds none of that name."""
    for folder in map(str, (Path.cwd(), *folders)):
        if folder not in sys.path:
            sys.path.append(folder)


def folder_of(kind: str, name: str) -> Path | None:
    """The folder that the module of ``package.module:Attribute`` was found in; None for other names."""
    if ":" not in name:
        return None
    get(kind, name)
    top = sys.modules[name.partition(":")[0].partition(".")[0]]
    places = [*getattr(top, "__path__", []), *filter(None, [getattr(top, "__file__", None)])]
    return Path(places[0]).parent


def _load_current(module: str, attribute: str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives, of modules as their files are now: where one was edited, all that are imported are loaded anew."""
    found = load()
    source = read_source(module, attribute)
    if source is None:
        return found
    imported = _imported.setdefault(module, {})
    if any(imported.get(path, stamp) != stamp for path, stamp in source.stamps.items()):
        forget_modules(source.files)
        found = load()
        source = read_source(module, attribute) or source
        imported.clear()
    imported |= source.stamps
    return found


_imported: dict[str, dict[Path, tuple[int, ...] | None]] = {}
"""Module of a user's own -> the files that it was imported with, as they were then."""


def source_parts(kind: str, name: str) -> dict[str, str]:
    """Module -> digest, of what a user's own component is made of; nothing for what is built in.

    Together they become a part of a cell's identity, so that an edited routing is not taken for the one on record.
    """
    source = _source(kind, name)
    return {} if source is None else source.parts


def source_digest(kind: str, name: str) -> str | None:
    """One digest of `source_parts`; None for what is built in."""
    source = _source(kind, name)
    return None if source is None else source.digest


def _source(kind: str, name: str) -> Source | None:
    if name in BUILT_IN[kind]:
        return None
    get(kind, name)  # so that it is imported, and as it is now
    if ":" in name:
        module, _, attribute = name.partition(":")
    else:
        module, attribute = _entry_points(kind)[name].module, _entry_points(kind)[name].attr
    return read_source(module, attribute.partition(".")[0])
