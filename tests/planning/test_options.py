import pytest

from capsbench.errors import Kind, UsageError
from capsbench.planning.options import (
    choose_options,
    list_options,
    multiply_axes,
    parse_dataset_options,
    read_options,
    refuse_option,
)
from capsbench.records.cell import short_name
from capsbench.records.parts import Parts

PARTS = Parts.from_names("digits", "capsnet", "dynamic", "margin")


def test_options_are_arguments_with_a_default_that_no_field_sets() -> None:
    def component(
        image, *, width=4, scale: float = 1, mode="soft", reconstruction=True, iterations=3, backend="auto", make=None
    ):
        return None

    options = read_options(component)
    assert options == {"width": 4, "scale": 1.0, "mode": "soft"}
    assert [type(value) for value in options.values()] == [int, float, str]


def test_options_have_the_name_of_their_component() -> None:
    options = list_options(PARTS)
    assert {option.partition(".")[0] for option in options} == {"network", "routing", "loss"}
    assert {"network.squash", "routing.squash", "routing.leaky"} <= options.keys()
    assert short_name("routing.leaky") == "leaky"


def test_a_short_name_is_one_axis_of_all_that_have_it_and_a_full_name_has_the_last_word() -> None:
    used: set[str] = set()
    asked = {"network.squash": ["sabour"], "squash": ["unit", "sabour"], "nosuch": [1]}
    assert [*choose_options(PARTS, asked, used)] == [
        {"network.squash": "sabour", "routing.squash": "unit"},
        {"network.squash": "sabour", "routing.squash": "sabour"},
    ]
    assert used == {"network.squash", "squash"}


@pytest.mark.parametrize(("name", "value"), [("leaky", "perhaps"), ("primary", "0"), ("scale", "inf"), ("scale", -1)])
def test_values_of_another_type_or_range_are_refused(name: str, value: object) -> None:
    if name == "primary":
        name = next(
            short_name(key) for key, default in list_options(PARTS).items() if type(default) is int and default > 0
        )
    if name == "scale":
        name = next(short_name(key) for key, default in list_options(PARTS).items() if type(default) is float)
    with pytest.raises(UsageError) as caught:
        [*choose_options(PARTS, {name: [value]}, set())]
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.INVALID, name, value)


def test_a_matrix_has_every_combination_the_last_axis_first() -> None:
    assert [*multiply_axes({"a": [1, 2], "b": ["x"], "c": [3, 4]})] == [
        {"a": 1, "b": "x", "c": 3},
        {"a": 1, "b": "x", "c": 4},
        {"a": 2, "b": "x", "c": 3},
        {"a": 2, "b": "x", "c": 4},
    ]


def test_a_value_of_two_spellings_is_one() -> None:
    parts = Parts.from_names("folder:shapes", "capsnet", "dynamic", "margin")
    crops = choose_options(parts, {"crop": ["8", "8x8", "8x9", "none"]}, set())
    assert [options["dataset.crop"] for options in crops] == ["8", "8", "8x9", "none"]
    assert parse_dataset_options("folder:shapes", {"crop": "8x8"}) == {"crop": "8"}
    with pytest.raises(UsageError) as caught:
        [*choose_options(parts, {"crop": ["8x"]}, set())]
    assert (caught.value.kind, caught.value.flag) == (Kind.INVALID, "crop")


@pytest.mark.parametrize(
    ("name", "owner"), [("resize", "folder:PATH"), ("dataset.image_column", "hf:PATH"), ("down_weight", "margin")]
)
def test_an_option_of_other_parts_is_refused_with_their_names(name: str, owner: str) -> None:
    with pytest.raises(UsageError) as caught:
        refuse_option(name, ["routing"])
    assert (caught.value.kind, caught.value.flag, caught.value.expected) == (Kind.CONFLICT, name, None)
    assert owner in caught.value.problem


def test_a_name_that_nothing_has_is_unknown() -> None:
    with pytest.raises(UsageError) as caught:
        refuse_option("routin", ["routing", "network"])
    assert (caught.value.kind, caught.value.expected) == (Kind.UNKNOWN, ("network", "routing"))
