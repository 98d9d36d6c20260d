"""The measure adversarial: robust accuracy under attacks, and sanity checks of the attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from capsbench.attacks.adapter import preserve_state
from capsbench.attacks.campaign import Campaign, Run
from capsbench.attacks.effort import DRAW_SEED, EFFORTS
from capsbench.attacks.library import explain_missing
from capsbench.attacks.own import MakeAttack, add_attacks, check_attacks
from capsbench.attacks.plan import Plan
from capsbench.attacks.readings import Pixels
from capsbench.attacks.sanity import find_zero_gradients, run_checks
from capsbench.attacks.threats import Threat, bounds_of, can_be_misled
from capsbench.data.draws import draw_stratified
from capsbench.data.images import Images
from capsbench.measures.adversarial.spec import SPEC
from capsbench.measures.base import Measure, Subject
from capsbench.records.cell import Cell
from capsbench.records.parts import dataset_of
from capsbench.records.record import Row
from capsbench.training.step import use_precision


class Adversarial(Measure):
    """Robust accuracy under attacks, with gradients and without, through every reading of the output; with sanity checks.

    Epsilon bounds the change of an image, for pixels in [0, 1] (`capsbench.attacks.Threat`). The worst case at an epsilon is the
    share of images that no attack at this epsilon or below broke, with any reading and any loss. Images that are misclassified
    without an attack count as broken.

    Kept of each attacked image: its index in the test set, its label, its prediction, and ``broken`` in the worst case at the
    headline epsilon of each threat. Kept of one image a class: the adversarial images and their predictions.
    """

    spec = SPEC

    own_attacks: ClassVar[Mapping[str, MakeAttack]] = {}
    """Name -> a user's own attack, in a subclass: it runs in L-inf through every reading, and counts in the worst case."""

    settings = tuple(EFFORTS)
    cost: ClassVar[dict[str, int]] = {"light": 30_000, "full": 5_000_000, "quick": 8_000}

    def __init__(self, setting: str | None = None) -> None:
        super().__init__(setting)
        check_attacks(self.own_attacks)

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return can_be_misled(cell)

    @classmethod
    def missing(cls) -> str | None:
        return explain_missing()

    def __call__(self, subject: Subject) -> list[Row]:
        with add_attacks(self.own_attacks), preserve_state(subject.network):
            return self._measure_network(subject)

    def _measure_network(self, subject: Subject) -> list[Row]:
        cell, test, effort = subject.cell, subject.data.test, EFFORTS[self.setting]
        dataset = dataset_of(cell)
        index = draw_stratified(test.labels.cpu(), min(effort.images, len(test.labels)), DRAW_SEED).to(
            test.labels.device
        )
        pixels = Pixels.from_images(test.images, standardised=dataset.standardised)
        bounds = {threat: bounds_of(cell.dataset, threat) for threat in Threat}
        campaign = Campaign(
            cell,
            subject.network,
            Images(test.images[index], test.labels[index]),
            pixels,
            {threat: bounds[threat].headline for threat in Threat},
        )
        threats = [Threat.LINF, Threat.L2, *([Threat.L0] if effort.every else [])]
        plans = {
            threat: Plan(campaign, bounds[threat], threat, effort, dataset.classes, self.own_attacks)
            for threat in threats
        }
        for plan in plans.values():
            plan.carry_out()
        with use_precision(cell):
            zero = find_zero_gradients(campaign, plans[Threat.LINF].list_losses("pgd"))
        subject.keep({"index": index.to(torch.int32), **_collect_tensors(campaign)})

        rows = [
            row
            for threat in (Threat.LINF, Threat.L2)
            for row in _find_worst_case(campaign, threat, bounds[threat].sweep)
        ]
        rows += [row for run in campaign.runs if run.own for row in _build_rows(campaign, run)]
        rows += _find_nearest(campaign)
        for (reading, loss), images in zero.items():
            rows.append(
                _make_row("zero gradient", f"Linf, {reading}, {loss}", float(images.double().mean()), "fraction")
            )
        for check in run_checks(plans[Threat.LINF], zero):
            rows.append(_make_row("sanity check", check.name, float(check.held), "held"))
            rows += [
                _make_row("evidence", f"{check.name}, {of}", value, "fraction") for of, value in check.evidence.items()
            ]
        return rows


