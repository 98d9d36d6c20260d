import pytest

from capsbench.errors import NothingMeasured, UsageError
from capsbench.showing.choosing import chosen_record
from capsbench.store import Store


@pytest.fixture
def choose(tmp_path):
    return lambda wanted=None: chosen_record(Store(tmp_path / "results"), wanted).cell


@pytest.fixture
def three(put):
    """Two seeds of dynamic routing and one of EM, on the digits."""
    return [
        put(weights=False, routing="dynamic", iters=3, dataset="digits", seeds=0),
        put(weights=False, routing="dynamic", iters=3, dataset="digits", seeds=1),
        put(weights=False, routing="em", iters=2, dataset="digits", seeds=0),
    ]


def test_a_hash_or_its_beginning(choose, three):
    for cell in three:
        others = [other.id for other in three if other is not cell]
        short = next(cell.id[:n] for n in range(1, 13) if not any(id_.startswith(cell.id[:n]) for id_ in others))
        assert choose(cell.id) == choose(short) == choose(short.upper()) == cell


def test_conditions_by_the_names_of_the_flags(choose, three):
    assert choose("routing=em") == three[2]
    assert choose("routing=dynamic,iters=3,seeds=1") == three[1]
    assert choose("routing!=dynamic") == three[2]
    assert choose("annealing=0.1") == three[2]  # an option


def test_words_of_the_title(choose, three):
    assert choose("em x2") == three[2]
    assert choose("Dynamic, seed 1") == three[1]


def test_several_cells_are_named_in_one_line_with_their_titles(choose, three):
    with pytest.raises(UsageError) as failure:
        choose("dynamic")
    said = str(failure.value)
    assert said.startswith("CELL 'dynamic': 2 cells fit: ")
    assert all(f"{cell.id} ({cell.title})" in said for cell in three[:2])
    assert three[2].id not in said
    assert "\n" not in said


def test_cells_of_one_title_are_told_apart_by_what_differs(choose, put):
    put(weights=False, routing="dynamic", dataset="digits", squash="sabour")
    put(weights=False, routing="dynamic", dataset="digits", squash="unit")
    with pytest.raises(UsageError) as failure:
        choose("dynamic")
    assert "seed 0, squash sabour)" in str(failure.value)
    assert "seed 0, squash unit)" in str(failure.value)


def test_of_many_candidates_some_are_named(choose, put):
    for seed in range(9):
        put(weights=False, routing="dynamic", dataset="digits", seeds=seed)
    with pytest.raises(UsageError, match=r"9 cells fit: .*; and 3 more"):
        choose("dynamic")


def test_what_was_misspelled(choose, three):
    with pytest.raises(UsageError, match="did you mean 'dynamic x3'"):
        choose("dinamic x3")
    wrong = three[0].id[:5] + ("0" if three[0].id[5] != "0" else "1") + three[0].id[6:]
    with pytest.raises(UsageError, match=f"did you mean {three[0].id}"):
        choose(wrong)
    with pytest.raises(UsageError, match="did you mean 'routing'"):
        choose("ruoting=em")
    with pytest.raises(UsageError, match="none of these cells has iters=7; there are: 2, 3"):
        choose("iters=7")
    with pytest.raises(UsageError, match="expected NAME=VALUE"):
        choose("routing=em,iters")


def test_without_a_name_the_only_one_with_weights(choose, three, put):
    with pytest.raises(UsageError, match="CELL: 3 cells fit"):
        choose()
    own = put(routing="uniform", dataset="digits")
    assert choose() == own


def test_a_failed_cell_says_why_it_has_no_weights(choose, put):
    put(weights=False, status="failed", routing="em", dataset="digits")
    with pytest.raises(UsageError, match="failed, so that it has no weights: the loss became nan"):
        choose("em")


def test_no_folder_and_an_empty_one(choose, tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        choose("em")
    (tmp_path / "results" / "records").mkdir(parents=True)
    with pytest.raises(NothingMeasured, match="no records there"):
        choose("em")
