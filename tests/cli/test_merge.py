"""`capsbench merge` and `capsbench run --shard` as a person types them."""

import json

import pytest

from capsbench.records.store import Store
from tests.merging.folders import ROTATED, read_files, write_network

RUN = [
    *("run", "--routing", "dynamic,uniform", "--iters", "1", "--seeds", "0,1", "--baseline", "none"),
    *("--train-size", "20", "--epochs", "1", "--measure", "cost,transfer:quick"),
]


@pytest.mark.usefixtures("in_one_process")
def test_two_shards_are_merged_and_finished_by_the_same_command(capsbench, tmp_path):
    for part in ("1/2", "2/2"):
        done = capsbench(*RUN, "--shard", part, "--out", part[0], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(Store(tmp_path / part[0]).records()[0]) == 2
        assert Store(tmp_path / part[0]).runs()[-1].shard == part
    assert capsbench("merge", "1", "2", "--out", "all", cwd=tmp_path).returncode == 0
    store = Store(tmp_path / "all")
    trained = {path: content for path, content in read_files(store.folder).items() if path.startswith("weights")}
    assert len(trained) == 4
    assert not store.between_paths()
    done = capsbench(*RUN, "--out", "all", "--json", cwd=tmp_path)
    assert (done.returncode, len(json.loads(done.stdout)["on_record"])) == (0, 4)
    assert len(store.between_paths()) == 16
    assert read_files(store.folder).items() >= trained.items()
    done = capsbench("report", "--out", "all", "--format", "md", cwd=tmp_path)
    assert done.returncode == 0
    page = (store.folder / "report" / "table.md").read_text()
    assert page.count("--routing dynamic") > 0
    assert not any("--shard" in line for line in page.splitlines() if line.startswith("    capsbench"))


def test_a_shard_without_cells_is_no_fault(capsbench, tmp_path):
    done = capsbench(*RUN, "--shard", "9/9", cwd=tmp_path)
    assert done.returncode == 0
    assert "0 of 4 cells" in done.stderr
    assert Store(tmp_path / "results").runs()[-1].cells == []


@pytest.mark.parametrize("value", ["0/4", "5/4", "a/b", "1/0"])
def test_a_wrong_shard_is_one_line_and_exit_code_2(capsbench, tmp_path, value):
    for flags in ((), ("--dry-run",)):
        done = capsbench(*RUN, "--shard", value, *flags, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("capsbench: --shard: ")
        assert value in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()


@pytest.fixture
def conflicting(tmp_path):
    """Two folders that contradict each other in two networks."""
    for folder, value in (("a", 0.5), ("b", 0.6)):
        for seed in (0, 1):
            write_network(tmp_path / folder, [ROTATED._replace(value=value)], seed=seed)
    return tmp_path


def test_each_conflict_is_a_line_and_the_exit_code_is_2(capsbench, conflicting):
    done = capsbench("merge", "a", "b", "--out", "c", cwd=conflicting)
    assert (done.returncode, done.stdout) == (2, "")
    *conflicts, last = done.stderr.splitlines()
    assert ["a/records/" in line and "b/records/" in line for line in conflicts] == [True, True]
    assert "--prefer" in last
    assert not (conflicting / "c").exists()
    done = capsbench("merge", "a", "b", "--out", "c", "--prefer", "b", "--json", cwd=conflicting)
    assert (done.returncode, len(json.loads(done.stdout)["added"])) == (0, 2)
    assert [record.rows for record in Store(conflicting / "c").records()[0]] == [[ROTATED._replace(value=0.6)]] * 2


def test_what_is_left_out_is_named_and_the_exit_code_is_3(capsbench, tmp_path):
    for seed in (0, 1):
        record = write_network(tmp_path / "a", seed=seed)
    Store(tmp_path / "a").record_path(record.cell.id).write_text("{")
    done = capsbench("merge", "a", "--out", "b", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout.startswith("1 cell on record in b: 1 added")
    (line,) = done.stderr.splitlines()
    assert record.cell.id in line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["merge", "--out", "c"], "FOLDER"),
        (["merge", "a"], "--out"),
        (["merge", "absent", "--out", "c"], "absent"),
        (["merge", "a", "--out", "file"], "--out"),
        (["merge", "a", "--out", "c", "--prefer", "b"], "--prefer"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(capsbench, tmp_path, words, named):
    write_network(tmp_path / "a")
    (tmp_path / "file").touch()
    done = capsbench(*words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "c").exists()
