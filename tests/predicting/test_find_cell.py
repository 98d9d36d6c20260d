import pytest

from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.predicting.find_cell import LISTED, find_record
from capsbench.records.store import Store
from tests.making import make_capsules, make_record


@pytest.fixture
def choose(tmp_path):
    return lambda wanted=None: find_record(Store(tmp_path / "results"), wanted)[0].cell


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


def test_a_title_as_tables_print_it(choose, three, tmp_path):
    cell = make_capsules(routing="my_module:MyRouting")
    Store(tmp_path / "results").write(make_record(cell))
    assert choose("MyRouting") == choose("my_module:MyRouting") == cell
    assert choose("em \N{MULTIPLICATION SIGN}2") == three[2]


def test_several_matches_are_listed_in_one_line_with_their_titles(choose, three):
    with pytest.raises(UsageError) as caught:
        choose("dynamic")
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.AMBIGUOUS, "CELL", "dynamic")
    assert {*caught.value.expected} == {f"{cell.id} ({cell.title})" for cell in three[:2]}
    assert "\n" not in str(caught.value)


def test_candidates_with_the_same_short_title_are_listed_with_their_differences(choose, put):
    put(weights=False, routing="dynamic", dataset="digits", squash="sabour")
    put(weights=False, routing="dynamic", dataset="digits", squash="unit")
    with pytest.raises(UsageError) as caught:
        choose("dynamic")
    title = "capsnet dynamic x3 tiny, digits"
    titles = {candidate.partition(" ")[2] for candidate in caught.value.expected}
    assert titles == {f"({title}, seed 0)", f"({title}, squash unit, seed 0)"}  # sabour is the default
    assert choose("squash unit").options["routing.squash"] == "unit"


def test_at_most_six_candidates_are_listed(choose, put):
    for seed in range(9):
        put(weights=False, routing="dynamic", dataset="digits", seeds=seed)
    with pytest.raises(UsageError) as caught:
        choose("dynamic")
    assert caught.value.kind is Kind.AMBIGUOUS
    assert len(caught.value.expected) == LISTED + 1
    assert "3" in caught.value.expected[-1]


def test_a_misspelled_title_or_hash_gets_a_suggestion(choose, three):
    wrong = three[0].id[:5] + ("0" if three[0].id[5] != "0" else "1") + three[0].id[6:]
    for wanted, meant in (("dinamic x3", "'dynamic x3'"), (wrong, three[0].id)):
        with pytest.raises(UsageError) as caught:
            choose(wanted)
        assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.UNKNOWN, "CELL", wanted)
        assert meant in caught.value.expected


def test_an_unknown_title_lists_the_cells_on_record(choose, three):
    with pytest.raises(UsageError) as caught:
        choose("nothing of the kind")
    assert all(f"{cell.id} ({cell.title})" in caught.value.expected for cell in three)


def test_a_condition_that_no_cell_meets_lists_the_values_on_record(choose, three):
    with pytest.raises(UsageError) as caught:
        choose("iters=7")
    error = caught.value
    assert (error.kind, error.flag, error.value, error.expected) == (Kind.MISSING, "CELL", "iters=7", ("2", "3"))


@pytest.mark.parametrize(
    ("wanted", "kind", "value"),
    [("ruoting=em", Kind.UNKNOWN, "ruoting"), ("routing=em,iters", Kind.INVALID, "routing=em,iters")],
)
def test_a_condition_is_a_known_name_and_a_value(choose, three, wanted, kind, value):
    with pytest.raises(UsageError) as caught:
        choose(wanted)
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (kind, "CELL", value)


def test_without_a_name_the_only_cell_with_weights_is_chosen(choose, three, put):
    with pytest.raises(UsageError) as caught:
        choose()
    assert (caught.value.kind, caught.value.flag, caught.value.value) == (Kind.AMBIGUOUS, "CELL", None)
    assert len(caught.value.expected) == 3
    cell = put(routing="uniform", dataset="digits")
    assert choose() == cell


def test_a_failed_cell_says_why_it_has_no_weights(choose, put):
    cell = put(weights=False, status="failed", routing="em", dataset="digits")
    with pytest.raises(UsageError) as caught:
        choose("em")
    assert (caught.value.kind, caught.value.flag) == (Kind.MISSING, "CELL")
    assert caught.value.value.startswith(cell.id)
    assert "the loss became nan" in caught.value.problem


def test_no_folder_and_an_empty_one(choose, tmp_path):
    folder = tmp_path / "results"
    with pytest.raises(UsageError) as nowhere:
        choose("em")
    assert not isinstance(nowhere.value, NothingMeasured)
    (folder / "records").mkdir(parents=True)
    with pytest.raises(NothingMeasured) as empty:
        choose("em")
    for caught in (nowhere, empty):
        assert (caught.value.kind, caught.value.flag, caught.value.file) == (Kind.MISSING, "out", folder)
