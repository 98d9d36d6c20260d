"""The sections of a report."""

from dataclasses import replace

from capsbench.measures.spec import Metric, built_in_specs
from capsbench.reporting.contents import built_in_sections, load_section

ACCURACY = built_in_specs()["accuracy"]


def test_sections_of_measures_stand_between_the_winners_and_the_hypotheses_in_the_order_of_the_registry():
    names = [section.name for section in built_in_sections()]
    assert (*names[:2], *names[-2:]) == ("answer", "winners", "hypotheses", "times")
    measures = [name for name in built_in_specs() if name in names]
    assert [name for name in names if name in measures] == measures
    assert {"affine", "adversarial", "transfer"} <= {*measures}


def test_a_measure_without_a_section_has_the_default_one_if_it_declares_columns():
    assert load_section(ACCURACY) is None  # its numbers are in the headline table
    declared = replace(ACCURACY, title="How often", metrics=(Metric("accuracy", "fraction", columns=("test",)),))
    section = load_section(declared)
    assert (section.name, section.title) == ("accuracy", "How often")
