"""What is said of a measure is said in its folder, and nowhere else by its name."""

import ast
import re
from pathlib import Path

import pytest

from capsbench import registry
from capsbench.measures.spec import MeasureSpec, built_in_specs

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("capsbench", "kernels/capsbench_kernels", "baselines/capsbench_baselines")
NAMES = frozenset(registry.BUILT_IN["measure"])

NAMED_HERE = (
    "capsbench/sources/built_in.py",
    "capsbench/planning/suites/",
    "capsbench/reporting/sections/claims.py",
    "capsbench/reporting/sections/headline.py",
)

ANOTHER_THING = {
    "capsbench/data/warps.py": {"affine"},  # a family of warps
    "capsbench/data/sets/multimnist.py": {"overlap"},  # a fact about each image: the ink that two digits share
    "capsbench/exporting/card.py": {"accuracy"},  # a metric of the hub
    "capsbench/measures/build.py": {"cost"},  # what a class declares of its own duration
    "capsbench/networks/transforming_autoencoder.py": {"affine"},  # a transformation of poses
    "capsbench/presenting/format.py": {"accuracy"},  # a heading
    "capsbench/training/loop.py": {"accuracy"},  # what an epoch is judged by
}


def folder_of(name: str) -> str:
    return f"capsbench/measures/{name.replace('-', '_')}/"


def own_words(place: str) -> set[str]:
    """The name and the metrics of the measure in whose folder a file lies: several measures have a metric ``accuracy``."""
    owners = [spec for name, spec in built_in_specs().items() if place.startswith(folder_of(name))]
    return {spec.name for spec in owners} | {metric.name for spec in owners for metric in spec.metrics}


def names_in(path: Path) -> set[str]:
    """The names of measures that are string constants of a file."""
    constants = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str) and value in NAMES}


def sources() -> dict[str, Path]:
    paths = (path for package in PACKAGES for path in sorted((CHECKOUT / package).rglob("*.py")))
    return {path.relative_to(CHECKOUT).as_posix(): path for path in paths}


def test_the_name_of_a_measure_stands_in_its_folder_alone() -> None:
    strangers = {
        place: names
        for place, path in sources().items()
        if not place.startswith(NAMED_HERE)
        if (names := names_in(path) - own_words(place) - ANOTHER_THING.get(place, set()))
    }
    assert strangers == {}


@pytest.mark.parametrize("place", ANOTHER_THING)
def test_each_exception_is_one(place: str) -> None:
    assert names_in(CHECKOUT / place) == ANOTHER_THING[place]


@pytest.mark.parametrize("name", registry.BUILT_IN["measure"])
def test_each_measure_has_a_folder_with_its_spec(name: str) -> None:
    spec = built_in_specs()[name]
    assert isinstance(spec, MeasureSpec)
    assert spec.name == name
    assert registry.get("measure", name).spec is spec
    assert registry.BUILT_IN["measure"][name].startswith(folder_of(name).replace("/", "."))


def test_no_other_measure_is_of_its_folder() -> None:
    folders = {path.parent.name for path in (CHECKOUT / "capsbench" / "measures").glob("*/__init__.py")}
    assert folders == {folder_of(name).split("/")[2] for name in NAMES}


@pytest.mark.parametrize("name", registry.BUILT_IN["measure"])
def test_the_text_of_a_measure_names_its_metrics_and_settings(name: str) -> None:
    text = (CHECKOUT / folder_of(name) / "README.md").read_text()
    assert text.startswith(f"# {name}\n")
    words = [metric.name for metric in built_in_specs()[name].metrics] + list(registry.get("measure", name).settings)
    assert [word for word in words if f"`{word}`" not in text] == []
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (CHECKOUT / folder_of(name) / link).exists(), link
