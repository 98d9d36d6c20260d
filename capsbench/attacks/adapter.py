"""Runs attacks of torchattacks through one function that contains the library's side effects.

torchattacks leaves a network in training mode after an exception, fills its gradients, seeds the global random generators,
returns graphs and NaN, masks logits with 0, and assumes 10 classes. This module keeps all of that from its callers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from capsbench.attacks.gradients import bypass_onednn
from capsbench.attacks.library import import_library
from capsbench.attacks.threats import Threat
from capsbench.errors import ArgumentError, check_choice
from capsbench_kernels import at_least_float32

BATCH = 128
"""The number of images in a batch, equal for all networks, because the random draws of an attack depend on it."""

LOSSES = ("cross-entropy", "dlr", "margin")
"""Losses of logits z that attacks maximise. ``dlr``: Croce, Hein 2020, equation 6; ``margin``: max z_k - z_y over k != y."""

FEWEST_CLASSES = {"dlr": 3, "apgd-t": 4}
"""The smallest number of classes of a loss or an attack that uses the third or the fourth largest logit."""

INK = 1e-3
"""The distance of CW's start from 0 and 1, where its change of variables has no gradient and pixels never change."""

OVERSHOOT = 0.02
"""The fraction by which DeepFool exceeds the distance to the decision boundary (Moosavi-Dezfooli 2016)."""


