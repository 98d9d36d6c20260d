"""Capsule layers against their definitions, written here as loops over positions, types and classes."""

import pytest
import torch

from capsbench.errors import ArgumentError
from capsbench.networks.layers import (
    Capsules,
    ClassCapsules,
    ConvolutionalCapsules,
    Decoder,
    PrimaryCapsules,
    draw_transforms,
)
from capsbench.routing import EMRouting, Routing
from capsbench.routing.base import LayerShape
from capsbench_kernels import Parents


class Weighted(Routing):
    """Parents are the sums of their votes, each vote counted by its child's activation: linear, so loops can check it."""

    def forward(self, poses, weights, activations, offset=None):
        moments = self.vote_pass(poses, weights, Parents(), activations, offset)
        return moments.first.unflatten(-1, (poses.shape[2], weights.shape[3])), moments.mass

    def prepare(self, layer):
        self.layer = layer


class Counting(Weighted):
    """As `Weighted`, and tells that its activations are there without votes."""

    activations_need_votes = False


@pytest.fixture
def draw():
    """Draws from N(0, 1) in float64."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.double)


def grid_of(draw, batch, height, width, types, pose):
    return Capsules(draw(batch, height, width, types, *pose), draw(batch, height, width, types).sigmoid())


# Transforms


def test_initial_transforms_have_the_asked_spread():
    torch.manual_seed(0)
    weights = draw_transforms((50, 10, 8, 16), sigma=0.3)
    assert weights.requires_grad
    assert weights.mean().abs() < 0.005
    assert weights.std().item() == pytest.approx(0.3, rel=0.02)


# PrimaryCapsules


def test_channels_hold_one_pose_after_another_row_by_row(draw):
    layer = PrimaryCapsules(12, 3, (2, 2), separate_activations=True).double()
    with torch.no_grad():
        layer.poses.weight.copy_(torch.eye(12)[:, :, None, None])
        layer.poses.bias.zero_()
    features = draw(2, 12, 4, 5)
    poses, activations = layer(features)
    assert poses.shape == (2, 4, 5, 3, 2, 2)
    assert activations.shape == (2, 4, 5, 3)
    for kind in range(3):
        for row in range(2):
            for column in range(2):
                torch.testing.assert_close(poses[..., kind, row, column], features[:, 4 * kind + 2 * row + column])


def test_separate_activations_are_a_sigmoid_of_the_features(draw):
    layer = PrimaryCapsules(5, 3, (2, 2), separate_activations=True).double()
    features = draw(2, 5, 4, 4)
    expected = torch.sigmoid(
        torch.einsum("bchw,tc->bhwt", features, layer.activations.weight[:, :, 0, 0]) + layer.activations.bias
    )
    torch.testing.assert_close(layer(features).activations, expected)


def test_without_separate_activations_poses_are_squashed_and_their_length_is_the_activation(draw):
    layer = PrimaryCapsules(5, 3, (1, 8), separate_activations=False).double()
    features = draw(2, 5, 4, 4)
    poses, activations = layer(features)
    raw = layer.poses(features).permute(0, 2, 3, 1).reshape(2, 4, 4, 3, 8)
    length = raw.norm(dim=-1)
    torch.testing.assert_close(poses.squeeze(-2).norm(dim=-1), length**2 / (1 + length**2))
    torch.testing.assert_close(activations, poses.squeeze(-2).norm(dim=-1))
    torch.testing.assert_close(torch.cosine_similarity(poses.squeeze(-2), raw, dim=-1), torch.ones_like(length))


def test_kernel_and_stride_leave_the_grid_of_a_convolution():
    layer = PrimaryCapsules(2, 3, (1, 4), kernel=3, stride=2, separate_activations=False)
    assert layer(torch.zeros(1, 2, 9, 8)).poses.shape == (1, 4, 3, 3, 1, 4)


def test_a_batch_norm_takes_the_place_of_each_bias(draw):
    layer = PrimaryCapsules(5, 3, (2, 2), kernel=3, padding=1, batch_norm=True, separate_activations=True).double()
    features = draw(4, 5, 6, 6)
    poses, activations = layer(features)
    assert [name for name, _ in layer.named_parameters() if "bias" in name] == ["poses.1.bias", "activations.1.bias"]
    for made, (convolution, _) in ((poses.flatten(3), layer.poses), (activations.logit(), layer.activations)):
        raw = torch.nn.functional.conv2d(features, convolution.weight, padding=1)
        mean, variance = raw.mean(dim=(0, 2, 3), keepdim=True), raw.var(dim=(0, 2, 3), keepdim=True, correction=0)
        torch.testing.assert_close(made.permute(0, 3, 1, 2), (raw - mean) / (variance + 1e-5).sqrt())


# ConvolutionalCapsules


@pytest.mark.parametrize("stride", [1, 2])
def test_every_window_routes_its_own_children(draw, stride):
    """Children are ordered row, column, type; the transformation of a child is the same at every position."""
    layer = ConvolutionalCapsules(2, 3, (4, 2), Weighted, kernel=2, stride=stride, transform_sigma=1.0).double()
    below = grid_of(draw, 2, 5, 4, 2, (4, 2))
    poses, activations = layer(below)
    height, width = (5 - 2) // stride + 1, (4 - 2) // stride + 1
    assert poses.shape == (2, height, width, 3, 4, 2)
    for image in range(2):
        for y in range(height):
            for x in range(width):
                for parent in range(3):
                    pose, mass = 0.0, 0.0
                    for row in range(2):
                        for column in range(2):
                            for kind in range(2):
                                child = image, y * stride + row, x * stride + column, kind
                                weights = layer.weights[(row * 2 + column) * 2 + kind, parent]
                                share = below.activations[child] / 3
                                pose = pose + share * below.poses[child] @ weights
                                mass = mass + share
                    torch.testing.assert_close(poses[image, y, x, parent], pose)
                    torch.testing.assert_close(activations[image, y, x, parent], mass)


def test_a_capsule_is_seen_by_the_windows_that_hold_it_and_by_no_others(draw):
    layer = ConvolutionalCapsules(2, 3, (4, 4), EMRouting, kernel=3, stride=1, transform_sigma=1.0).double()
    below = grid_of(draw, 2, 5, 5, 2, (4, 4))
    before = layer(below).poses
    changed = below.poses.clone()
    changed[1, 4, 3, 0] += 1.0
    after = layer(Capsules(changed, below.activations)).poses
    moved = (before != after).flatten(3).any(dim=3)
    expected = torch.zeros(2, 3, 3, dtype=torch.bool)
    expected[1, 2, 1:] = True  # rows 2 to 4, columns 1 to 3 or 2 to 4
    assert torch.equal(moved, expected)


def test_an_e_step_over_all_parents_shares_a_child_among_every_window_that_sees_it(draw):
    """With equal shares, a child in n windows gives each of their parents 1 / (n * types) of itself (Gritzman 2019)."""

    def routing(children, parents):
        return EMRouting(children, parents, iterations=1, normalise="all", mass=0.0)

    routing.separate_activations = True
    layer = ConvolutionalCapsules(1, 2, (1, 1), routing, kernel=2, stride=1, transform_sigma=1.0).double()
    below = Capsules(draw(1, 3, 3, 1, 1, 1), torch.ones(1, 3, 3, 1, dtype=torch.double))
    poses, _ = layer(below)
    windows_of = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=torch.double)
    share = 1 / windows_of[:2, :2].flatten()  # of the children of the first window
    votes = below.poses[0, :2, :2, 0, 0, 0].flatten().unsqueeze(1) * layer.weights[:, :, 0, 0]
    expected = (share.unsqueeze(1) * votes).sum(dim=0) / share.sum()
    torch.testing.assert_close(poses[0, 0, 0, :, 0, 0], expected)


def em_over_all_parents(below, layer, temperatures, epsilon):
    """EM routing of a convolutional layer with one list of votes a child, as Gritzman 2019 has it, in Python's loops."""
    kernel, routing = layer.kernel, layer.routing
    batch, height, width, types = below.activations.shape
    places = [(y, x) for y in range(height - kernel + 1) for x in range(width - kernel + 1)]
    votes, shares, windows_of = {}, {}, {}
    for place in places:
        for row in range(kernel):
            for column in range(kernel):
                for kind in range(types):
                    child = place[0] + row, place[1] + column, kind
                    weights = layer.weights[(row * kernel + column) * types + kind]
                    pose = below.poses[:, *child]
                    votes[place, child] = torch.einsum("brd,jde->bjre", pose, weights).flatten(2)
                    windows_of.setdefault(child, []).append(place)
    parents = layer.weights.shape[1]
    for place, child in votes:
        shares[place, child] = torch.full((batch, parents), 1 / (parents * len(windows_of[child])), dtype=torch.double)
    for temperature in temperatures:
        means, variances, logits = {}, {}, {}
        for place in places:
            mine = [child for other, child in votes if other == place]
            weight = torch.stack([shares[place, c] * below.activations[:, *c].unsqueeze(1) for c in mine]).unsqueeze(3)
            stacked = torch.stack([votes[place, c] for c in mine])
            mass = weight.sum(dim=0)
            means[place] = (weight * stacked).sum(dim=0) / mass
            variances[place] = (weight * (stacked - means[place]).square()).sum(dim=0) / mass + epsilon
            cost = ((routing.beta_u.unsqueeze(1) + 0.5 * variances[place].log()) * mass).sum(dim=2)
            logits[place] = temperature * (routing.beta_a - cost * routing.mass_scale)
        densities = {
            (place, child): torch.nn.functional.logsigmoid(logits[place])
            - 0.5 * ((vote - means[place]).square() / variances[place]).sum(dim=2)
            - 0.5 * (2 * torch.pi * variances[place]).log().sum(dim=2)
            for (place, child), vote in votes.items()
        }
        for child, seeing in windows_of.items():
            total = torch.cat([densities[place, child] for place in seeing], dim=1).logsumexp(dim=1, keepdim=True)
            for place in seeing:
                shares[place, child] = (densities[place, child] - total).exp()
    return torch.stack([means[place] for place in places], dim=1), torch.stack(
        [logits[place].sigmoid() for place in places], dim=1
    )


