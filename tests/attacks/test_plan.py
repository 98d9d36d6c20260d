"""The plan's order and effort, on a campaign whose attacks break the images that a test says."""

import pytest
import torch

from capsbench.attacks.campaign import Campaign, Run
from capsbench.attacks.effort import EFFORTS
from capsbench.attacks.plan import Choice, Plan
from capsbench.attacks.threats import Bounds, Threat, bounds_of

BOUNDS = Bounds((0.1, 0.2, 0.4, 0.8), 0.4, 0.2, steps=20, step=0.25)
LIGHT, FULL = EFFORTS["light"], EFFORTS["full"]
PGD, APGD = Choice("pgd", "margin", "scores"), Choice("apgd", "cross-entropy", "scaled")


class Scripted(Campaign):
    """A campaign of ten images; `breaks` gives those that an attack through a reading breaks."""

    def __init__(self, breaks=lambda attack, reading: (), wrong=()):
        self.breaks, self.readings = breaks, {"scores": None, "scaled": None}
        self.labels, self.wrong = torch.zeros(10), mask_of(wrong)
        self.runs, self.seeds = [], []

    def run_attack(self, attack, reading, on=None, *, own=True, seed=0):
        on = torch.ones_like(self.wrong) if on is None else on
        broken = mask_of(self.breaks(attack, reading)) & on & ~self.wrong
        reach = torch.where(broken, attack.epsilon, torch.inf)
        self.runs.append(Run(attack, reading, on, own, reach, torch.zeros_like(on)))
        self.seeds.append(seed)
        return self.runs[-1]


def mask_of(images):
    return torch.tensor([image in images for image in range(10)])


def images_of(mask):
    return mask.nonzero().flatten().tolist()


def make_plan(campaign, threat=Threat.LINF, effort=LIGHT, classes=10):
    plan = Plan(campaign, BOUNDS, threat, effort, classes)
    plan.strongest = [PGD, APGD]
    return plan


def names_of(campaign):
    return [(run.attack.name, run.attack.loss, run.reading) for run in campaign.runs]


@pytest.mark.parametrize(
    ("threat", "effort", "names"),
    [
        (Threat.LINF, LIGHT, ["fgsm", "pgd"]),
        (Threat.LINF, FULL, ["fgsm", "pgd", "bim", "apgd", "apgd-t"]),
        (Threat.L2, LIGHT, ["pgd"]),
        (Threat.L2, FULL, ["pgd", "apgd", "apgd-t"]),
    ],
)
def test_the_table_has_every_loss_of_every_reading_at_the_headline(threat, effort, names):
    campaign = Scripted()
    plan = make_plan(campaign, threat, effort)
    plan.run_table()
    expected = [(name, loss, "scores") for name in names for loss in plan.list_losses(name)]
    assert [names for names in names_of(campaign) if names[2] == "scores"] == expected
    scaled = {(name, loss) for name, loss, reading in names_of(campaign) if reading == "scaled"}
    assert scaled == {(name, loss) for name, loss, _ in expected if loss == "cross-entropy"}
    assert {run.attack.epsilon for run in campaign.runs} == {0.2}
    assert {run.attack.restarts for run in campaign.runs if run.attack.name == "pgd"} == {effort.restarts}
    assert {run.attack.restarts for run in campaign.runs if run.attack.name != "pgd"} <= {1}
    assert all(run.own and run.on.all() for run in campaign.runs)
    assert len(plan.list_table_runs("pgd")) == len(plan.list_losses("pgd")) + 1


def test_losses_are_those_that_the_classes_allow():
    assert make_plan(Scripted()).list_losses("pgd") == ("cross-entropy", "dlr", "margin")
    assert make_plan(Scripted(), classes=3).list_losses("pgd") == ("cross-entropy", "dlr", "margin")
    assert make_plan(Scripted(), classes=2).list_losses("pgd") == ("cross-entropy", "margin")
    assert make_plan(Scripted(), classes=3).list_losses("apgd-t") == ()
    assert len(make_plan(Scripted(), classes=4).list_losses("apgd-t")) == 1


