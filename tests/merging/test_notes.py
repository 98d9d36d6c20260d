"""The latest run of a merged folder is that of all folders, whatever their numbers and clocks."""

import pytest

from capsbench import merge
from capsbench.records.store import Store
from tests.making import make_capsules
from tests.merging.folders import write_network


@pytest.fixture
def folders(tmp_path):
    """Makes folders of one network each, with so many runs of it."""

    def make(**counts):
        paths = []
        for seed, (name, count) in enumerate(counts.items()):
            record = write_network(tmp_path / name, seed=seed)
            for number in range(count):
                Store(tmp_path / name).write_run([record.cell], f"capsbench run {name}{number + 1}")
            paths.append(tmp_path / name)
        return paths

    return make


def seeds_of(run):
    names = {make_capsules(seed=seed).id: seed for seed in range(5)}
    return [names[cell] for cell in run.cells]


def test_the_latest_runs_of_all_folders_are_one(folders, tmp_path):
    paths = folders(a=1, b=3, c=0)
    merge(paths, tmp_path / "out")
    runs = Store(tmp_path / "out").runs()
    assert [run.sequence for run in runs] == [1, 2, 3]
    assert seeds_of(runs[-1]) in ([0, 1], [1, 0])
    assert {*runs[-1].command.split("; ")} == {"capsbench run a1", "capsbench run b3"}
    assert seeds_of(runs[1]) == [1]
    again = merge(paths, tmp_path / "out")
    assert (again.added, Store(tmp_path / "out").runs()) == ([], runs)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 3), (3, 1)])
def test_a_folder_that_is_merged_into_is_one_of_them(folders, tmp_path, a, b):
    paths = folders(a=a, b=b)
    for into in (tmp_path / "a", tmp_path / "out", tmp_path / "out"):
        merge(paths, into)
        assert sorted(seeds_of(Store(into).runs()[-1])) == [0, 1]
        assert Store(into).runs()[-1].sequence == max(a, b)
    for path in paths:
        merge([path], tmp_path / "one by one")
    assert sorted(seeds_of(Store(tmp_path / "one by one").runs()[-1])) == [0, 1]


def test_a_run_in_the_merged_folder_stays_the_latest(folders, tmp_path):
    paths = folders(a=2, b=1)
    out = Store(tmp_path / "out")
    merge(paths, out.folder)
    latest = out.write_run([make_capsules(seed=4)], "capsbench run --seeds 4")
    merge(paths, out.folder)
    assert out.runs()[-1] == latest
    Store(paths[0]).write_run([make_capsules(seed=3)], "capsbench run --seeds 3")
    merge(paths, out.folder)
    assert sorted(seeds_of(out.runs()[-1])) == [3, 4]


def test_notes_without_numbers_have_a_latest_run_too(folders, tmp_path):
    paths = folders(a=2, b=1)
    for path in paths:
        for index, note in enumerate(sorted((path / "runs").iterdir())):
            content = note.read_text().partition("\n")[2].replace(f'"sequence": {index + 1}', '"sequence": null')
            note.with_name(f"2026010{index + 1}T000000.json").write_text(
                "{" + content.replace('"schema": 2', '"schema": 1')
            )
            note.unlink()
    merge(paths, tmp_path / "out")
    runs = Store(tmp_path / "out").runs()
    assert sorted(seeds_of(runs[-1])) == [0, 1]
    assert [run.sequence for run in runs] == [None, None, 1]


def test_shards_of_one_plan_are_one_run(folders, tmp_path):
    paths = folders(a=0, b=0)
    for part, path in enumerate(paths, start=1):
        cells = [record.cell for record in Store(path).records()[0]]
        command = f"capsbench run --out {path.name} --shard {part}/2"
        for _ in range(part):  # the second machine was interrupted once
            Store(path).write_run(cells, command, shard=f"{part}/2")
    merge(paths, tmp_path / "out")
    run = Store(tmp_path / "out").runs()[-1]
    assert (run.command, run.shard) == ("capsbench run", None)
    assert sorted(seeds_of(run)) == [0, 1]


def test_a_damaged_note_is_left_out_and_named(folders, tmp_path):
    paths = folders(a=2)
    note = max((paths[0] / "runs").iterdir())
    note.write_text("{")
    assert [str(note) in line for line in merge(paths, tmp_path / "out").left_out] == [True]
    assert [run.sequence for run in Store(tmp_path / "out").runs()] == [1]