@pytest.mark.parametrize("iterations", [2, 3])
def test_em_over_all_parents_is_that_of_a_list_of_votes(draw, iterations):
    def routing(children, parents):
        return EMRouting(children, parents, iterations=iterations, normalise="all", inverse_temperature=0.5)

    routing.separate_activations = True
    layer = ConvolutionalCapsules(1, 3, (2, 2), routing, kernel=2, stride=1, transform_sigma=1.0).double()
    with torch.no_grad():
        layer.routing.beta_a.copy_(torch.arange(3.0))
    below = grid_of(draw, 2, 3, 4, 1, (2, 2))
    below = Capsules(below.poses.requires_grad_(), below.activations)
    poses, activations = layer(below)
    expected = em_over_all_parents(below, layer, layer.routing.inverse_temperature, layer.routing.variance_epsilon)
    torch.testing.assert_close(poses.flatten(1, 2).flatten(3), expected[0])
    torch.testing.assert_close(activations.flatten(1, 2), expected[1])
    for ours, theirs in zip(
        torch.autograd.grad(poses.square().sum() + activations.sum(), (below.poses, layer.weights)),
        torch.autograd.grad(expected[0].square().sum() + expected[1].sum(), (below.poses, layer.weights)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


# ClassCapsules


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("coordinate_addition", [True, False])
def test_class_capsules_gather_the_votes_of_every_position(draw, shared, coordinate_addition):
    height, width, types = 2, 3, 2
    layer = ClassCapsules(
        (height, width),
        types,
        3,
        (4, 2),
        5,
        Weighted,
        shared=shared,
        coordinate_addition=coordinate_addition,
        transform_sigma=1.0,
    ).double()
    assert len(layer.weights) == (types if shared else height * width * types)
    below = grid_of(draw, 2, height, width, types, (4, 2))
    poses, activations = layer(below)
    assert poses.shape == (2, 3, 4, 5)
    for image in range(2):
        for label in range(3):
            pose, mass = 0.0, 0.0
            for row in range(height):
                for column in range(width):
                    for kind in range(types):
                        index = kind if shared else (row * width + column) * types + kind
                        vote = below.poses[image, row, column, kind] @ layer.weights[index, label]
                        if coordinate_addition:
                            vote[0, -1] += (row + 0.5) / height
                            vote[1, -1] += (column + 0.5) / width
                        share = below.activations[image, row, column, kind] / 3
                        pose = pose + share * vote
                        mass = mass + share
            torch.testing.assert_close(poses[image, label], pose, atol=1e-6, rtol=1e-6)  # offsets are float32
            torch.testing.assert_close(activations[image, label], mass)


def test_the_coordinates_of_a_vector_go_into_its_first_two_values():
    layer = ClassCapsules((2, 4), 3, 5, (1, 8), 6, Weighted, shared=True, coordinate_addition=True, transform_sigma=1.0)
    offset = layer.offset.view(2, 4, 3, 6)
    assert torch.equal(offset[1, 2, 0, :2], torch.tensor([0.75, 0.625]))
    assert (offset[..., 2:] == 0).all()


def test_coordinates_need_a_vote_of_two_values():
    with pytest.raises(ArgumentError) as caught:
        ClassCapsules((2, 2), 2, 3, (1, 8), 1, Weighted, shared=True, coordinate_addition=True, transform_sigma=1.0)
    assert (caught.value.argument, caught.value.value) == ("coordinate_addition", 1)


def test_coordinates_are_no_weights():
    layer = ClassCapsules((2, 2), 2, 3, (4, 4), 4, Weighted, shared=True, coordinate_addition=True, transform_sigma=1.0)
    assert list(layer.state_dict()) == ["weights"]


def test_a_layer_tells_its_routing_its_shape():
    layer = ConvolutionalCapsules(2, 3, (4, 5), Weighted, kernel=3, stride=1, transform_sigma=1.0)
    assert layer.routing.layer == LayerShape(transforms=18, rows=4, depth=5, columns=5, classes=False)
    for shared, transforms in ((True, 2), (False, 12)):
        layer = ClassCapsules(
            (2, 3), 2, 7, (4, 5), 6, Weighted, shared=shared, coordinate_addition=False, transform_sigma=1.0
        )
        assert layer.routing.layer == LayerShape(transforms, rows=4, depth=5, columns=6, classes=True)


@pytest.mark.parametrize(
    ("routing", "poses_read", "columns"),
    [(Weighted, True, 5), (Weighted, False, 5), (Counting, True, 5), (Counting, False, 0)],
)
def test_class_poses_that_are_neither_read_nor_needed_have_no_columns(routing, poses_read, columns):
    layer = ClassCapsules(
        (2, 3), 2, 7, (4, 4), 5, routing,
        shared=True, poses_read=poses_read, coordinate_addition=True, transform_sigma=1.0,
    )  # fmt: skip
    assert layer.weights.shape == (2, 7, 4, columns)
    assert layer.routing.layer.columns == columns
    assert (layer.offset is None) == (columns == 0)


def test_what_a_layer_is_given_further_is_for_its_routing(draw):
    class Halved(Weighted):
        def forward(self, poses, weights, activations, offset=None, *, factor=1.0):
            moved, masses = super().forward(poses, weights, activations, offset)
            return factor * moved, masses

    shape = dict(kernel=2, stride=1, transform_sigma=1.0)
    convolutional = ConvolutionalCapsules(2, 2, (4, 4), Halved, **shape).double()
    below = grid_of(draw, 2, 3, 3, 2, (4, 4))
    torch.testing.assert_close(convolutional(below, factor=0.5).poses, 0.5 * convolutional(below).poses)
    classes = ClassCapsules(
        (3, 3), 2, 5, (4, 4), 4, Halved, shared=True, coordinate_addition=False, transform_sigma=1.0
    ).double()
    torch.testing.assert_close(classes(below, factor=0.5).poses, 0.5 * classes(below).poses)


# Decoder


def test_the_decoder_sees_the_labelled_class_alone_and_in_its_place(draw):
    decoder = Decoder(3 * 8, (2, 5, 4), (6, 7)).double()
    poses, labels = draw(4, 3, 2, 4), torch.tensor([2, 0, 1, 2])
    masked = torch.zeros(4, 24, dtype=torch.double)
    for image, label in enumerate(labels.tolist()):
        masked[image, 8 * label : 8 * label + 8] = poses[image, label].flatten()
    images = decoder(poses, labels)
    torch.testing.assert_close(images, decoder.layers(masked).reshape(4, 2, 5, 4))
    assert images.min() >= 0
    assert images.max() <= 1


def test_no_gradient_reaches_the_masked_classes(draw):
    decoder = Decoder(3 * 8, (1, 4, 4), (6, 7)).double()
    poses = draw(1, 3, 1, 8).requires_grad_()
    decoder(poses, torch.tensor([1])).sum().backward()
    assert not poses.grad[0, [0, 2]].any()
    assert poses.grad[0, 1].any()