@dataclass(frozen=True)
class Attack:
    """An attack and its settings; an attack ignores settings that it does not have.

    Args:
        name: one of `ATTACKS`.
        threat: the threat model, which defines what epsilon bounds.
        epsilon: the bound, for pixels in [0, 1]; under L0, a number of pixels. 0 for attacks that search for the nearest
            adversarial image (cw, deepfool).
        loss: one of `LOSSES`; None means the attack's first loss, which for most attacks is the only one.
        steps: number of gradient steps, queries (square) or generations (one-pixel).
        step: the step size; None means 2.5 epsilon / steps (Madry 2018).
        restarts: number of random starts; the first successful image is kept.
        constants: values of cw's c, tried in order; the nearest successful image is kept.
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
            expected = (
                "a number above 0" if kind.bounded else "0, because it searches for the nearest adversarial image"
            )
            raise ArgumentError(f"epsilon of {self.name}", expected, self.epsilon)
        if self.threat is Threat.L0 and self.epsilon % 1:
            raise ArgumentError(f"epsilon of {self.name}", "a whole number of pixels", self.epsilon)

    @property
    def bounded(self) -> bool:
        """True if the attack stays within epsilon; False if it searches for the nearest adversarial image."""
        return ATTACKS[self.name].bounded

    @property
    def white_box(self) -> bool:
        """True if the attack follows the gradient of a loss through a reading."""
        return ATTACKS[self.name].white_box

    @property
    def step_size(self) -> float:
        return 2.5 * self.epsilon / self.steps if self.step is None else self.step


class Attacked(NamedTuple):
    """Adversarial images ``[N, C, H, W]`` in [0, 1], and a mask ``[N]`` of images for which the attack returned an invalid one.

    An image is invalid if it contains NaN, leaves [0, 1] or exceeds epsilon. The clean image replaces it.
    """

    images: Tensor
    invalid: Tensor


def perturb_images(attack: Attack, reading: nn.Module, images: Tensor, labels: Tensor, *, seed: int) -> Tensor:
    """Returns only the adversarial images of `attack_images`."""
    return attack_images(attack, reading, images, labels, seed=seed).images


def attack_images(
    attack: Attack, reading: nn.Module, images: Tensor, labels: Tensor, *, seed: int, batch: int = BATCH
) -> Attacked:
    """Attacks images of the classes ``labels`` in evaluation mode, and restores all state afterwards.

    Restored are the mode of every module, the parameters' ``requires_grad``, their gradients, and the global random states of
    torch and NumPy. If a batch exceeds the accelerator's memory, half the batch size is tried.

    Args:
        reading: a module from images ``[B, C, H, W]`` in [0, 1] to logits ``[B, classes]``, such as a
            `capsbench.attacks.Reading`. If it has no gradient, attacks use a gradient of 0.
        images, labels: ``[N, C, H, W]`` in [0, 1], in the floating-point dtype of the network, and ``[N]``.
        seed: the seed of the attack's random draws, which for given images are equal for all networks.
        batch: number of images attacked at a time.

    Raises:
        ArgumentError: images are not in [0, 1], labels are not ``[N]`` or not classes of the network, or the attack or its loss
            needs more classes.
    """
    _check_images(images, labels)
    if len(images) == 0:
        return Attacked(images.clone(), torch.zeros(0, dtype=torch.bool, device=images.device))
    try:
        with preserve_state(reading), bypass_onednn(reading), torch.enable_grad():
            model = _Guarded(reading, images)
            _check_classes(attack, labels, model.classes)
            batches = zip(images.split(batch), labels.split(batch), strict=True)
            parts = [
                _attack_batch(attack, model, *pair, seed=1009 * seed + index) for index, pair in enumerate(batches)
            ]
            return Attacked(*(torch.cat(part) for part in zip(*parts, strict=True)))
    except torch.OutOfMemoryError:
        if batch == 1:
            raise
    # Outside of the except block, because the exception keeps the tensors of the failed batch alive.
    torch.cuda.empty_cache()
    return attack_images(attack, reading, images, labels, seed=seed, batch=batch // 2)


def has_zero_gradient(reading: nn.Module, images: Tensor, labels: Tensor, loss: str) -> Tensor:
    """Returns a mask ``[N]`` of images whose loss gradient is 0 in every pixel; arguments as in `attack_images`."""
    if len(images) == 0:
        return torch.zeros(0, dtype=torch.bool, device=images.device)
    zero = []
    with preserve_state(reading), bypass_onednn(reading), torch.enable_grad():
        model = _Guarded(reading, images)
        for batch, batch_labels in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            leaf = batch.clone().requires_grad_()
            cost = import_library().UPGD(model, loss=_select_loss(model, loss)).get_loss(leaf, batch_labels)
            (gradient,) = torch.autograd.grad(cost, leaf)
            zero.append((gradient == 0).flatten(1).all(dim=1))
    return torch.cat(zero)


def _attack_batch(attack: Attack, model: _Guarded, images: Tensor, labels: Tensor, *, seed: int) -> Attacked:
    """Attacks one batch, with one run per restart or constant."""
    start = images.clamp(INK, 1 - INK) if attack.name == "cw" else images
    best, invalid = images.clone(), torch.zeros(len(images), dtype=torch.bool, device=images.device)
    nearest = torch.full_like(images[:, 0, 0, 0], torch.inf)
    for run, constant in enumerate(attack.constants * attack.restarts):
        # Bounded attacks skip images that an earlier run broke. Others try all images again, because a run may come nearer.
        left = ((nearest == torch.inf) | (not attack.bounded)).nonzero().squeeze(1)
        if len(left) == 0:
            break
        run_seed = (1009 * seed + run) % 2**32
        torch.manual_seed(run_seed)
        np.random.seed(run_seed)
        torchattack = ATTACKS[attack.name].make(attack, model, run_seed, constant)
        examples = torchattack(start[left], labels[left]).detach().to(images.dtype)
        valid = _find_valid(attack, images[left], examples)
        invalid[left] |= ~valid
        examples = torch.where(valid[:, None, None, None], examples, images[left])
        if len(attack.constants) * attack.restarts == 1:  # there is no other run to choose from
            return Attacked(examples, invalid)
        with torch.no_grad():
            fooled = model(examples).argmax(dim=1) != labels[left]
        distance = torch.where(fooled, attack.threat.measure_distance(examples, images[left]), torch.inf)
        # A nearer success replaces the image; so does a valid failure, as long as no run has succeeded.
        take = (distance < nearest[left]) | ((nearest[left] == torch.inf) & ~fooled & valid)
        best[left[take]], nearest[left[take]] = examples[take], distance[take]
    return Attacked(best, invalid)


class _Guarded(nn.Module):
    """Wraps a reading for torchattacks: logits are at least float32 and always have a gradient."""

    def __init__(self, reading: nn.Module, images: Tensor) -> None:
        super().__init__()
        # torchattacks reads the device from the first parameter, and the reading may have no parameters.
        self.place = nn.Parameter(images.new_empty(0), requires_grad=False)
        self.reading = reading
        self.eval()  # torchattacks restores training mode if it finds a module in it
        with torch.no_grad():
            self.classes = self(images[:1]).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        logits = at_least_float32(self.reading(images))
        if images.requires_grad and not logits.requires_grad:
            logits = logits + 0 * images.flatten(1).sum(dim=1, keepdim=True)
        return logits


class _Positive(nn.Module):
    """Shifts logits so that all are at least 1, because CW masks logits with 0 and then takes the largest."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model(images)
        return logits - logits.detach().amin(dim=1, keepdim=True) + 1


