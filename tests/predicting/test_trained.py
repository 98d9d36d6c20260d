"""A trained network predicts what is on record of it, for images of any kind."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

import capsbench
from capsbench.data.base import load_splits
from capsbench.errors import Kind, UsageError
from capsbench.networks.build import build_network
from capsbench.predicting import ScoreKind, TrainedNetwork
from capsbench.training.losses import log_probabilities

OWN = """
import torch
from capsbench.data import Dataset, Images, ImageShape, Splits

class Pairs(Dataset):
    image = ImageShape(3, 8, 8)
    classes = 4
    class_names = ("bar", "cross", "ring", "spot")
    labels_an_image = 2

    def load(self, folder):
        raise NotImplementedError

class Far(Pairs):
    image = ImageShape(1, 8, 8)
    labels_an_image = 1
    standardised = True
    class_names = ("too", "few")
"""


@pytest.fixture(scope="module")
def digits():
    return load_splits("digits", None).test


@pytest.fixture(scope="module")
def capsnet(trained):
    return capsbench.network("dynamic", trained / "results")


@pytest.fixture(scope="module")
def cnn(trained):
    return capsbench.network("matched", trained / "results")


@pytest.fixture
def untrained(make_cell):
    """A network of random weights, by its request."""

    def make(**request):
        cell = make_cell(**{"dataset": "digits", **request})
        torch.manual_seed(0)
        return TrainedNetwork(cell, cell.title, build_network(cell))

    return make


@pytest.fixture
def own(tmp_path, monkeypatch):
    name = f"own_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda kind: f"{name}:{kind}"


@pytest.mark.parametrize("wanted", ["dynamic", "matched"])
def test_the_predictions_of_test_images_are_those_on_record(trained, digits, wanted):
    network = capsbench.network(wanted, trained / "results")
    table = capsbench.predictions(trained / "results").query(f"cell == '{network.cell.id}'")
    predictions = network.predict(digits.images)
    assert [prediction.numbers[0] for prediction in predictions] == table["prediction"].tolist()
    assert [prediction.label for prediction in predictions] == table["prediction"].map(str).tolist()


def test_it_is_the_network_in_evaluation_mode(capsnet, digits):
    assert isinstance(capsnet, torch.nn.Module)
    assert not any(module.training for module in capsnet.modules())
    with torch.no_grad():
        assert torch.equal(capsnet(digits.images[:3]), capsnet.network(digits.images[:3]))


def test_the_scores_of_capsules_are_activations_and_those_of_a_cnn_are_its_softmax(capsnet, cnn, digits):
    (of_capsules,), (of_cnn,) = capsnet.predict(digits.images[:1]), cnn.predict(digits.images[:1])
    assert (of_capsules.kind, of_cnn.kind) == (ScoreKind.ACTIVATION, ScoreKind.PROBABILITY)
    with torch.no_grad():
        activations, logits = capsnet(digits.images[:1])[0], cnn(digits.images[:1])
    assert of_capsules.scores == tuple(activations.double().sort(descending=True).values.tolist())
    probabilities = log_probabilities(logits, capsules=False).exp()[0]
    assert of_cnn.scores == pytest.approx(probabilities.sort(descending=True).values.tolist())
    assert sum(of_cnn.scores) == pytest.approx(1)


def test_classes_are_ranked_by_their_scores(capsnet, digits):
    prediction = capsnet.predict(digits.images[7])
    assert sorted(prediction.numbers) == list(range(10))
    assert prediction.classes == tuple(map(str, prediction.numbers))
    assert list(prediction.scores) == sorted(prediction.scores, reverse=True)
    assert repr(prediction).startswith(f"Prediction('{prediction.label}', activations")


def test_the_reconstruction_is_decoded_from_the_predicted_class_alone(capsnet, digits):
    prediction = capsnet.predict(digits.images[7])
    with torch.no_grad():
        poses = capsnet.network.capsules(digits.images[7:8]).poses
        expected = capsnet.network.decoder(poses, torch.tensor([prediction.numbers[0]]))
    assert torch.equal(prediction.reconstructions, expected)
    assert torch.equal(prediction.reconstruction, expected[0])


def test_a_cnn_has_no_reconstruction(cnn, digits):
    assert not cnn.has_decoder
    assert cnn.predict(digits.images[0]).reconstruction is None


def test_the_same_digit_of_any_kind_and_size_has_the_same_scores(capsnet, digits, tmp_path):
    image = (digits.images[3] * 255).round().to(torch.uint8)
    expected = capsnet.predict(image).scores
    large = np.kron(image[0].numpy(), np.ones((4, 4), dtype=np.uint8))
    Image.fromarray(large).save(tmp_path / "digit.png")
    colours = np.stack([large] * 3, axis=2)
    for same in (image[0].numpy(), large, tmp_path / "digit.png", Image.fromarray(large), colours):
        assert capsnet.predict(same).scores == pytest.approx(expected, abs=1e-5)


def test_several_images_give_a_list_in_their_order(capsnet, digits):
    singles = [capsnet.predict(image).label for image in digits.images[:3]]
    channels_last = digits.images[:3].movedim(1, -1).numpy()
    for images in (digits.images[:3], list(digits.images[:3]), tuple(digits.images[:3].numpy()[:, 0]), channels_last):
        assert [prediction.label for prediction in capsnet.predict(images)] == singles


@pytest.mark.parametrize("image", [255 * torch.rand(1, 8, 8) + 1, -torch.rand(8, 8), torch.full((8, 8), torch.nan), []])
def test_pixels_outside_of_the_range_are_refused(capsnet, image):
    with pytest.raises(UsageError) as caught:
        capsnet.predict(image)
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "IMAGE")


def test_a_network_without_classes_predicts_none_but_can_be_called(untrained):
    network = untrained(network="transforming-autoencoder")
    with pytest.raises(UsageError) as caught:
        network.predict(torch.rand(1, 8, 8))
    assert (caught.value.kind, caught.value.flag) == (Kind.CONFLICT, "CELL")
    assert network(torch.rand(2, 1, 8, 8)).shape == (2, 1, 8, 8)


def test_a_data_set_names_its_classes_and_may_have_several_an_image(untrained, own):
    network = untrained(dataset=own("Pairs"), routing="dynamic", kernel=3)
    assert network.classes == ("bar", "cross", "ring", "spot")
    prediction = network.predict(torch.rand(3, 8, 8))
    assert prediction.label == " ".join(prediction.classes[:2])
    assert prediction.reconstructions.shape == (2, 3, 8, 8)


def test_names_that_are_no_name_for_each_class_are_not_used(untrained, own):
    assert untrained(dataset=own("Far"), routing="em").classes == ("0", "1", "2", "3")


def test_standardised_floats_of_the_shape_are_taken_as_prepared_and_others_are_standardised(untrained, own):
    network = untrained(dataset=own("Far"), routing="em")
    prepared = 3 * torch.randn(1, 8, 8)
    assert torch.equal(network.prepare(prepared)[0], prepared)
    large = network.prepare(torch.rand(1, 16, 16))
    assert float(large.mean()) == pytest.approx(0, abs=1e-5)
    assert float(large.std(correction=0)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_a_network_of_another_precision_predicts_in_it(untrained, precision):
    network = untrained(routing="dynamic", precision=precision)
    prediction = network.predict(torch.rand(1, 8, 8))
    assert prediction.reconstruction.dtype == torch.float32
    assert network.prepare(torch.rand(1, 8, 8)).dtype == (torch.float64 if precision == "float64" else torch.float32)


def test_a_notebook_shows_the_class_the_scores_the_image_and_its_reconstruction(capsnet, cnn, digits):
    prediction = capsnet.predict(digits.images[0])
    output = prediction.describe_output()
    assert prediction.label in output.lead
    assert [row[0] for row in output.tables[0].rows] == list(prediction.classes[:5])
    image, reconstruction = (np.asarray(Image.open(BytesIO(shot.content))) for shot in output.shots)
    assert image.shape == reconstruction.shape == (112, 112)
    assert np.array_equal(image[::14, ::14], (255 * digits.images[0, 0]).round().to(torch.uint8).numpy())
    assert len(prediction._repr_html_()) < 10_000
    assert [shot.name for shot in cnn.predict(digits.images[0]).describe_output().shots] == ["image"]


def test_a_notebook_shows_what_a_network_takes_and_gives(capsnet):
    output = capsnet.describe_output()
    facts = dict(output.tables[0].rows)
    assert output.lead == capsnet.title
    assert (facts["cell"], facts["input"], facts["decoder"]) == (capsnet.cell.id, "1 x 8 x 8", "yes")
    assert int(facts["parameters"].replace(",", "")) == sum(weight.numel() for weight in capsnet.parameters())
    assert capsnet.title in capsnet._repr_html_()
    assert repr(capsnet).startswith("TrainedNetwork(")  # the modules, as torch lists them
