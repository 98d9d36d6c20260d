"""Tests of the contract: a part that breaks its interface fails before training, with a message that names the part."""

import pytest
import torch
from torch import nn

from capsbench import registry
from capsbench.data.base import Dataset
from capsbench.data.images import Augmentation, Images, ImageShape, Splits
from capsbench.errors import TrainingFailed
from capsbench.networks.base import CapsuleNetwork
from capsbench.networks.build import build_network
from capsbench.networks.layers import Capsules
from capsbench.routing.base import Routing
from capsbench.training.contract import check_contract
from capsbench.training.losses import Loss

CHILDREN = 6


def average_votes(poses, weights):
    return torch.einsum("nird,ijde->njre", poses, weights) / poses.shape[1]


class Fine(Routing):
    """Returns the mean vote and its squashed length."""

    def forward(self, poses, weights, activations, offset=None):
        parents = average_votes(poses, weights)
        return parents, torch.tanh(parents.flatten(2).norm(dim=2))


class OtherShape(Fine):
    def forward(self, poses, weights, activations, offset=None):
        parents, active = super().forward(poses, weights, activations)
        return parents.transpose(1, 2), active


class OneTooMany(Fine):
    def forward(self, poses, weights, activations, offset=None):
        parents, active = super().forward(poses, weights, activations)
        return parents, torch.cat([active, active[:, :1]], dim=1)


class AboveOne(Fine):
    def forward(self, poses, weights, activations, offset=None):
        parents, active = super().forward(poses, weights, activations)
        return parents, 1.5 + active


class NotFinite(Fine):
    def forward(self, poses, weights, activations, offset=None):
        parents, active = super().forward(poses, weights, activations)
        return parents / 0, active


class OtherType(Fine):
    def forward(self, poses, weights, activations, offset=None):
        parents, active = super().forward(poses, weights, activations)
        return parents.double(), active


class PosesAlone(Fine):
    def forward(self, poses, weights, activations, offset=None):
        return average_votes(poses, weights)


class Own(CapsuleNetwork):
    """A network that calls its routing itself."""

    def __init__(self, image, classes, routing, *, reconstruction=False):
        super().__init__()
        self.children_of = nn.Linear(64, CHILDREN * 4)
        self.matrices = nn.Parameter(0.1 * torch.randn(CHILDREN, classes, 4, 4))
        self.routing = routing(CHILDREN, classes)

    @classmethod
    def sizes(cls, image):
        return {"tiny": {}}

    def capsules(self, images):
        poses = torch.tanh(self.children_of(images.flatten(1))).unflatten(1, (CHILDREN, 1, 4))
        return Capsules(*self.routing(poses, self.matrices, poses.flatten(2).norm(dim=2) / 2))


class Scores(Own):
    def capsules(self, images):
        capsules = super().capsules(images)
        return Capsules(capsules.poses, capsules.activations[:, :3])


class NoCapsules(Own):
    def capsules(self, images):
        return tuple(super().capsules(images))


class Blurred(Own):
    def __init__(self, image, classes, routing, *, reconstruction=False):
        super().__init__(image, classes, routing)
        self.decoder = Plain()


class Plain(nn.Module):
    def forward(self, poses, labels):
        return poses.mean(dim=(1, 2, 3))[:, None]


class FewLogits(nn.Module):
    def __init__(self, image, classes):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    @classmethod
    def sizes(cls, image):
        return {"tiny": {}}

    def forward(self, images):
        return self.layer(images.flatten(1))


class PerImage(Loss):
    def forward(self, scores, labels, progress):
        return scores.sum(dim=1)


class Constant(Loss):
    def forward(self, scores, labels, progress):
        return torch.zeros(())


class Double(Augmentation):
    draws = 1

    def __call__(self, batch, drawn, train):
        return batch._replace(images=batch.images.repeat(1, 1, 2, 1))


class Digits(Dataset):
    image = ImageShape(1, 8, 8)
    classes = 10
    augmentations = ()

    def load(self, folder):
        part = Images(torch.rand(12, *self.image), torch.arange(12) % 10)
        return Splits(part, part, part, augmentations=self.augmentations)


class Doubled(Digits):
    augmentations = (Double(),)


@pytest.fixture
def check_parts(make_cell, monkeypatch):
    """Returns a function that checks a network of the parts above, given by name."""

    def check(**parts):
        custom = {kind: part for kind, part in parts.items() if part in globals()}
        for kind, part in custom.items():
            known = registry.BUILT_IN["baseline" if part == "FewLogits" else kind]
            monkeypatch.setitem(known, f"my-{part}", f"{__name__}:{part}")
        cell = make_cell(**{kind: f"my-{part}" if kind in custom else part for kind, part in parts.items()}, batch=4)
        data = registry.get("dataset", cell.dataset)().load(None)
        torch.manual_seed(0)
        network = build_network(cell)
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        state = torch.get_rng_state()
        try:
            check_contract(cell, network, data)
        finally:
            assert torch.equal(torch.get_rng_state(), state)
            assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
            assert not any(module._forward_hooks for module in network.modules())

    return check


@pytest.mark.parametrize("network", ["capsnet", "matrix-capsules", "Own"])
@pytest.mark.parametrize("routing", ["Fine", "dynamic", "em"])
def test_parts_that_give_what_they_promise_pass(check_parts, network, routing):
    check_parts(dataset="Digits", network=network, routing=routing)


@pytest.mark.parametrize("network", ["resnet", "transforming-autoencoder"])
def test_networks_without_a_routing_pass(check_parts, network):
    check_parts(dataset="Digits", network=network)


@pytest.mark.parametrize("network", ["capsnet", "Own"])
@pytest.mark.parametrize(
    ("routing", "facts"),
    [
        ("OtherShape", ["poses", "[2, 10, 1, ", "[2, 1, 10, "]),
        ("OneTooMany", ["activations", "[2, 10]", "[2, 11]"]),
        ("AboveOne", ["activations", "from 0 to 1", "1.5"]),
        ("NotFinite", ["poses", "finite"]),
        ("OtherType", ["poses", "torch.float32", "torch.float64"]),
        ("PosesAlone", ["poses and activations"]),
    ],
)
def test_a_routing_of_ones_own_is_told_what_of_it_is_wrong(check_parts, network, routing, facts):
    with pytest.raises(TrainingFailed) as caught:
        check_parts(dataset="Digits", network=network, routing=routing)
    assert [fact for fact in [f"my-{routing}", *facts] if fact not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("parts", "facts"),
    [
        (dict(network="Scores"), ["my-Scores", "[2, 10]", "[2, 3]"]),
        (dict(network="NoCapsules"), ["my-NoCapsules", "Capsules", "tuple"]),
        (dict(network="Blurred", reconstruction=True), ["my-Blurred", "[2, 1, 8, 8]", "[2, 1]"]),
        (dict(network="FewLogits"), ["my-FewLogits", "[2, 10]", "[2, 3]"]),
        (dict(loss="PerImage"), ["my-PerImage", "one number", "[2]"]),
        (dict(loss="Constant"), ["my-Constant", "gradient"]),
        (dict(dataset="Doubled"), ["my-Doubled", "[2, 1, 8, 8]", "[2, 1, 16, 8]"]),
    ],
)
def test_other_parts_of_ones_own_are_told_what_of_them_is_wrong(check_parts, parts, facts):
    with pytest.raises(TrainingFailed) as caught:
        check_parts(**{"dataset": "Digits", **parts})
    assert [fact for fact in facts if fact not in str(caught.value)] == []