@contextmanager
def preserve_state(reading: nn.Module) -> Iterator[None]:
    """Restores modules' modes, requires_grad and global random states. Gradients do not change: no parameter requires one."""
    modes = [(module, module.training) for module in reading.modules()]
    required = [(parameter, parameter.requires_grad) for parameter in reading.parameters()]
    numpy_state = np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        for parameter, _ in required:
            parameter.requires_grad_(False)
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(numpy_state)
        for module, mode in modes:
            module.training = mode
        for parameter, requires_grad in required:
            parameter.requires_grad_(requires_grad)


def _check_images(images: Tensor, labels: Tensor) -> None:
    if images.dim() != 4 or not images.is_floating_point():
        raise ArgumentError("images", "[N, C, H, W] of a floating-point type", _describe_tensor(images))
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ArgumentError("labels", f"[{len(images)}] of an integer type", _describe_tensor(labels))
    if not ((images >= 0) & (images <= 1)).all():
        low, high = images.aminmax()
        raise ArgumentError("images", "pixels from 0 to 1", f"{low:g} to {high:g}")


def _describe_tensor(tensor: Tensor) -> tuple[list[int], torch.dtype]:
    return list(tensor.shape), tensor.dtype


def _check_classes(attack: Attack, labels: Tensor, classes: int) -> None:
    for part in (attack.name, str(attack.loss)):
        if classes < FEWEST_CLASSES.get(part, 2):
            raise ArgumentError(part, f"a network of at least {FEWEST_CLASSES.get(part, 2)} classes", classes)
    low, high = labels.aminmax()
    if low < 0 or high >= classes:
        raise ArgumentError("labels", f"0 to {classes - 1}", f"{low} to {high}")


def _find_valid(attack: Attack, images: Tensor, examples: Tensor) -> Tensor:
    """Returns a mask ``[N]`` of adversarial images with pixels in [0, 1], within epsilon up to rounding."""
    flat = examples.flatten(1)
    valid = (flat >= 0).all(dim=1) & (flat <= 1).all(dim=1)  # comparisons with NaN are False
    if attack.bounded:
        valid &= attack.threat.measure_distance(examples, images) <= attack.epsilon * (1 + 1e-4) + 1e-6
    return valid