def test_the_strongest_runs_break_most_of_what_those_before_them_left():
    broken = {("dlr", "scores"): (0, 1, 2, 3), ("margin", "scores"): (0, 1, 2), ("cross-entropy", "scaled"): (4, 5, 9)}
    campaign = Scripted(lambda attack, reading: broken.get((attack.loss, reading), ()), wrong=(9,))
    plan = make_plan(campaign)
    plan.run_table()
    strongest = plan.choose_strongest()
    assert strongest[:2] == [Choice("pgd", "dlr", "scores"), Choice("pgd", "cross-entropy", "scaled")]
    # Of each loss of APGD, the reading in which PGD broke most
    assert ("apgd", "cross-entropy", "scaled") in strongest[2:]
    assert [choice.loss for choice in strongest[2:]] == list(plan.list_losses("apgd"))


def test_no_more_than_three_runs_of_pgd_are_chosen_and_one_if_none_breaks_an_image():
    broken = {("dlr", "scores"): (0,), ("margin", "scores"): (1,), ("cross-entropy", "scores"): (2,)}
    broken["cross-entropy", "scaled"] = (3,)
    campaign = Scripted(lambda attack, reading: broken.get((attack.loss, reading), ()))
    for breaks, count in ((campaign.breaks, 3), (lambda attack, reading: (), 1)):
        plan = make_plan(Scripted(breaks))
        plan.run_table()
        assert [choice.name for choice in plan.choose_strongest()].count("pgd") == count


def test_each_attack_gets_what_those_before_it_left():
    broken = {"pgd": (1, 2, 3), "apgd": (3, 4, 7)}
    campaign = Scripted(lambda attack, reading: broken[attack.name], wrong=(0,))
    plan = make_plan(campaign)
    assert plan.attack_remaining(0.2, [PGD, APGD], mask_of((0, 2, 3, 4, 5)), restarts=2, seed=6) == 3
    assert [images_of(run.on) for run in campaign.runs] == [[2, 3, 4, 5], [4, 5]]
    assert campaign.seeds == [6, 6]
    assert [run.attack.restarts for run in campaign.runs] == [2, 2]
    assert not any(run.own for run in campaign.runs)
    assert plan.attack_remaining(0.2, [APGD]) == 1  # 7, since the mask is gone
    assert images_of(campaign.runs[-1].on) == [1, 5, 6, 7, 8, 9]


def test_other_epsilons_attack_what_can_still_change():
    campaign = Scripted(lambda attack, reading: range(int(10 * attack.epsilon)))
    plan = make_plan(campaign, Threat.L2)
    plan.strongest = [PGD._replace(loss="cross-entropy"), APGD]
    plan.attack_remaining(0.2, plan.strongest[:1])
    plan.sweep_epsilons()
    swept = [(run.attack.name, run.attack.epsilon, images_of(run.on)) for run in campaign.runs[1:]]
    assert swept == [
        ("pgd", 0.4, [*range(2, 10)]),
        ("apgd", 0.4, [*range(4, 10)]),
        ("pgd", 0.8, [*range(4, 10)]),
        ("apgd", 0.8, [8, 9]),
        ("pgd", 0.1, [0, 1]),  # those that 0.2 broke
        ("apgd", 0.1, [1]),
    ]


def test_under_linf_the_first_attack_runs_on_all_images_at_each_epsilon():
    campaign = Scripted(lambda attack, reading: range(int(10 * attack.epsilon)))
    plan = make_plan(campaign, effort=FULL)
    plan.sweep_epsilons()
    first, others = campaign.runs[::2], campaign.runs[1::2]
    assert [(run.attack.epsilon, run.own, run.attack.restarts) for run in first] == [
        (0.4, True, 5),
        (0.8, True, 5),
        (0.1, True, 5),
    ]
    assert all(run.on.all() and (run.attack.loss, run.reading) == ("margin", "scores") for run in first)
    assert {run.attack.name for run in others} == {"apgd"}


def test_effort_is_doubled_until_it_breaks_no_more_than_is_tolerated():
    gains = {20: (0, 1), 40: (2,)}  # by steps, of one image that is tolerated
    campaign = Scripted(lambda attack, reading: gains.get(attack.steps, ()) if attack.name == "apgd" else ())
    plan = make_plan(campaign, effort=LIGHT._replace(rounds=5, restarts=3))
    plan.strongest = [PGD, PGD._replace(reading="scaled"), APGD]  # of which the first and the last are doubled
    plan.double_effort()
    harder = [(run.attack.name, run.attack.steps, run.attack.restarts) for run in campaign.runs]
    assert harder == [
        ("pgd", 20, 1),
        ("apgd", 20, 1),
        ("pgd", 10, 3),
        ("pgd", 40, 1),
        ("apgd", 40, 1),
        ("pgd", 10, 6),
    ]
    assert campaign.seeds == [0, 0, 1, 0, 0, 2]
    assert plan.gains == {"steps": 1, "restarts": 0}


