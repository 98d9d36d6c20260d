import pandas as pd
import pytest

from capsbench.errors import Kind, UsageError
from capsbench.records.record import Row
from capsbench.records.store import Store
from capsbench.records.table import COLUMNS, ROW_COLUMNS, history_of, load
from tests.making import make_capsules, make_failed, make_record

ACCURACY = Row("accuracy", "accuracy", "test", 0.9, "fraction")
ROBUST = Row("adversarial", "robust accuracy", "Linf", 0.5, "fraction", 0.1)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_load_gives_one_row_a_number(store):
    for iterations in (1, 2):
        store.write(make_record(make_capsules(iterations=iterations), [ACCURACY, ROBUST]))
    cnn = make_capsules(network="matched", routing=None, iterations=None, loss="cross-entropy", options={})
    store.write(make_record(cnn, [ACCURACY]))
    table = load(store.folder)
    assert len(table) == 5
    assert list(table.columns[: len(COLUMNS)]) == COLUMNS
    assert list(table.columns[-len(ROW_COLUMNS) :]) == ROW_COLUMNS
    em = table[(table["routing"] == "em") & (table["metric"] == "accuracy")]
    assert sorted(em["iterations"]) == [1, 2]
    assert em["routing.epsilon"].tolist() == [0.01, 0.01]
    assert table[table["network"] == "matched"]["iterations"].isna().all()


def test_a_measure_in_two_settings_stands_beside_itself(store):
    record = make_record(make_capsules(), [ROBUST])
    full = make_record(make_capsules(), [ROBUST._replace(value=0.4)], measured=["adversarial:full"])
    store.write(type(record)(record.cell, record.training, {**record.measures, **full.measures}))
    table = load(store.folder)
    assert table[["measure", "setting", "value"]].values.tolist() == [
        ["adversarial", "default", 0.5],
        ["adversarial", "full", 0.4],
    ]


def test_load_of_nothing_is_an_empty_table_with_its_columns(tmp_path):
    (tmp_path / "records").mkdir()
    table = load(tmp_path)
    assert table.empty
    assert {*COLUMNS, *ROW_COLUMNS} <= {*table.columns}
    assert isinstance(table, pd.DataFrame)


@pytest.mark.parametrize("name", ["typo", "."])
def test_load_of_what_is_no_folder_of_records_says_so(tmp_path, name):
    with pytest.raises(UsageError) as caught:
        load(tmp_path / name)
    assert (caught.value.kind, caught.value.file) == (Kind.MISSING, tmp_path / name)


def test_history_has_one_row_an_epoch():
    record = make_record(make_capsules(), history=[{"epoch": 1, "loss": 0.5}])
    assert history_of([record])[["cell", "epoch", "loss"]].values.tolist() == [[record.cell.id, 1, 0.5]]


def test_a_failed_cell_gives_no_numbers(store):
    store.write(make_failed(make_capsules()))
    assert load(store.folder).empty


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ((1, "a"), ["1", "a"]),
        ((True, 2), ["True", "2"]),
        ((True, "a"), ["True", "a"]),
        ((2.5, False), ["2.5", "False"]),
        ((1, 2.5), [1.0, 2.5]),
        ((True, False), [True, False]),
    ],
)
def test_an_option_of_two_types_is_a_column_of_one(tmp_path, values, column):
    """Two routings of one's own that give an option of the same name another type."""
    cells = [make_capsules(routing=f"mine{count}:R", options={"routing.t": each}) for count, each in enumerate(values)]
    for cell in cells:
        Store(tmp_path).write(make_record(cell, [Row("accuracy", "accuracy", "test", 0.5, "fraction")]))
    table = load(tmp_path)
    assert table.set_index("routing")["routing.t"].reindex([cell.routing for cell in cells]).tolist() == column
    table.to_parquet(tmp_path / "table.parquet")
    assert len(pd.read_parquet(tmp_path / "table.parquet")) == 2
