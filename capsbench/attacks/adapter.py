"""Attacks of torchattacks behind one function, which owns what has to be right around them.

torchattacks leaves a network in training mode after an exception, fills its gradients, seeds the global random numbers,
returns graphs and NaN, masks logits with 0, and takes for granted that there are 10 classes. None of it gets out of here.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from capsbench.attacks.threats import Threat
from capsbench.errors import ArgumentError, Kind, UsageError, check_choice
from capsbench_kernels import at_least_float32

BATCH = 128
"""Images that are attacked at a time, the same for all networks: what an attack draws at random hangs on it."""

LOSSES = ("cross-entropy", "dlr", "margin")
"""Losses of logits z that attacks make large: ``dlr`` is Croce, Hein 2020, equation 6; ``margin`` max z_k - z_y over k != y."""

FEWEST_CLASSES = {"dlr": 3, "apgd-t": 4}
"""Classes that a loss or an attack needs at least: the third, the fourth greatest logit is a part of it."""

INK = 1e-3
"""How far CW's images are kept from 0 and 1, where its change of variables has no gradient and pixels never move."""

OVERSHOOT = 0.02
"""By what part DeepFool goes beyond the border (Moosavi-Dezfooli 2016)."""


@dataclass(frozen=True)
class Attack:
    """An attack and its settings; what it does not use is passed over.

    Args:
        name: one of `ATTACKS`.
        threat: what is bounded.
        epsilon: the bound, pixels in [0, 1]; under L0 a number of pixels. Attacks that look for the nearest adversarial
            image (cw, deepfool) have none.
        loss: one of `LOSSES`; None: the first that the attack has, for most the one and only.
        steps: gradient steps, queries (square) or generations (one-pixel).
        step: the size of a step; None: 2.5 epsilon / steps (Madry 2018).
        restarts: random starts; an image stays as the first one that succeeds left it.
        constants: cw's c, each tried in turn; an image stays as the nearest success left it.
    """

    name: str
    threat: Threat = Threat.LINF
    epsilon: float = 0.0
    loss: str | None = None
    steps: int = 40
    step: float | None = None
    restarts: int = 1
    constants: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        check_choice("name", self.name, tuple(ATTACKS))
        kind = ATTACKS[self.name]
        check_choice(f"threat of {self.name}", self.threat, tuple(kind.losses))
        losses = kind.losses[self.threat]
        object.__setattr__(self, "loss", self.loss or losses[0])
        check_choice(f"loss of {self.name} under {self.threat}", str(self.loss), losses)
        if kind.bounded != (self.epsilon > 0):
            expected = "a number above 0" if kind.bounded else "0, since it looks for the nearest"
            raise ArgumentError(f"epsilon of {self.name}", expected, self.epsilon)
        if self.threat is Threat.L0 and self.epsilon % 1:
            raise ArgumentError(f"epsilon of {self.name}", "a whole number of pixels", self.epsilon)

    @property
    def bounded(self) -> bool:
        """Whether it stays within epsilon, rather than looking for the nearest adversarial image."""
        return ATTACKS[self.name].bounded

    @property
    def white_box(self) -> bool:
        """Whether it follows a gradient, and so a reading and a loss."""
        return ATTACKS[self.name].white_box

    @property
    def step_size(self) -> float:
        return 2.5 * self.epsilon / self.steps if self.step is None else self.step


class Attacked(NamedTuple):
    """Adversarial images ``[N, C, H, W]`` in [0, 1], and for which of them ``[N]`` the attack gave what is none.

    That is what has a NaN, leaves [0, 1] or goes beyond epsilon; the clean image stands for it.
    """

    images: Tensor
    invalid: Tensor


