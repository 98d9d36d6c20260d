import pytest

from capsbench.planning.edits import describe_edits, find_edits
from tests.making import make_capsules


@pytest.mark.parametrize(
    ("edited", "phrase"),
    [
        ({"routing my:Mine": ["helper", "my"]}, "edited since it was trained: routing my:Mine (in helper, my)"),
        (
            {"loss my:Loss": [], "network my:Net": ["my"]},
            "edited since it was trained: loss my:Loss, network my:Net (in my)",
        ),
    ],
)
def test_edits_are_named_with_their_modules(edited: dict[str, list[str]], phrase: str) -> None:
    assert describe_edits(edited) == phrase


def test_built_in_parts_have_no_edits() -> None:
    assert find_edits(make_capsules(), {}) == {}