# The attacks
def _make_fgsm(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return import_library().FGSM(model, eps=attack.epsilon)


def _make_bim(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return import_library().BIM(model, eps=attack.epsilon, alpha=attack.step_size, steps=attack.steps)


def _make_pgd(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    settings: dict[str, Any] = dict(eps=attack.epsilon, alpha=attack.step_size, steps=attack.steps, random_start=True)
    if attack.threat is Threat.L2:
        return import_library().PGDL2(model, **settings)
    if attack.loss == "cross-entropy":
        return import_library().PGD(model, **settings)
    # UPGD without momentum is PGD, with a choice of losses.
    return import_library().UPGD(model, **settings, loss=_select_loss(model, str(attack.loss)), decay=0.0)


def _select_loss(model: nn.Module, name: str) -> Any:
    """Returns a loss for UPGD: the name of a built-in loss, or a function of images, labels and targets."""

    def compute_margin(images: Tensor, labels: Tensor, _: None) -> Tensor:
        logits, column = model(images), labels[:, None]
        others = logits.scatter(1, column, -torch.inf)
        return (others.amax(dim=1) - logits.gather(1, column).squeeze(1)).sum()

    # The built-in margin masks logits with 0, has no gradient for misclassified images, and fails on a GPU.
    return {"cross-entropy": "ce", "dlr": "dlr", "margin": compute_margin}[name]


def _make_apgd(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    loss = "ce" if attack.loss == "cross-entropy" else attack.loss
    settings: dict[str, Any] = dict(norm=attack.threat, eps=attack.epsilon, steps=attack.steps)
    return import_library().APGD(model, **settings, loss=loss, seed=seed)


def _make_apgd_targeted(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    settings: dict[str, Any] = dict(norm=attack.threat, eps=attack.epsilon, steps=attack.steps)
    return import_library().APGDT(model, **settings, n_classes=model.classes, seed=seed)


class _AllSteps(int):
    """A number of steps that CW always completes: it never reaches ``steps // 10``, after which it may stop a whole batch."""

    def __floordiv__(self, parts: int) -> int:
        return int(self)


def _make_cw(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    steps = _AllSteps(attack.steps)
    return import_library().CW(_Positive(model), c=constant, steps=steps, lr=0.01)  # the paper's learning rate


def _make_deepfool(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    """Returns DeepFool, with the paper's overshoot applied to the sum of all steps if the overshoot of each step fails.

    Steps that are clipped to [0, 1] can approach the decision boundary without crossing it, even with an overshoot per step.
    """
    deepfool = import_library().DeepFool(model, steps=attack.steps, overshoot=OVERSHOOT)

    def find_nearest(images: Tensor, labels: Tensor) -> Tensor:
        examples: Tensor = deepfool(images, labels).detach()
        beyond = (images + (1 + OVERSHOOT) * (examples - images)).clamp(0, 1)
        with torch.no_grad():
            failed = model(examples).argmax(dim=1) == labels
        return torch.where(failed[:, None, None, None], beyond, examples)

    return find_nearest


def _make_square(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    norm = Threat.L2 if attack.threat is Threat.L2 else Threat.LINF
    return import_library().Square(model, norm=norm, eps=attack.epsilon, n_queries=attack.steps, seed=seed)


def _make_one_pixel(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return import_library().OnePixel(model, pixels=int(attack.epsilon), steps=attack.steps, popsize=50)


def _make_noise(attack: Attack, model: _Guarded, seed: int, constant: float) -> Any:
    return import_library().PGD(model, eps=attack.epsilon, steps=0)  # no steps: only the random start


class AttackKind(NamedTuple):
    """An attack of torchattacks: its constructor, its losses under each threat, and its properties."""

    make: Callable[[Attack, _Guarded, int, float], Any]
    losses: Mapping[Threat, tuple[str, ...]]
    bounded: bool = True
    white_box: bool = True


_CE = LOSSES[:1]

ATTACKS: dict[str, AttackKind] = {
    "fgsm": AttackKind(_make_fgsm, {Threat.LINF: _CE}),
    "bim": AttackKind(_make_bim, {Threat.LINF: _CE}),
    "pgd": AttackKind(_make_pgd, {Threat.LINF: LOSSES, Threat.L2: _CE}),
    "apgd": AttackKind(_make_apgd, {Threat.LINF: LOSSES[:2], Threat.L2: LOSSES[:2]}),
    "apgd-t": AttackKind(_make_apgd_targeted, {Threat.LINF: ("dlr",), Threat.L2: ("dlr",)}),
    "cw": AttackKind(_make_cw, {Threat.L2: ("margin",)}, bounded=False),
    "deepfool": AttackKind(_make_deepfool, {Threat.L2: ("margin",)}, bounded=False),
    "square": AttackKind(_make_square, {Threat.BLACK_BOX: ("margin",), Threat.L2: ("margin",)}, white_box=False),
    "one-pixel": AttackKind(_make_one_pixel, {Threat.L0: _CE}, white_box=False),
    "noise": AttackKind(_make_noise, {Threat.LINF: _CE}, white_box=False),
}
"""The attacks by name. Uniform ``noise`` is not an attack but a control for attacks."""
