"""What the adapter asks of torchattacks, and what it makes of the images that come back."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from capsbench.attacks import adapter
from capsbench.attacks.adapter import ATTACKS, Attack, attack_images
from capsbench.attacks.threats import Threat

GREY = torch.full((3, 1, 1, 3), 0.5)
LABELS = torch.tensor([0, 0, 0])


class Library:
    """Stands for torchattacks: notes the class, the settings and the images of each attack, and adds the next change."""

    def __init__(self, *changes):
        self.calls, self.changes = [], list(changes or [0.0] * 9)

    def __getattr__(self, name):
        def make(model, **settings):
            def attack(images, labels):
                self.calls.append(SimpleNamespace(name=name, model=model, settings=settings, images=images))
                return images + torch.as_tensor(self.changes.pop(0))

            return attack

        return make


@pytest.fixture
def use_library(monkeypatch):
    def use(*changes):
        library = Library(*changes)
        monkeypatch.setattr(adapter, "import_library", lambda: library)
        return library

    return use


def call_once(library, attack):
    attack_images(attack, nn.Flatten(), GREY.repeat(1, 1, 1, 2), LABELS, seed=3)
    (call,) = library.calls
    return call


RUN_SEED = 1009 * (1009 * 3)


@pytest.mark.parametrize(
    ("attack", "name", "settings"),
    [
        (Attack("fgsm", epsilon=0.1), "FGSM", dict(eps=0.1)),
        (Attack("bim", epsilon=0.1, steps=5), "BIM", dict(eps=0.1, alpha=0.05, steps=5)),
        (Attack("pgd", epsilon=0.1, steps=5), "PGD", dict(eps=0.1, alpha=0.05, steps=5, random_start=True)),
        (
            Attack("pgd", Threat.L2, 0.1, step=0.02),
            "PGDL2",
            dict(eps=0.1, alpha=0.02, steps=40, random_start=True),
        ),
        (
            Attack("pgd", epsilon=0.1, loss="dlr", steps=5),
            "UPGD",
            dict(eps=0.1, alpha=0.05, steps=5, random_start=True, loss="dlr", decay=0.0),
        ),
        (Attack("apgd", epsilon=0.1, steps=5), "APGD", dict(norm="Linf", eps=0.1, steps=5, loss="ce", seed=RUN_SEED)),
        (
            Attack("apgd", Threat.L2, 0.1, "dlr", 5),
            "APGD",
            dict(norm="L2", eps=0.1, steps=5, loss="dlr", seed=RUN_SEED),
        ),
        (
            Attack("apgd-t", epsilon=0.1, steps=5),
            "APGDT",
            dict(norm="Linf", eps=0.1, steps=5, n_classes=6, seed=RUN_SEED),
        ),
        (Attack("cw", Threat.L2, constants=(4.0,)), "CW", dict(c=4.0, steps=40, lr=0.01)),
        (Attack("deepfool", Threat.L2, steps=5), "DeepFool", dict(steps=5, overshoot=0.02)),
        (
            Attack("square", Threat.BLACK_BOX, 0.1, steps=7),
            "Square",
            dict(norm="Linf", eps=0.1, n_queries=7, seed=RUN_SEED),
        ),
        (Attack("square", Threat.L2, 0.1, steps=7), "Square", dict(norm="L2", eps=0.1, n_queries=7, seed=RUN_SEED)),
        (Attack("one-pixel", Threat.L0, 3, steps=7), "OnePixel", dict(pixels=3, steps=7, popsize=50)),
        (Attack("noise", epsilon=0.1), "PGD", dict(eps=0.1, steps=0)),
    ],
)
def test_each_attack_is_one_of_torchattacks_with_these_settings(use_library, attack, name, settings):
    call = call_once(use_library(), attack)
    assert (call.name, call.settings) == (name, settings)


def test_the_margin_is_the_largest_other_logit_less_that_of_the_class(use_library):
    call = call_once(use_library(), Attack("pgd", epsilon=0.1, loss="margin"))
    images, labels = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]]).view(2, 1, 1, 3), torch.tensor([0, 2])
    assert call.settings["loss"](images, labels, None) == (2 - 3) + (5 - 1)


def test_cw_sees_logits_of_1_and_more_and_no_step_after_which_it_stops(use_library):
    call = call_once(use_library(), Attack("cw", Threat.L2))
    logits = torch.tensor([[-3.0, 1.0, 2.0]]).view(1, 1, 1, 3)
    assert call.model(logits).tolist() == [[1.0, 5.0, 6.0]]
    assert call.settings["steps"] // 10 == 40
    edges = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 1, 3)
    library = use_library()
    attack_images(Attack("cw", Threat.L2), nn.Flatten(), edges, LABELS[:1], seed=0)
    torch.testing.assert_close(library.calls[0].images.flatten(), torch.tensor([1e-3, 0.999, 0.5]))


def test_defaults_of_an_attack():
    attack = Attack("pgd", epsilon=0.4)
    assert (attack.threat, attack.loss, attack.steps, attack.step, attack.restarts, attack.constants) == (
        *(Threat.LINF, "cross-entropy", 40, None, 1, (1.0,)),
    )
    assert attack.step_size == pytest.approx(0.025)
    assert Attack("apgd-t", epsilon=0.4).loss == "dlr"
    assert {name for name, kind in ATTACKS.items() if not kind.bounded} == {"cw", "deepfool"}
    assert {name for name, kind in ATTACKS.items() if not kind.white_box} == {"square", "one-pixel", "noise"}
    assert {name: attack.white_box for name, attack in [("pgd", attack), ("cw", Attack("cw", Threat.L2))]} == {
        "pgd": True,
        "cw": True,
    }


def test_restarts_go_on_with_images_that_no_start_has_broken(use_library):
    start = torch.tensor([[0.5, 0.4, 0.3], [0.5, 0.3, 0.4], [0.5, 0.2, 0.2]]).view(3, 1, 1, 3)
    # The first start breaks the image whose second pixel is 0.4; the next one those whose third is.
    library = use_library([0.0, 0.125, 0.0], [0.0, 0.0, 0.125], [0.0, 0.0, 0.0])
    found = attack_images(Attack("pgd", epsilon=0.125, restarts=3), nn.Flatten(), start, LABELS, seed=0)
    assert [len(call.images) for call in library.calls] == [3, 2, 1]
    changes = (found.images - start).flatten(1)
    torch.testing.assert_close(changes, torch.tensor([[0.0, 0.125, 0.0], [0.0, 0.0, 0.125], [0.0, 0.0, 0.0]]))
    assert not found.invalid.any()


def test_an_invalid_image_takes_the_place_of_no_valid_one(use_library):
    use_library([0.0625, 0.0, 0.0], [torch.nan, 0.0, 0.0])
    found = attack_images(Attack("pgd", epsilon=0.125, restarts=2), nn.Flatten(), GREY, LABELS, seed=0)
    assert torch.equal(found.images - GREY, torch.tensor([0.0625, 0.0, 0.0]).expand_as(GREY))
    assert found.invalid.all()


def test_a_search_for_the_nearest_tries_all_images_with_each_constant(use_library):
    library = use_library([0.0, 0.25, 0.0], [0.0, 0.125, 0.0], [0.0, 0.5, 0.0])
    near = torch.tensor([0.5, 0.4, 0.3]).repeat(2, 1).view(2, 1, 1, 3)
    found = attack_images(Attack("cw", Threat.L2, constants=(1.0, 2.0, 3.0)), nn.Flatten(), near, LABELS[:2], seed=0)
    assert [call.settings["c"] for call in library.calls] == [1.0, 2.0, 3.0]
    assert [len(call.images) for call in library.calls] == [2, 2, 2]
    torch.testing.assert_close((found.images - near).flatten(1), torch.tensor([[0.0, 0.125, 0.0]]).repeat(2, 1))


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ([0.1, -0.1, 0.1], True),
        ([0.100005, 0.0, 0.0], True),  # by rounding
        ([0.10002, 0.0, 0.0], False),
        ([0.0, -0.11, 0.0], False),
        ([torch.nan, 0.0, 0.0], False),
    ],
)
def test_an_image_beyond_epsilon_is_invalid_and_the_clean_one_takes_its_place(use_library, change, valid):
    use_library(change)
    found = attack_images(Attack("fgsm", epsilon=0.1), nn.Flatten(), GREY.double(), LABELS, seed=0)
    assert found.invalid.tolist() == [not valid] * 3
    assert torch.equal(found.images, GREY.double()) != valid


@pytest.mark.parametrize(
    ("change", "valid"), [([0.5, -0.5, 0.0], True), ([0.51, 0.0, 0.0], False), ([0.0, -0.51, 0.0], False)]
)
def test_an_image_beyond_0_to_1_is_invalid_even_of_an_attack_without_a_bound(use_library, change, valid):
    use_library(change)
    found = attack_images(Attack("cw", Threat.L2), nn.Flatten(), GREY, LABELS, seed=0)
    assert found.invalid.tolist() == [not valid] * 3


def test_deepfool_goes_on_by_its_overshoot_where_its_steps_stop_short(use_library):
    use_library([-0.1, 0.0, 0.0])  # which leaves the first pixel the brightest
    bright = torch.tensor([0.9, 0.1, 0.1]).view(1, 1, 1, 3)
    found = attack_images(Attack("deepfool", Threat.L2), nn.Flatten(), bright, LABELS[:1], seed=0)
    torch.testing.assert_close(found.images - bright, torch.tensor([-0.102, 0.0, 0.0]).view(1, 1, 1, 3))


def test_batches_and_restarts_draw_from_seeds_of_their_own(use_library):
    library = use_library()
    attack_images(Attack("square", Threat.BLACK_BOX, 0.1, restarts=2), nn.Flatten(), GREY, LABELS, seed=3, batch=2)
    assert [call.settings["seed"] for call in library.calls] == [
        1009 * (1009 * 3 + batch) + restart for batch in (0, 1) for restart in (0, 1)
    ]