def perturbed(attack: Attack, reading: nn.Module, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
    """Adversarial images alone; see `attacked`."""
    return attacked(attack, reading, images, labels, seed=seed).images


def attacked(
    attack: Attack, reading: nn.Module, images: Tensor, labels: Tensor, *, seed: int, batch: int = BATCH
) -> Attacked:
    """Attacks images that a network should take for ``labels``, in evaluation mode, and leaves everything as it was.

    That is: the mode of every module, which parameters require gradients, their gradients, and torch's and NumPy's global
    random numbers. Where a batch does not fit the accelerator's memory, halves of it are attacked.

    Args:
        reading: images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``, such as a `capsbench.attacks.Reading`. Where it
            has no gradient at all, attacks take it to be 0.
        images: ``[N, C, H, W]``, in [0, 1], of the floating-point type that the network takes.
        labels: ``[N]``.
        seed: of whatever the attack draws; of the same images it draws the same for every network.

    Raises:
        ArgumentError: images that are not in [0, 1], labels that are not ``[N]`` or no classes of the network, or fewer
            classes than the attack or its loss needs.
    """
    _check(images, labels)
    if len(images) == 0:
        return Attacked(images.clone(), torch.zeros(0, dtype=torch.bool, device=images.device))
    try:
        with left_as_it_was(reading), torch.enable_grad():
            model = _Guarded(reading, images)
            _check_classes(attack, labels, model.classes)
            batches = zip(images.split(batch), labels.split(batch), strict=True)
            parts = [_attacked(attack, model, *each, seed=1009 * seed + place) for place, each in enumerate(batches)]
            return Attacked(*(torch.cat(part) for part in zip(*parts, strict=True)))
    except torch.OutOfMemoryError:
        if batch == 1:
            raise
    torch.cuda.empty_cache()
    return attacked(attack, reading, images, labels, seed=seed, batch=batch // 2)


def zero_gradient(reading: nn.Module, images: Tensor, labels: Tensor, loss: str) -> Tensor:
    """For which images ``[N]`` the gradient of a loss (`LOSSES`) is 0 in every pixel; arguments as of `attacked`."""
    if len(images) == 0:
        return torch.zeros(0, dtype=torch.bool, device=images.device)
    zero = []
    with left_as_it_was(reading), torch.enable_grad():
        model = _Guarded(reading, images)
        for batch, shown in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            at = batch.clone().requires_grad_()
            cost = _library().UPGD(model, loss=_loss(model, loss)).get_loss(at, shown)
            (gradient,) = torch.autograd.grad(cost, at)
            zero.append((gradient == 0).flatten(1).all(dim=1))
    return torch.cat(zero)


def _attacked(attack: Attack, model: _Guarded, images: Tensor, labels: Tensor, *, seed: int) -> Attacked:
    """One batch, by as many runs as the attack has restarts or constants."""
    start = images.clamp(INK, 1 - INK) if attack.name == "cw" else images
    best, invalid = images.clone(), torch.zeros(len(images), dtype=torch.bool, device=images.device)
    nearest = torch.full_like(images[:, 0, 0, 0], torch.inf)
    for run, constant in enumerate(attack.constants * attack.restarts):
        # A run that succeeded is not made again, unless it might come nearer.
        left = ((nearest == torch.inf) | (not attack.bounded)).nonzero().squeeze(1)
        if len(left) == 0:
            break
        run_seed = (1009 * seed + run) % 2**32
        torch.manual_seed(run_seed)
        np.random.seed(run_seed)
        torchattack = ATTACKS[attack.name].make(attack, model, run_seed, constant)
        found = torchattack(start[left], labels[left]).detach().to(images.dtype)
        valid = _valid(attack, images[left], found)
        invalid[left] |= ~valid
        found = torch.where(valid[:, None, None, None], found, images[left])
        with torch.no_grad():
            fooled = model(found).argmax(dim=1) != labels[left]
        distance = torch.where(fooled, attack.threat.distance(found, images[left]), torch.inf)
        take = (distance < nearest[left]) | ((nearest[left] == torch.inf) & ~fooled & valid)
        best[left[take]], nearest[left[take]] = found[take], distance[take]
    return Attacked(best, invalid)


class _Guarded(nn.Module):
    """What torchattacks is given in the place of a reading: logits that are at least float32 and have a gradient."""

    def __init__(self, reading: nn.Module, images: Tensor) -> None:
        super().__init__()
        # torchattacks asks the first parameter where the network lies, and the reading may have none.
        self.place = nn.Parameter(images.new_empty(0), requires_grad=False)
        self.reading = reading
        self.eval()  # torchattacks puts back into training mode what it found there
        with torch.no_grad():
            self.classes = self(images[:1]).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        logits = at_least_float32(self.reading(images))
        if images.requires_grad and not logits.requires_grad:
            logits = logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)
        return logits


class _Positive(nn.Module):
    """Logits shifted so that all are at least 1: CW masks them with 0, and takes the greatest."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        return logits - logits.detach().amin(dim=1, keepdim=True) + 1


@contextmanager
def left_as_it_was(reading: nn.Module) -> Iterator[None]:
    """Puts back modes, requires_grad and the global random numbers; gradients are not touched, as no parameter wants one."""
    modes = [(module, module.training) for module in reading.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in reading.parameters()]
    of_numpy = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(of_numpy)
        for module, mode in modes:
            module.training = mode
        for parameter, wants in wanted:
            parameter.requires_grad_(wants)


def _check(images: Tensor, labels: Tensor) -> None:
    if images.dim() != 4 or not images.is_floating_point():
        raise ArgumentError("images", "[N, C, H, W] of a floating-point type", _described(images))
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ArgumentError("labels", f"[{len(images)}] of an integer type", _described(labels))
    if not ((images >= 0) & (images <= 1)).all():
        low, high = images.aminmax()
        raise ArgumentError("images", "pixels from 0 to 1", f"{low:g} to {high:g}")


def _described(tensor: Tensor) -> tuple[list[int], torch.dtype]:
    return list(tensor.shape), tensor.dtype


def _check_classes(attack: Attack, labels: Tensor, classes: int) -> None:
    for part in (attack.name, str(attack.loss)):
        if classes < FEWEST_CLASSES.get(part, 2):
            raise ArgumentError(part, f"a network of at least {FEWEST_CLASSES.get(part, 2)} classes", classes)
    low, high = labels.aminmax()
    if low < 0 or high >= classes:
        raise ArgumentError("labels", f"0 to {classes - 1}", f"{low} to {high}")


def _valid(attack: Attack, images: Tensor, found: Tensor) -> Tensor:
    """Which of the images found ``[N]`` are images, and within epsilon but for rounding."""
    flat = found.flatten(1)
    valid = (flat >= 0).all(dim=1) & (flat <= 1).all(dim=1)  # false of NaN
    if attack.bounded:
        valid &= attack.threat.distance(found, images) <= attack.epsilon * (1 + 1e-4) + 1e-6
    return valid


# The attacks

MISSING = 'torchattacks is not installed; pip install "capsbench[attacks]"'


def missing() -> str | None:
    """Why no attack can be made here, if so."""
    return None if importlib.util.find_spec("torchattacks") else MISSING


def _library() -> Any:
    """torchattacks, imported when the first attack is made: that takes seconds."""
    if missing():
        raise UsageError(Kind.MISSING, MISSING)
    return importlib.import_module("torchattacks")


def _fgsm(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return _library().FGSM(model, eps=attack.epsilon)


def _bim(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return _library().BIM(model, eps=attack.epsilon, alpha=attack.step_size, steps=attack.steps)


def _pgd(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    settings: dict[str, Any] = dict(eps=attack.epsilon, alpha=attack.step_size, steps=attack.steps, random_start=True)
    if attack.threat is Threat.L2:
        return _library().PGDL2(model, **settings)
    if attack.loss == "cross-entropy":
        return _library().PGD(model, **settings)

    return _library().UPGD(
        model, **settings, loss=_loss(model, str(attack.loss)), decay=0.0
    )  # without momentum it is PGD


def _loss(model: nn.Module, name: str) -> Any:
    """A loss as UPGD takes it: the name of its own, or a function of images, labels and targets."""

    def margin(images: Tensor, labels: Tensor, _: None) -> Tensor:
        logits, chosen = model(images), labels[:, None]
        others = logits.scatter(1, chosen, -torch.inf)
        return (others.amax(dim=1) - logits.gather(1, chosen).squeeze(1)).sum()

    # Its own margin masks logits with 0, has no gradient where an image is misclassified, and fails on a GPU.
    return {"cross-entropy": "ce", "dlr": "dlr", "margin": margin}[name]


def _apgd(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    loss = "ce" if attack.loss == "cross-entropy" else attack.loss
    return _library().APGD(model, norm=attack.threat, eps=attack.epsilon, steps=attack.steps, loss=loss, seed=seed)


def _apgd_targeted(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    settings: dict[str, Any] = dict(norm=attack.threat, eps=attack.epsilon, steps=attack.steps)
    return _library().APGDT(model, **settings, n_classes=model.classes, seed=seed)


class _ToTheEnd(int):
    """A number of steps of which CW makes all: a tenth of it, where CW would give a batch up as a whole, is never reached."""

    def __floordiv__(self, parts: int) -> int:
        return int(self)


def _cw(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return _library().CW(_Positive(model), c=constant, steps=_ToTheEnd(attack.steps), lr=0.01)  # the paper's rate


def _deepfool(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    """DeepFool, with the paper's overshoot of the sum of all steps where that of each step was not enough.

    Steps that are clipped to [0, 1] come ever nearer to the border and never cross it, by however much each is longer.
    """
    deepfool = _library().DeepFool(model, steps=attack.steps, overshoot=OVERSHOOT)

    def find(images: Tensor, labels: Tensor) -> Tensor:
        found: Tensor = deepfool(images, labels).detach()
        beyond = (images + (1 + OVERSHOOT) * (found - images)).clamp(0, 1)
        with torch.no_grad():
            short = model(found).argmax(dim=1) == labels
        return torch.where(short[:, None, None, None], beyond, found)

    return find


def _square(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    norm = Threat.L2 if attack.threat is Threat.L2 else Threat.LINF
    return _library().Square(model, norm=norm, eps=attack.epsilon, n_queries=attack.steps, seed=seed)


def _one_pixel(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return _library().OnePixel(model, pixels=int(attack.epsilon), steps=attack.steps, popsize=50)


def _noise(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return _library().PGD(model, eps=attack.epsilon, steps=0)  # its random start alone


class AttackKind(NamedTuple):
    """An attack of torchattacks: what makes it, the losses it has under each threat, and what kind it is."""

    make: Callable[[Attack, _Guarded, int, float], Any]
    losses: Mapping[Threat, tuple[str, ...]]
    bounded: bool = True
    white_box: bool = True


_CE = LOSSES[:1]

ATTACKS: dict[str, AttackKind] = {
    "fgsm": AttackKind(_fgsm, {Threat.LINF: _CE}),
    "bim": AttackKind(_bim, {Threat.LINF: _CE}),
    "pgd": AttackKind(_pgd, {Threat.LINF: LOSSES, Threat.L2: _CE}),
    "apgd": AttackKind(_apgd, {Threat.LINF: LOSSES[:2], Threat.L2: LOSSES[:2]}),
    "apgd-t": AttackKind(_apgd_targeted, {Threat.LINF: ("dlr",), Threat.L2: ("dlr",)}),
    "cw": AttackKind(_cw, {Threat.L2: ("margin",)}, bounded=False),
    "deepfool": AttackKind(_deepfool, {Threat.L2: ("margin",)}, bounded=False),
    "square": AttackKind(_square, {Threat.BLACK_BOX: ("margin",), Threat.L2: ("margin",)}, white_box=False),
    "one-pixel": AttackKind(_one_pixel, {Threat.L0: _CE}, white_box=False),
    "noise": AttackKind(_noise, {Threat.LINF: _CE}, white_box=False),
}
"""The attacks by name. Uniform ``noise`` is none: it is what an attack is held against."""
