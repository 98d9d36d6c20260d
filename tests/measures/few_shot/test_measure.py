"""New characters from few examples: against scikit-learn, loops, and networks whose features are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestCentroid
from torch import nn

from capsbench.data.files import DataFile
from capsbench.data.sets.omniglot import NOVEL_ALPHABETS, Drawings, Omniglot, Run
from capsbench.measures.few_shot import measure
from capsbench.measures.few_shot.measure import FewShot, Space, classify_nearest, compute_error, run_episodes
from capsbench.measures.few_shot.spec import EPISODES, WIDTH
from capsbench.networks.build import build_network

SIDE, CHARACTERS, PEOPLE = 8, 24, 20


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.mark.parametrize(("ways", "shots"), [(5, 5), (3, 2), (20, 4)])
def test_the_nearest_mean_is_that_of_scikit_learn(ways, shots):
    examples, queries = draw(ways, shots, 7), draw(40, 7, seed=1)
    centroids = NearestCentroid().fit(examples.flatten(0, 1).numpy(), np.repeat(np.arange(ways), shots))
    assert classify_nearest(examples, queries).tolist() == centroids.predict(queries.numpy()).tolist()


def test_the_axes_are_the_principal_components_of_the_background():
    background, features = draw(60, 9) * torch.arange(1, 10), draw(5, 9, seed=1)
    expected = PCA(4).fit(background.numpy()).transform(features.numpy())
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    embedded = Space.from_features(background, 4).embed(features)
    assert embedded.shape == (5, 4)
    np.testing.assert_allclose((embedded @ embedded.T).numpy(), expected @ expected.T, atol=1e-9)  # whatever the signs


@pytest.mark.parametrize("width", [None, 9, 100])
def test_few_features_stay_as_they_are(width):
    background, features = draw(60, 9), draw(5, 9, seed=1)
    expected = features - background.mean(dim=0)
    torch.testing.assert_close(
        Space.from_features(background, width).embed(features), expected / expected.norm(dim=1, keepdim=True)
    )


def test_features_like_the_mean_of_the_background_are_no_error():
    assert not Space.from_features(torch.ones(4, 3), None).embed(torch.ones(2, 3)).any()


def test_the_accuracy_of_an_episode_is_that_of_a_loop():
    embedded = draw(CHARACTERS, PEOPLE, 4)
    random = np.random.RandomState(measure.SEED)
    for accuracy in run_episodes(embedded, 5, 2, 3):
        chosen = random.choice(CHARACTERS, 5, replace=False)
        drawings = [random.choice(PEOPLE, 2 + measure.QUERIES, replace=False) for _ in chosen]
        means = [
            np.mean([embedded[character, person].numpy() for person in people[:2]], axis=0)
            for character, people in zip(chosen, drawings, strict=True)
        ]
        right = 0
        for truth, (character, people) in enumerate(zip(chosen, drawings, strict=True)):
            for person in people[2:]:
                distances = [np.linalg.norm(embedded[character, person].numpy() - mean) for mean in means]
                right += int(np.argmin(distances)) == truth
        assert accuracy == right / (5 * measure.QUERIES)


def test_the_error_of_the_runs_counts_all_queries():
    examples = torch.eye(4).double()
    answers = torch.tensor([1, 0, 3, 2])
    wrong = torch.tensor([1, 0, 3, 3])  # of one query in four
    assert compute_error([Run(examples, examples[answers], answers), Run(examples, examples[wrong], answers)]) == 1 / 8


# Networks


class Pixels(nn.Module):
    """Its penultimate layer are the first pixels of an image, times one weight that it must not change."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.last = nn.Linear(width, 10)

    def forward(self, images):
        return self.last(images.flatten(1)[:, : self.width])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder with Omniglot in small: a character is an image, with a little noise of each person."""
    shapes = torch.rand(CHARACTERS, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def read_drawings(folder, alphabets):
        seed = 1 if alphabets == NOVEL_ALPHABETS else 2
        noise = draw(CHARACTERS * PEOPLE, 1, SIDE, SIDE, seed=seed).float()
        of = torch.arange(CHARACTERS).repeat_interleave(PEOPLE)
        names = [("alphabet", number) for number in range(CHARACTERS)]
        return Drawings(shapes[of] + 0.01 * noise, of, torch.arange(1, PEOPLE + 1).repeat(CHARACTERS), names)

    answers = torch.arange(20).roll(3)
    monkeypatch.setattr(measure, "read_drawings", read_drawings)
    monkeypatch.setattr(measure, "read_runs", lambda folder: [Run(shapes[:20], shapes[:20][answers], answers)])
    monkeypatch.setattr(Omniglot, "files", (DataFile("here", "", 0, ""),))
    monkeypatch.setitem(EPISODES, "quick", 3)
    (tmp_path / "here").touch()
    return tmp_path


@pytest.fixture
def values(subject, folder):
    def values(cell, network, where=folder):
        images = torch.rand(2, 1, SIDE, SIDE)
        rows = FewShot("quick")(replace(subject(cell, network, images, torch.arange(2)), folder=where))
        assert {row.measure for row in rows} == {"few-shot"}
        return {(row.metric, row.condition): row.value for row in rows}

    return values


def test_characters_that_differ_by_more_than_their_drawers_are_all_told_apart(values, make_cell):
    found = values(make_cell(), Pixels(SIDE * SIDE))
    assert {value for (metric, _), value in found.items() if metric == "accuracy"} == {1}
    assert {value for (metric, _), value in found.items() if metric in ("error", "half-width")} == {0}
    assert (found["width", "features"], found["width", "features, whole layer"]) == (WIDTH, SIDE * SIDE)
    assert found["drawings", ""] == CHARACTERS * PEOPLE
    assert ("accuracy", "20-way 5-shot, whole layer") in found


def test_a_network_that_sees_nothing_is_at_chance(values, make_cell):
    found = values(make_cell(), Pixels(1))  # a feature less its mean, divided by its length, is a sign
    assert found["accuracy", "20-way 1-shot"] < 0.2
    assert found["error", "20 runs"] > 0.8


@pytest.mark.parametrize("request_", [dict(routing="dynamic"), dict(routing="em"), dict(network="resnet")], ids=str)
def test_real_networks_are_left_as_they_were(values, make_cell, request_):
    torch.manual_seed(0)
    cell = make_cell(**request_)
    network = build_network(cell).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = values(cell, network)
    assert (
        found["accuracy", "5-way 1-shot"] > 0.5
    )  # random features tell shapes apart that are alike but for a hundredth
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert values(cell, network) == found


def test_without_files_or_poses_there_is_no_number(values, make_cell, folder):
    (folder / "empty").mkdir()
    assert values(make_cell(), Pixels(4), folder / "empty") == {("drawings", ""): 0}
    cell = make_cell(routing="self-routing")
    assert values(cell, build_network(cell)) == {("drawings", ""): 0}


def test_it_is_of_networks_that_take_grey_images(make_cell):
    assert FewShot.applies_to(make_cell(routing="em"))
    assert FewShot.applies_to(make_cell(network="resnet"))
    assert not FewShot.applies_to(make_cell(dataset="cifar10"))
    assert FewShot.list_datasets(make_cell()) == ("omniglot",)
    assert FewShot.settings == tuple(EPISODES)
