"""Refusals of a cell: each function refuses one thing that cannot be, in one line that names the flag.

They see the parts of the cell and all of its fields but options and code, with every default filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from capsbench import registry
from capsbench.data.images import ANY_NUMBER
from capsbench.errors import Kind, UsageError
from capsbench.networks.base import CapsuleNetwork
from capsbench.planning.request import BASELINE_FLAG
from capsbench.records.parts import Parts
from capsbench.sources.weights import NONE
from capsbench_kernels import choose_backend

Fields = Mapping[str, Any]


def refuse_large_shift(parts: Parts, fields: Fields) -> None:
    """Refuses a shift that can move a whole image out of its frame."""
    image = parts.data.image
    side = min(image.height, image.width)
    if fields["shift"] >= side:
        expected = f"less than {side}, the side of the images of {parts.dataset.name}"
        raise UsageError(Kind.INVALID, flag="shift", expected=expected, value=fields["shift"])


def refuse_no_epochs(parts: Parts, fields: Fields) -> None:
    """Refuses a training of no epochs; a network whose weights are given has none."""
    if not fields["epochs"] and fields.get("weights", NONE) == NONE:
        raise UsageError(Kind.INVALID, flag="epochs", expected="1 or more", value=0)


def refuse_stop_without_accuracy(parts: Parts, fields: Fields) -> None:
    """Refuses to stop at an accuracy that a network without classes does not have."""
    if parts.is_self_supervised and fields.get("stop_at"):
        problem = f"{parts.network.name} does not classify, so it has no accuracy to stop at"
        raise UsageError(Kind.CONFLICT, problem, flag="stop_at", value=fields["stop_at"], expected="leave it out")


def refuse_second_objective(parts: Parts, fields: Fields) -> None:
    """Refuses a loss for a network that has its own objective."""
    if parts.is_self_supervised and fields["loss"]:
        problem = f"{parts.network.name} has none, it is trained on an objective of its own"
        raise UsageError(Kind.CONFLICT, problem, flag="loss", value=fields["loss"], expected="leave it out")


def refuse_standardised_reconstruction(parts: Parts, fields: Fields) -> None:
    """Refuses a decoder for images whose pixels it cannot make."""
    if fields["reconstruction"] and parts.data.standardised:
        problem = f"the decoder makes pixels from 0 to 1, those of {parts.dataset.name} are standardised"
        raise UsageError(Kind.CONFLICT, problem, flag="reconstruction", value=True, expected="use no")


def refuse_backbone(parts: Parts, fields: Fields) -> None:
    """Refuses a backbone before a network that makes images, and one that is frozen and not there."""
    has_backbone = fields.get("backbone", "none") != "none"
    if has_backbone and parts.is_self_supervised:
        problem = f"{parts.network.name} makes images, and would make feature maps behind a backbone"
        raise UsageError(Kind.CONFLICT, problem, flag="backbone", value=fields["backbone"], expected="leave it out")
    if fields.get("freeze_backbone") and not has_backbone:
        raise UsageError(
            Kind.CONFLICT,
            "no backbone to freeze",
            flag="freeze_backbone",
            value=True,
            expected="add {flag:backbone} NAME",
        )


def refuse_missing_decoder(parts: Parts, fields: Fields) -> None:
    """Refuses a reconstruction by a network without class capsules."""
    if fields["reconstruction"] and not parts.has_routing:
        problem = f"{'' if parts.is_self_supervised else 'the CNN '}{parts.network.name} has no decoder"
        remedy = f"beside a capsule network, use {{flag:{BASELINE_FLAG}}}"
        raise UsageError(Kind.CONFLICT, problem, flag="reconstruction", value=True, expected=remedy)


def refuse_loss_of_activations(parts: Parts, fields: Fields) -> None:
    """Refuses a loss of activations for a CNN, which has logits."""
    if not parts.has_routing and fields["loss"] in ("margin", "spread"):
        problem = "it needs activations in [0, 1]"
        is_mask = parts.data.labels_an_image == ANY_NUMBER
        remedy = f"the CNN {parts.network.name} has logits: {'' if is_mask else 'cross-entropy or '}sigmoid"
        if ":" in parts.network.name:  # a user's own capsule network may have the wrong base class
            remedy += f"; a capsule network subclasses {CapsuleNetwork.__module__}.{CapsuleNetwork.__name__}"
        raise UsageError(Kind.CONFLICT, problem, flag="loss", value=fields["loss"], expected=remedy)


def refuse_balance_of_several_labels(parts: Parts, fields: Fields) -> None:
    """Refuses balanced classes for images of several classes each, and for a network without classes."""
    if not fields.get("balanced"):
        return
    if parts.is_self_supervised or parts.data.labels_an_image != 1:
        name = parts.network.name if parts.is_self_supervised else parts.dataset.name
        problem = f"{name} has no single class an image"
        raise UsageError(Kind.CONFLICT, problem, flag="balanced", value=True, expected="use no")


def refuse_loss_of_one_class(parts: Parts, fields: Fields) -> None:
    """Refuses a loss that needs one class an image for images of any number."""
    if parts.loss is None or parts.data.labels_an_image != ANY_NUMBER or parts.loss.component.any_number:
        return
    problem = f"it needs one class an image, those of {parts.dataset.name} show any number"
    remedy = "sigmoid, or margin for capsules" if parts.has_routing else "sigmoid"
    raise UsageError(Kind.CONFLICT, problem, flag="loss", value=parts.loss.name, expected=remedy)


def refuse_exclusive_routing(parts: Parts, fields: Fields) -> None:
    """Refuses a routing whose activations are shares of one class for images of any number of classes."""
    if parts.routing is None or parts.data.labels_an_image != ANY_NUMBER or not parts.routing.component.exclusive:
        return
    problem = f"class activations add up to 1, and images of {parts.dataset.name} show any number of classes"
    expected = [name for name in registry.names("routing") if not registry.get("routing", name).exclusive]
    raise UsageError(Kind.CONFLICT, problem, flag="routing", value=parts.routing.name, expected=expected)


def refuse_graphs_on_cpu(parts: Parts, fields: Fields) -> None:
    """Refuses CUDA graphs on a CPU."""
    if fields.get("compile") == "cuda-graphs" and fields["device"] == "cpu":
        remedy = "on a CPU there are none and default"
        raise UsageError(Kind.CONFLICT, "it needs a CUDA device", flag="compile", value="cuda-graphs", expected=remedy)


def refuse_missing_backend(parts: Parts, fields: Fields) -> None:
    """Refuses an implementation of the vote pass that this machine cannot run; the choice of ``auto`` runs everywhere."""
    backend, device = fields["backend"], fields["device"]
    if not parts.has_routing or backend == "auto":
        return
    try:
        choose_backend(backend, device)
    except ValueError as error:
        problem = f"cannot run here: {getattr(error, 'reason', error)}"
        remedy = f"auto would choose {choose_backend('auto', device)}"
        raise UsageError(Kind.MISSING, problem, flag="backend", value=backend, expected=remedy) from error


REFUSALS: tuple[Callable[[Parts, Fields], None], ...] = (
    refuse_large_shift,
    refuse_no_epochs,
    refuse_stop_without_accuracy,
    refuse_second_objective,
    refuse_standardised_reconstruction,
    refuse_missing_decoder,
    refuse_backbone,
    refuse_loss_of_one_class,
    refuse_exclusive_routing,
    refuse_loss_of_activations,
    refuse_balance_of_several_labels,
    refuse_graphs_on_cpu,
    refuse_missing_backend,
)
"""In this order: a cell with several faults is refused for the first one."""
