"""Classes in a picture are names where these fit, otherwise numbers with a note."""

from capsbench.presenting.figures.classes import MOST_NAMED, label_classes


def test_names_that_fit_are_the_labels():
    labels = label_classes(["bar", "ring"], 40)
    assert (labels.words, labels.entries, labels.note) == (["bar", "ring"], ["bar", "ring"], "")


def test_one_name_that_is_too_wide_makes_numbers_that_legend_and_note_explain():
    labels = label_classes(["bar", "a long name of a class"], 40)
    assert labels.words == ["0", "1"]
    assert labels.entries == ["0 bar", "1 a long name of a class"]
    assert all(entry in labels.note for entry in labels.entries)


def test_numbers_need_no_note():
    assert label_classes([str(number) for number in range(100)], 1).note == ""


def test_a_note_names_some_of_many_classes():
    names = [f"class-{number}" for number in range(10 * MOST_NAMED)]
    labels = label_classes(names, 1)
    assert len(labels.words) == len(names)
    assert names[MOST_NAMED - 1] in labels.note
    assert names[MOST_NAMED] not in labels.note
