from pathlib import Path

from torchvision import datasets

from capsbench.data.base import load_splits


def test_the_real_mnist(mnist_folder: Path) -> None:
    splits = load_splits("mnist", mnist_folder)
    shapes = [tuple(part.images.shape) for part in (splits.train, splits.validation, splits.test)]
    assert shapes == [(55000, 1, 28, 28), (5000, 1, 28, 28), (10000, 1, 28, 28)]
    # the published counts of each digit in the test set
    assert splits.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_the_test_images_are_those_that_torchvision_reads(mnist_folder: Path) -> None:
    test = load_splits("mnist", mnist_folder).test
    published = datasets.MNIST(mnist_folder, train=False)
    assert test.images.mul(255).round().byte().squeeze(1).equal(published.data)
    assert test.labels.equal(published.targets)


def test_a_few_real_images_are_drawn_from_every_class(mnist_folder: Path) -> None:
    train = load_splits("mnist", mnist_folder, train_size=10, seed=0).train
    assert sorted(train.labels.tolist()) == list(range(10))