def _make_row(metric: str, condition: str, value: float, unit: str, level: float | None = None) -> Row:
    return Row("adversarial", metric, condition, value, unit, level)


def _find_worst_case(campaign: Campaign, threat: Threat, sweep: tuple[float, ...]) -> Iterator[Row]:
    """Yields the robust accuracy at epsilon 0, without any change, and at each epsilon of a sweep."""
    for epsilon in (0.0, *sweep):
        right = ~campaign.find_broken(threat, epsilon)
        yield _make_row("robust accuracy", f"{threat}, worst case", float(right.double().mean()), "fraction", epsilon)


def _build_rows(campaign: Campaign, run: Run) -> Iterator[Row]:
    """Yields the robust accuracy under one attack with an epsilon, and the count of invalid images that it returned."""
    attack = run.attack
    condition, level = _name_condition(run), attack.epsilon if attack.bounded else None
    if attack.bounded:
        yield _make_row("robust accuracy", condition, campaign.compute_accuracy(run), "fraction", level)
    if run.invalid.any():
        yield _make_row("invalid images", condition, float(run.invalid.sum()), "images", level)


def _name_condition(run: Run) -> str:
    """Returns threat and attack, with the reading and the loss where the attack has a choice of them."""
    attack = run.attack
    of_reading = [run.reading] if attack.white_box else []
    of_loss = [str(attack.loss)] if attack.white_box and attack.bounded else []
    return ", ".join([attack.threat, attack.name, *of_reading, *of_loss])


def _find_nearest(campaign: Campaign) -> Iterator[Row]:
    """Yields the distance of the nearest adversarial images, through each reading and through the best reading of each image.

    Only correctly classified images count; mean and median are over those for which an attack succeeded.
    """
    runs = [run for run in campaign.runs if not run.attack.bounded]
    for name in dict.fromkeys(run.attack.name for run in runs):
        of_name = [run for run in runs if run.attack.name == name]
        reach = {_name_condition(run): run.reach for run in of_name}
        reach[f"L2, {name}, worst case"] = torch.stack([run.reach for run in of_name]).amin(dim=0)
        tried = of_name[0].on & ~campaign.wrong
        for condition, distances in reach.items():
            successes = distances[tried & distances.isfinite()].double()
            yield _make_row("success", condition, len(successes) / max(1, int(tried.sum())), "fraction")
            if len(successes):
                yield _make_row("perturbation norm", f"{condition}, mean", float(successes.mean()), "distance")
                yield _make_row("perturbation norm", f"{condition}, median", float(successes.median()), "distance")


def _collect_tensors(campaign: Campaign) -> dict[str, Tensor]:
    """Returns the tensors that are kept beside the rows, see `Adversarial`."""
    tensors = {"label": campaign.labels.to(torch.int32), "prediction": campaign.predictions.to(torch.int32)}
    for threat in (Threat.LINF, Threat.L2, Threat.BLACK_BOX):
        runs = [run for run in campaign.runs if threat is not Threat.BLACK_BOX or run.attack.threat is threat]
        tensors[f"broken.{threat}"] = campaign.find_broken(threat, campaign.headlines[threat], runs)
    first = (campaign.labels[:, None] == campaign.labels.unique()).int().argmax(dim=0)
    tensors["pictured"] = first.to(torch.int32)
    tensors["clean images"] = campaign.images[first]
    for threat in (Threat.LINF, Threat.L2):
        images = campaign.examples[threat][first]
        tensors[f"images.{threat}"] = images
        tensors[f"predictions.{threat}"] = campaign.predict_classes(images).to(torch.int32)
    return tensors
