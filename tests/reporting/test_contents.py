"""The sections of a report."""

from dataclasses import replace

from capsbench.measures.spec import Metric, built_in_specs
from capsbench.reporting.contents import built_in_sections, load_section

SPEED = built_in_specs()["speed"]


def test_sections_of_measures_stand_between_the_winners_and_the_hypotheses_in_the_order_of_the_registry():
    names = [section.name for section in built_in_sections()]
    assert (*names[:2], *names[-2:]) == ("answer", "winners", "hypotheses", "times")
    measures = [name for name in built_in_specs() if name in names]
    assert [name for name in names if name in measures] == measures
    assert {"affine", "adversarial", "transfer"} <= {*measures}


def test_a_measure_without_a_section_has_the_default_one_if_it_declares_columns():
    assert load_section(SPEED) is None  # its numbers are in the headline table
    declared = replace(SPEED, title="How fast", metrics=(Metric("latency", "ms", columns=("inference",)),))
    section = load_section(declared)
    assert (section.name, section.title) == ("speed", "How fast")


def test_the_numbers_of_who_won_are_explained_by_their_measures():
    titles = {contest.title for spec in built_in_specs().values() for _, contest in spec.find_contests()}
    explained = {title for section in built_in_sections() for title in section.explains}
    assert explained
    assert explained <= titles
