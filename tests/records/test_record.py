from dataclasses import replace

import pytest

from capsbench.records.record import Measurement, Row, keep_one_setting
from tests.making import make_capsules, make_failed, make_record

ACCURACY = Row("accuracy", "accuracy", "test", 0.9, "fraction")
PARAMETERS = Row("training", "parameters", "network", 1000, "parameters")
LIGHT = Row("adversarial", "robust accuracy", "Linf, worst case", 0.5, "fraction", 0.1)
FULL = LIGHT._replace(value=0.4)


@pytest.mark.parametrize(
    ("record", "status"),
    [
        (make_record(make_capsules(), [ACCURACY]), "finished"),
        (make_record(make_capsules(), [ACCURACY], wanted=["speed"]), "trained"),
        (make_record(make_capsules()), "finished"),
        (make_failed(make_capsules()), "failed"),
    ],
)
def test_the_status_follows_from_what_is_there_and_what_is_wanted(record, status):
    assert record.status == status


def test_rows_are_those_of_the_training_and_of_every_measure():
    record = make_record(make_capsules(), [ACCURACY, PARAMETERS])
    assert record.rows == [PARAMETERS, ACCURACY]
    assert record.measured == ["accuracy"]
    assert make_failed(make_capsules()).rows == []


def test_the_reason_names_the_measures_that_failed_alike_together():
    failures = {"loud:Loud": "too loud", "quiet:Quiet": "too quiet", "loud:Louder": "too loud"}
    record = make_record(make_capsules(), failures=failures)
    assert record.reason == "loud:Loud, loud:Louder: too loud; quiet:Quiet: too quiet"
    assert make_failed(make_capsules(), "the loss became nan").reason == "the loss became nan"
    assert make_record(make_capsules()).reason == ""


def test_a_measure_is_found_by_its_spec_or_by_its_name():
    record = make_record(make_capsules(), measured=["adversarial:full", "adversarial", "my.module:Mine:quick"])
    assert record.find_measurement("adversarial") is record.measures["adversarial"]
    assert record.find_measurement("adversarial:full") is record.measures["adversarial:full"]
    assert record.find_measurement("my.module:Mine") is record.measures["my.module:Mine:quick"]
    assert record.find_measurement("speed") is None


def with_settings(seed, **measures):
    record = make_record(make_capsules(seed=seed), measured=[spec.replace("_", ":") for spec in measures])
    for spec, row in measures.items():
        record.measures[spec.replace("_", ":")] = Measurement([row])
    return record


def test_of_several_settings_that_stays_which_most_records_have():
    both = with_settings(0, adversarial=LIGHT, adversarial_full=FULL)
    full = with_settings(1, adversarial_full=FULL)
    kept, several = keep_one_setting([both, full])
    assert [record.rows for record in kept] == [[FULL], [FULL]]
    assert several == {"adversarial": ["adversarial:full", "adversarial"]}


def test_numbers_of_two_settings_are_never_mixed():
    light, full = with_settings(0, adversarial=LIGHT), with_settings(1, adversarial_full=FULL)
    kept, several = keep_one_setting([light, full, with_settings(2, adversarial_full=FULL)])
    assert [record.rows for record in kept] == [[], [FULL], [FULL]]
    assert several == {"adversarial": ["adversarial:full", "adversarial"]}


def test_a_setting_that_is_left_out_is_no_measure_that_is_missing():
    record = replace(with_settings(0, adversarial=LIGHT, adversarial_full=FULL), wanted=["adversarial:full"])
    (kept,), _ = keep_one_setting([record])
    assert (kept.measured, kept.status) == (["adversarial"], "finished")
