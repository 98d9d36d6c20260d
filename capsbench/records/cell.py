"""Cell: one network and how it is trained, frozen and validated, with a content hash for identity.

A Cell has every field that can change the trained weights, and no other: measures are not part of it. `capsbench.planning.matrix`
turns a user's request into cells; in a Cell, every default has been resolved to its value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

PROTOCOL = 1
"""Part of every identity. It never changes: the versions of components tell what a change of the code made stale."""

Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
"""A whole number of 64 bits, the most that a column of a table can hold."""

Scalar = bool | Whole | FiniteFloat | str
Fraction = Annotated[FiniteFloat, Field(gt=0, le=1)]
Positive = Annotated[FiniteFloat, Field(gt=0)]
NonNegative = Annotated[FiniteFloat, Field(ge=0)]
Count = Annotated[int, Field(gt=0, lt=2**31)]
CountFromZero = Annotated[int, Field(ge=0, lt=2**31)]

Option = Annotated[str, StringConstraints(pattern=r"^(network|routing|loss)\..")]
"""The name of a component's option: the component's kind, a dot, and the name that the component gives it."""


DATA = "data"
"""A key in a cell's ``code``, for the digest of a user's own images and labels, and in a record's ``sources``, for their parts.
A built-in data set is identified by its name, so only records have digests of its parts."""

TARGET = "network.parameters"
"""The option of a size-matched CNN for its target number of parameters."""


class Cell(BaseModel):
    """One network and its training. Cells with equal fields have one identity, and on one machine the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=1000)

    dataset: str = Field(description="data set")
    train_size: Count | None = Field(description="training images, a stratified draw by seed; none: all")
    network: str = Field(description="capsule network or baseline")
    size: str = Field(description="network size: tiny, small or paper")
    routing: str | None = Field(description="routing between capsules")
    iterations: Count | None = Field(description="routing iterations")
    loss: str | None = Field(
        description="training loss: margin, spread or cross-entropy; none of a network with an objective of its own"
    )
    reconstruction: bool = Field(description="train a decoder beside the classes")
    reconstruction_weight: NonNegative = Field(description="weight of the sum of squared pixel errors")
    optimizer: Literal["adam", "adamw", "sgd"] = Field(description="optimiser: adam, adamw or sgd (momentum 0.9)")
    learning_rate: Positive = Field(description="learning rate, or its peak (one-cycle)")
    schedule: Literal["constant", "exponential", "one-cycle"] = Field(
        description="learning rate over the epochs: constant, exponential or one-cycle"
    )
    decay: Fraction = Field(description="factor an epoch of the exponential schedule")
    weight_decay: NonNegative = Field(description="weight decay")
    clip: NonNegative = Field(description="largest norm of the gradient; 0: no clipping")
    epochs: Count = Field(description="passes over the training images")
    patience: CountFromZero = Field(
        description="stop after this many epochs without a better validation accuracy and keep the best; 0: train to the end"
    )
    batch_size: Count = Field(description="images a training step")
    shift: CountFromZero = Field(description="training images are shifted by up to this many pixels")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        description="seed of the initial weights and the order of the data"
    )
    precision: Literal["float32", "float64", "bfloat16"] = Field(
        description="arithmetic: float32, float64 or bfloat16 (mixed with float32, as torch's autocast does)"
    )
    device: Literal["cpu", "cuda"] = Field(description="cpu, cuda or cuda:N; auto: cuda where there is one")
    backend: str = Field(description="implementation of the vote pass")
    threads: Annotated[int, Field(gt=0, le=1024)] = Field(description="CPU threads")
    options: dict[Option, Scalar] = Field(description="options of the network, the routing and the loss, all of them")
    code: dict[str, str] = Field(
        description="digests of the source of a user's own parts that training uses, by kind, and of an own data set's images"
    )

    # Later fields: the default is what the code did before, and is left out of the identity so that older identities stay valid.
    warp: Literal["none", "affnist"] = Field(
        "none", description="training images are warped: none or affnist (its ranges)"
    )
    decay_steps: CountFromZero = Field(
        0, description="training steps that a decay is spread over (exponential); 0: those of an epoch"
    )
    stop_at: Annotated[FiniteFloat, Field(ge=0, le=1)] = Field(
        0.0, description="stop after the epoch that reaches this validation accuracy, a fraction; 0: train to the end"
    )
    channels_last: bool = Field(False, description="convolutions with the channels last in memory")
    fused_optimizer: bool = Field(False, description="torch's fused optimiser step")
    compile: Literal["none", "default", "cuda-graphs"] = Field(
        "none", description="torch.compile of the training step: none, default or cuda-graphs"
    )

    @cached_property
    def id(self) -> str:
        """The identity: 12 hexadecimal digits of a hash over all fields and `PROTOCOL`."""
        return digest_fields(self.model_dump(mode="json", exclude_defaults=True))

    @cached_property
    def contender(self) -> str:
        """The identity shared by all cells that differ only in their seed."""
        return digest_fields(self.model_dump(mode="json", exclude_defaults=True) | {"seed": 0})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Cell:
        copied = super().model_copy(update=update, deep=deep)
        for identity in ("id", "contender"):  # cached for the original
            copied.__dict__.pop(identity, None)
        return copied

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def title(self) -> str:
        """A name for people: network, routing, iterations, data and seed."""
        routing = f" {self.routing} x{self.iterations}" if self.routing else ""
        parameters = self.options.get(TARGET)
        if parameters and isinstance(parameters, int):  # a record made by hand may have any type here
            routing = f" to {parameters:,}"
        few = f"[{self.train_size}]" if self.train_size else ""
        return f"{self.network}{routing} {self.size}, {self.dataset}{few}, seed {self.seed}"

    def component_options(self, component: Literal["network", "routing", "loss"]) -> dict[str, Scalar]:
        """Returns the options of one component, without the prefix of its kind."""
        prefix = component + "."
        return {name.removeprefix(prefix): value for name, value in self.options.items() if name.startswith(prefix)}


def digest_fields(fields: dict[str, Any]) -> str:
    """Returns the identity of a cell with these fields: 12 hexadecimal digits."""
    content = json.dumps({"protocol": PROTOCOL, **fields}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


FLAGS: dict[str, str] = {
    "iterations": "iters",
    "seed": "seeds",
    "learning_rate": "lr",
    "batch_size": "batch",
}
"""Field -> its name on the command line, in suites and in `capsbench.run`, where the two differ."""


def flag_of(field: str) -> str:
    """Returns a field's name in suites and in Python: ``iterations`` is ``iters``."""
    return FLAGS.get(field, field)


def asked_fields() -> dict[str, str]:
    """Returns the fields that a user may set: name in suites and Python -> field of the Cell."""
    return {flag_of(name): name for name in Cell.model_fields if name not in ("options", "code")}
