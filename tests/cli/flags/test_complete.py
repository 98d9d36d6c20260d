"""What a shell completes: names of components and suites, choices, and cells on record."""

import pytest

from capsbench.cli.commands import app
from capsbench.cli.flags.complete import complete_flag
from capsbench.exporting import FORMATS as EXPORTED
from capsbench.records.store import Store
from tests.making import make_capsules, make_record


@pytest.fixture
def complete(monkeypatch, capsys, tmp_path):
    """Returns what bash is given for the last word of a command line."""

    def ask(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("_CAPSBENCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["capsbench", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit):
            app(prog_name="capsbench", standalone_mode=False)
        return capsys.readouterr().out.split()

    return ask


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["run", "--routing", "dyn"], ["dynamic"]),
        (["run", "--routing", "em,dyn"], ["em,dynamic"]),
        (["run", "--routing", "dynamic,dyn"], []),
        (["run", "--network", "resn"], ["resnet"]),
        (["run", "--dataset", "affine-m"], ["affine-mnist"]),
        (["run", "--precision", "float"], ["float32", "float64"]),
        (["run", "--baseline", "matched,res"], ["matched,resnet"]),
        (["run", "--measure", "equi"], ["equivariance"]),
        (["run", "--suite", "sabour"], ["sabour2017"]),
        (["run", "--lr", "0"], []),
        (["run", "--baseline-size", "own,"], ["own,matched"]),
        (["run", "--freeze-backbone", "n"], ["no"]),
        (["run", "--track", "m"], ["mlflow"]),
        (["run", "--executor", "r"], ["ray"]),
        (["tune", "--sampler", "t"], ["tpe"]),
        (["challenge", "matrix"], ["matrix-capsules"]),
        (["challenge", "em", "--against", "uniform,dyn"], ["uniform,dynamic"]),
        (["measure", "--measure", "equi"], ["equivariance"]),
        (["measure", "--where", "rout"], ["routing=", "routing!="]),
        (["reproduce", "--measure", "equi"], ["equivariance"]),
        (["report", "--where", "routing!=em,dyn"], ["routing!=em,dynamic"]),
        (["report", "--where", "iters=1"], []),
        (["report", "--where", "nosuch=1"], []),
        (["report", "--by", "dataset,net"], ["dataset,network"]),
        (["report", "--suite", "sabour"], ["sabour2017"]),
        (["report", "--format", "html,t"], ["html,tex"]),
        (["export", "--to", ""], [*EXPORTED]),
        (["list", "ro"], ["routing", "row"]),
        (["data", "list", "affine-m"], ["affine-mnist"]),
        (["data", "get", "mnist", "affine-m"], ["affine-mnist"]),
    ],
    ids=" ".join,
)
def test_a_shell_completes_names_and_the_last_one_of_a_list(complete, words, values):
    assert complete(*words) == values


def test_a_shell_completes_the_cells_on_record(complete, tmp_path):
    cells = {folder: make_capsules(seed=seed) for seed, folder in enumerate(("results", "other"))}
    for folder, cell in cells.items():
        Store(tmp_path / folder).write(make_record(cell))
    start = {folder: cell.id[:4] for folder, cell in cells.items()}
    assert complete("show", start["results"]) == [cells["results"].id]
    assert complete("export", start["results"]) == [cells["results"].id]
    assert complete("show", "--out", "other", start["other"]) == [cells["other"].id]
    assert complete("show", "x") == []


def test_flags_of_numbers_complete_nothing():
    assert complete_flag("lr") is None
    assert complete_flag("nosuch") is None