def test_no_more_doublings_than_the_effort_has():
    campaign = Scripted(lambda attack, reading: range(attack.steps // 10))
    make_plan(campaign, effort=LIGHT).double_effort()
    assert [run.attack.steps for run in campaign.runs if run.attack.name == "apgd"] == [20, 40]


def test_more_steps_are_smaller():
    full = make_plan(Scripted(), effort=FULL)
    attack = full.make_attack("pgd", 0.4, "margin", restarts=2)
    assert (attack.loss, attack.steps, attack.step, attack.restarts) == ("margin", 20, 0.25 * 0.4, 2)
    harder = full.make_attack("pgd", 0.4, harder=4)
    assert (harder.steps, harder.step, harder.restarts) == (80, 0.25 * 0.4 / 4, 1)
    light = make_plan(Scripted()).make_attack("pgd", 0.4, harder=2)
    assert (light.steps, light.step, light.threat) == (20, None, Threat.LINF)


@pytest.mark.parametrize(("threat", "of_square"), [(Threat.LINF, Threat.BLACK_BOX), (Threat.L2, Threat.L2)])
def test_the_black_box_attack_has_queries_for_steps(threat, of_square):
    attack = make_plan(Scripted(), threat).make_attack("square", 0.2)
    assert (attack.threat, attack.epsilon, attack.steps, attack.restarts) == (of_square, 0.2, 100, 1)


def test_costly_attacks_run_on_the_first_images_alone():
    effort = FULL._replace(nearest=3)
    campaign = Scripted()
    make_plan(campaign, Threat.L2, effort).look_for_nearest()
    assert [(run.attack.name, run.attack.steps, run.reading) for run in campaign.runs] == [
        ("cw", 1000, "scores"),
        ("deepfool", 50, "scores"),
        ("cw", 1000, "scaled"),
        ("deepfool", 50, "scaled"),
    ]
    assert campaign.runs[0].attack.constants == (0.1, 1.0, 10.0, 100.0)
    assert all(images_of(run.on) == [0, 1, 2] for run in campaign.runs)
    pixels = Scripted()
    Plan(pixels, bounds_of("digits", Threat.L0), Threat.L0, effort, 10).carry_out()
    assert [(run.attack.name, run.attack.epsilon, run.attack.steps) for run in pixels.runs] == [
        ("one-pixel", changed, 30) for changed in (1, 3, 5)
    ]
    assert all(images_of(run.on) == [0, 1, 2] and run.reading == "scores" for run in pixels.runs)


def test_after_the_table_come_apgd_other_epsilons_doublings_unbounded_attacks_noise_and_the_black_box():
    campaign = Scripted()
    plan = make_plan(campaign)
    plan.carry_out()
    attacks = [(run.attack.name, run.attack.epsilon, run.own) for run in campaign.runs]
    losses, readings = len(plan.list_losses("pgd")), 1  # "scaled" has one loss alone
    table = [("fgsm", 0.2, True)] * (len(plan.list_losses("fgsm")) + readings) + [("pgd", 0.2, True)] * (
        losses + readings
    )
    remaining = [("apgd", 0.2, False)] * len(plan.list_losses("apgd"))
    assert attacks[: len(table) + len(remaining)] == table + remaining
    unbounded = [(choice.name, epsilon, False) for epsilon in (0.5, 1.0) for choice in plan.strongest]
    assert attacks[-len(unbounded) - 2 :] == [*unbounded, ("noise", 0.2, True), ("square", 0.2, True)]
    assert campaign.runs[-1].reading == campaign.runs[-2].reading == "scores"
    assert plan.gains == {"steps": 0, "restarts": 0}


@pytest.mark.parametrize(("effort", "last"), [(FULL, ["square", "cw", "deepfool", "cw", "deepfool"]), (LIGHT, [])])
def test_under_l2_costly_attacks_follow_where_the_effort_has_them(effort, last):
    campaign = Scripted()
    plan = make_plan(campaign, Threat.L2, effort)
    plan.carry_out()
    names = [run.attack.name for run in campaign.runs]
    assert [name for name in names if name in ("square", "cw", "deepfool", "noise")] == last
    assert plan.gains == {}
