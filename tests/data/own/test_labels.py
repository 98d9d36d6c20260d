import numpy as np

from capsbench.data.own.labels import count_images, describe_counts, describe_exclusive, encode_labels

NAMES = ["a", "b", "c"]
MASK = np.array([[1, 0, 1], [0, 0, 0], [0, 0, 1]], dtype=bool)


def test_single_labels_are_numbers_and_others_a_mask() -> None:
    assert encode_labels([["b"], ["a"]], NAMES, any_number=False).tolist() == [1, 0]
    assert encode_labels([["a", "c"], [], ["c"]], NAMES, any_number=True).tolist() == MASK.tolist()


def test_images_of_each_class_are_counted() -> None:
    assert count_images(np.array([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]
    assert count_images(MASK, 3).tolist() == [1, 0, 2]


def test_the_number_of_classes_an_image_is_told() -> None:
    assert describe_counts(MASK) == "0 to 2 classes an image, 1.0 on average"


def test_images_of_exactly_one_class_each_are_told_only_where_there_could_be_others() -> None:
    assert len(describe_exclusive(np.eye(3, dtype=bool))) == 1
    assert not describe_exclusive(MASK)
    assert not describe_exclusive(np.array([0, 1]))
