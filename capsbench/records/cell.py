"""Cell: one network and how it is trained, frozen and validated, with a content hash for identity.

A Cell has every field that can change the trained weights, and no other: measures are not part of it. `capsbench.planning.matrix`
turns a user's request into cells; in a Cell, every default has been resolved to its value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from capsbench.records.declaration import Declaration, Panel, Role, read_declarations
from capsbench.sources.weights import NONE as WEIGHTS_NONE
from capsbench.stats.spaces import Choice, Range

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

Option = Annotated[str, StringConstraints(pattern=r"^(dataset|network|routing|loss)\..")]
"""The name of a component's option: the component's kind, a dot, and the name that the component gives it."""


DATA = "data"
"""A key in a cell's ``code``, for the digest of a user's own images and labels, and in a record's ``sources``, for their parts.
A built-in data set is identified by its name, so only records have digests of its parts."""

IMAGES = "images"
"""A key in a record's ``sources``, for the shape of a user's own images and the names of their classes."""

TARGET = "network.parameters"
"""The option of a size-matched CNN for its target number of parameters."""


class Cell(BaseModel):
    """One network and its training. Cells with equal fields have one identity, and on one machine the same weights.

    The `Declaration` of each field says all that the command line, the plan and reports know of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_max_length=1000)

    dataset: Annotated[
        str,
        Declaration(
            "data set: a name, folder:PATH, npz:PATH, csv:PATH, hf:PATH, torchvision:NAME or module:Class",
            Role.TASK,
            Panel.DATA,
            axis=("digits",),
        ),
    ]
    train_size: Annotated[
        Count | None, Declaration("training images, a stratified draw by seed; none: all", Role.TASK, Panel.DATA)
    ]
    network: Annotated[
        str,
        Declaration("capsule network or baseline", Role.NETWORK, Panel.NETWORK, decided_by="the routing's own"),
    ]
    size: Annotated[str, Declaration("network size: tiny, small or paper", Role.TASK, Panel.NETWORK, axis=("tiny",))]
    routing: Annotated[
        str | None,
        Declaration(
            "routing between capsules",
            Role.NETWORK,
            Panel.NETWORK,
            decided_by="the network's own; dynamic,em with neither",
        ),
    ]
    iterations: Annotated[
        Count | None,
        Declaration("routing iterations", Role.NETWORK, Panel.NETWORK, flag="iters", decided_by="the routing's own"),
    ]
    loss: Annotated[
        str | None,
        Declaration(
            "training loss: margin, spread, cross-entropy or sigmoid; none of a network with an objective of its own",
            Role.OWN,
            Panel.NETWORK,
            decided_by="the network's own",
        ),
    ]
    reconstruction: Annotated[
        bool,
        Declaration("train a decoder beside the classes", Role.OWN, Panel.NETWORK, decided_by="the network's own"),
    ]
    reconstruction_weight: Annotated[
        NonNegative,
        Declaration(
            "weight of the sum of squared pixel errors",
            Role.BUDGET,
            Panel.NETWORK,
            default=0.0005,
            space=Range(0.00005, 0.05),
        ),
    ]
    optimizer: Annotated[
        Literal["adam", "adamw", "sgd"],
        Declaration("optimiser: adam, adamw or sgd (momentum 0.9)", Role.BUDGET, Panel.TRAINING, default="adam"),
    ]
    # The default suits every contender at tiny and small sizes (docs/protocol.md has the grid, by validation accuracy). At paper
    # size, networks have their papers' rates.
    learning_rate: Annotated[
        Positive,
        Declaration(
            "learning rate, or its peak (one-cycle)",
            Role.OWN,
            Panel.TRAINING,
            flag="lr",
            default=0.02,
            space=Range(0.0005, 0.1),
        ),
    ]
    schedule: Annotated[
        Literal["constant", "exponential", "one-cycle"],
        Declaration(
            "learning rate over the epochs: constant, exponential or one-cycle",
            Role.BUDGET,
            Panel.TRAINING,
            default="one-cycle",
            space=Choice(("constant", "exponential", "one-cycle")),
        ),
    ]
    decay: Annotated[
        Fraction,
        Declaration("factor an epoch of the exponential schedule", Role.BUDGET, Panel.TRAINING, default=0.9),
    ]
    weight_decay: Annotated[
        NonNegative,
        Declaration("weight decay", Role.BUDGET, Panel.TRAINING, default=0.0, space=Range(1e-7, 1e-3)),
    ]
    clip: Annotated[
        NonNegative,
        Declaration("largest norm of the gradient; 0: no clipping", Role.BUDGET, Panel.TRAINING, default=0.0),
    ]
    epochs: Annotated[
        CountFromZero,
        Declaration(
            "passes over the training images; auto: as many as one rule finds, the same for every contender",
            Role.BUDGET,
            Panel.TRAINING,
            decided_by="the data set's own",
        ),
    ]
    patience: Annotated[
        CountFromZero,
        Declaration(
            "stop after this many epochs without a better validation accuracy and keep the best; 0: train to the end",
            Role.BUDGET,
            Panel.TRAINING,
            default=0,
        ),
    ]
    batch_size: Annotated[
        Count,
        Declaration(
            "images a training step",
            Role.BUDGET,
            Panel.TRAINING,
            flag="batch",
            default=64,
            space=Choice((32, 64, 128)),
        ),
    ]
    shift: Annotated[
        CountFromZero,
        Declaration(
            "training images are shifted by up to this many pixels",
            Role.BUDGET,
            Panel.DATA,
            decided_by="the data set's own",
        ),
    ]
    seed: Annotated[
        CountFromZero,
        Declaration(
            "seed of the initial weights and the order of the data",
            Role.SEED,
            Panel.TRAINING,
            flag="seeds",
            axis=(0, 1, 2),
        ),
    ]
    precision: Annotated[
        Literal["float32", "float64", "bfloat16"],
        Declaration(
            "arithmetic: float32, float64 or bfloat16 (mixed with float32, as torch's autocast does)",
            Role.BUDGET,
            Panel.MACHINE,
            default="float32",
        ),
    ]
    device: Annotated[
        Literal["cpu", "cuda"],
        Declaration(
            "device: cpu, cuda or cuda:N; auto: cuda where there is one",
            Role.MACHINE,
            Panel.MACHINE,
            default="auto",
            of_machine=True,
        ),
    ]
    backend: Annotated[str, Declaration("implementation of the vote pass", Role.MACHINE, Panel.MACHINE, default="auto")]
    threads: Annotated[
        int,
        Field(gt=0, le=1024),
        Declaration(
            "CPU threads",
            Role.MACHINE,
            Panel.MACHINE,
            decided_by="1; at paper size one a core",
            of_machine=True,
        ),
    ]
    options: Annotated[
        dict[Option, Scalar],
        Declaration("options of the data set, the network, the routing and the loss, all of them", Role.OWN),
    ]
    code: Annotated[
        dict[str, str],
        Declaration(
            "digests of the source of a user's own parts that training uses, by kind, and of an own data set's images",
            Role.SOURCE,
        ),
    ]

    # Later fields: the default is what the code did before, and is left out of the identity so that older identities stay valid.
    warp: Annotated[
        Literal["none", "affnist"],
        Declaration("training images are warped: none or affnist (its ranges)", Role.BUDGET, Panel.DATA),
    ] = "none"
    decay_steps: Annotated[
        CountFromZero,
        Declaration(
            "training steps that a decay is spread over (exponential); 0: those of an epoch",
            Role.BUDGET,
            Panel.TRAINING,
        ),
    ] = 0
    stop_at: Annotated[
        FiniteFloat,
        Field(ge=0, le=1),
        Declaration(
            "stop after the epoch that reaches this validation accuracy, a fraction; 0: train to the end",
            Role.BUDGET,
            Panel.TRAINING,
        ),
    ] = 0.0
    balanced: Annotated[
        bool,
        Declaration("each class is equally likely to be drawn for a training step", Role.BUDGET, Panel.DATA),
    ] = False
    weights: Annotated[
        str,
        Declaration(
            "file of weights trained elsewhere, which are measured as they are; on record is its digest; none: random ones, "
            "which are trained",
            Role.OWN,
            Panel.NETWORK,
        ),
    ] = WEIGHTS_NONE
    backbone: Annotated[
        str,
        Declaration("first stages of a CNN in front, timm:NAME or torchvision:NAME", Role.BUDGET, Panel.NETWORK),
    ] = "none"
    freeze_backbone: Annotated[
        bool, Declaration("leave the random weights of the backbone as they are", Role.BUDGET, Panel.NETWORK)
    ] = False
    channels_last: Annotated[
        bool, Declaration("convolutions with the channels last in memory", Role.MACHINE, Panel.MACHINE)
    ] = False
    fused_optimizer: Annotated[bool, Declaration("torch's fused optimiser step", Role.MACHINE, Panel.MACHINE)] = False
    compile: Annotated[
        Literal["none", "default", "cuda-graphs"],
        Declaration("training step by torch.compile: none, default or cuda-graphs", Role.MACHINE, Panel.MACHINE),
    ] = "none"

    @model_validator(mode="after")
    def _check_epochs(self) -> Self:
        """Raises ValueError unless networks that are trained, and no others, have epochs."""
        if bool(self.epochs) == self.is_given:
            raise ValueError("epochs: expected 0 of a network whose weights are given, else 1 or more")
        return self

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

    def with_seed(self, seed: int) -> Cell:
        """Returns the cell of the same contender with another seed."""
        copied = self.model_copy(update={"seed": seed})
        copied.__dict__["contender"] = self.contender  # which the copy would compute again
        return copied

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def is_given(self) -> bool:
        """True for a network whose weights were trained elsewhere, so that no epoch is trained here."""
        return self.weights != WEIGHTS_NONE

    @property
    def has_routing(self) -> bool:
        """True for a network with routing between capsules; false for a CNN and for one with an objective of its own."""
        return self.routing is not None

    @property
    def title(self) -> str:
        """A name for people: network, routing, iterations, data and seed."""
        routing = f" {self.routing} x{self.iterations}" if self.has_routing else ""
        parameters = self.options.get(TARGET)
        if parameters and isinstance(parameters, int):  # a record made by hand may have any type here
            routing = f" to {parameters:,}"
        few = f"[{self.train_size}]" if self.train_size else ""
        return f"{self.network}{routing} {self.size}, {self.dataset}{few}, seed {self.seed}"

    def component_options(self, component: Literal["dataset", "network", "routing", "loss"]) -> dict[str, Scalar]:
        """Returns the options of one component, without the prefix of its kind."""
        return select_options(self.options, component)


def digest_fields(fields: dict[str, Any]) -> str:
    """Returns the identity of a cell with these fields: 12 hexadecimal digits."""
    content = json.dumps({"protocol": PROTOCOL, **fields}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


FIELDS = read_declarations(Cell)
"""Field of the Cell -> its declaration."""

OF_MACHINE = [name for name, declaration in FIELDS.items() if declaration.of_machine]
"""The fields whose default the machine sets."""


def fields_of(*roles: Role) -> list[str]:
    """Returns the fields that have one of these roles, in the order of the Cell."""
    return [name for name, declaration in FIELDS.items() if declaration.role in roles]


def flag_of(field: str) -> str:
    """Returns a field's name in suites and in Python: ``iterations`` is ``iters``. Names of options stay as they are."""
    declaration = FIELDS.get(field)
    return declaration.flag or field if declaration else field


def short_name(option: str) -> str:
    """Returns an option's name without its component: ``routing.beta`` -> ``beta``."""
    return option.partition(".")[2]


def select_options(options: Mapping[str, Scalar], component: str) -> dict[str, Scalar]:
    """Returns the options of one component among some, without the prefix of its kind."""
    prefix = component + "."
    return {name.removeprefix(prefix): value for name, value in options.items() if name.startswith(prefix)}


@cache
def asked_fields() -> Mapping[str, str]:
    """Returns the fields that a user may set: name in suites and Python -> field of the Cell."""
    return {flag_of(name): name for name, declaration in FIELDS.items() if declaration.panel is not None}


def describe_cell(cell: Cell) -> dict[str, Any]:
    """Returns a cell as a row of a table: its fields, its options and the digests of a user's own code."""
    fields = cell.model_dump(mode="json", include={*asked_fields().values()})
    return {"cell": cell.id, **fields, **cell.options, **{f"code.{part}": digest for part, digest in cell.code.items()}}
