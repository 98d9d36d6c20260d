"""The committed reference results are whole, and say what the README says of them."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from capsbench.records.schema1 import SUMS, read_sums
from capsbench.records.software.requirements import find_requirements
from capsbench.records.store import Store
from capsbench.records.table import load
from capsbench.stats.shares import wilson_interval

REFERENCE = Path(__file__).parent.parent / "results" / "reference"
FOLDERS = sorted(path.parent for path in REFERENCE.glob("*/records"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_record_is_whole_finished_and_from_a_clean_commit(folder):
    records, faults = Store(folder).records()
    assert faults == []
    assert records
    for record in records:
        assert record.status == "finished"
        for entry in (record.training, *record.measures.values()):
            assert entry.provenance["commit"]
            assert entry.provenance["dirty"] is False
        if "accuracy" in record.measures:
            assert Store(folder).kept(record, "accuracy")["label"].shape[0] >= 500


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_sums_of_the_reference_results_are_those_of_their_files(folder):
    sums = read_sums(folder)
    files = [path for part in ("records", "kept", "between", "runs") for path in (folder / part).rglob("*.*")]
    assert sums == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    assert (folder / SUMS).exists()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_versions_of_every_record_can_be_installed(folder):
    """`.ci/requirements` writes the files of folders that have none."""
    facts = {str(entry.provenance): entry.provenance for entry in list_entries(folder)}
    assert all(find_requirements(folder, each) for each in facts.values())


def list_entries(folder):
    records, _ = Store(folder).records()
    return [entry for record in records for entry in (record.training, *record.measures.values())]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_network_has_its_cost_and_no_number_of_another_rule(folder):
    table = load(folder)
    costs = table[table["metric"].isin(["flops", "executed flops", "parameters"]) & (table["measure"] != "training")]
    assert set(costs["measure"]) == {"cost"}
    assert (costs.groupby("cell")["value"].count() == 4).all()
    assert set(costs["cell"]) == set(table["cell"])


def test_em_routing_trains_at_every_number_of_iterations():
    for folder, iterations, least in (("digits", [1, 2, 3], 0.95), ("mnist-tiny", [1, 3], 0.96)):
        table = load(REFERENCE / folder).query("metric == 'accuracy' and condition == 'test' and routing == 'em'")
        means = table.groupby("iterations")["value"].mean()
        assert means.index.tolist() == iterations
        assert (means >= least).all()


def test_the_cpu_kernels_figures_are_those_of_the_documents():
    """Whole, from a clean commit, and as far from the usual implementation as docs/kernels.md says."""
    table = pd.read_csv(REFERENCE / "kernels" / "cpu" / "kernels.csv")
    assert not table["dirty"].any()
    both = table[table["pass"] == "forward+backward"].set_index(["layer", "contender"])
    assert (both["status"].drop("triton", level="contender") == "ok").all()
    for layer, times in (("sabour-digitcaps", 6), ("hinton-convcaps1-small", 12)):
        cpu, usual = both.loc[(layer, "cpu")], both.loc[(layer, "broadcast")]
        assert usual["median_s"] / cpu["median_s"] >= times
        assert cpu["median_s"] < both.loc[(layer, "broadcast-compiled"), "median_s"]
        assert cpu["peak_bytes"] <= usual["peak_bytes"] / 10


def test_whole_training_steps_are_as_far_from_the_usual_implementation_as_the_documents_say():
    table = pd.read_csv(REFERENCE / "steps" / "cpu" / "steps.csv")
    assert not table["dirty"].any()
    assert (table["status"] == "ok").all()
    fused = table[table["contender"] == "cpu"].set_index(["network", "size"])
    assert fused.loc[("capsnet", "paper"), "times_as_fast"] >= 1.6
    assert fused.loc[("matrix-capsules", "small"), "times_as_fast"] >= 8


def test_small_networks_learn_12000_images_of_mnist_at_every_number_of_iterations():
    table = load(REFERENCE / "mnist-12000-small").query("metric == 'accuracy' and condition == 'test'")
    assert table["epochs"].max() <= 10
    found = table.groupby(["routing", "iterations"])["value"].agg(["mean", "count"])
    assert (found["count"] == 3).all()
    assert (found.loc["dynamic", "mean"] >= 0.985).all()
    assert (found.loc["em", "mean"] >= 0.98).all()
    assert found.index.tolist() == [("dynamic", 1), ("dynamic", 3), ("em", 1), ("em", 2), ("em", 3)]


@pytest.mark.parametrize(
    ("folder", "network", "asked"),
    [
        ("mnist-small-em", "matrix-capsules", 0.992),
        ("mnist-paper", "capsnet", 0.995),
        ("fashion-small", "efficient-capsnet", 0.91),
    ],
)
def test_all_images_are_learned_as_well_as_asked(folder, network, asked):
    table = load(REFERENCE / folder).query("metric == 'accuracy' and condition == 'test'")
    (accuracy,) = table.loc[table["network"] == network, "value"]
    low, high = wilson_interval(accuracy, 10_000)
    assert asked <= high
    assert high - low < 0.012


def test_poses_of_the_transforming_autoencoder_follow_and_serve_beyond_what_was_trained_on():
    table = load(REFERENCE / "autoencoders-mnist").query("measure == 'transformation'")
    errors = table[(table["metric"] == "squared error") & (table["condition"] == "outside")]
    means = errors.groupby(["network.transform", "network"])["value"].mean().unstack()
    assert means.index.tolist() == ["affine", "shift"]
    assert (means["transforming-autoencoder"] < 0.8 * means["conditional-autoencoder"]).all()
    follows = table[(table["metric"] == "R^2") & table["condition"].isin(["inside, x", "inside, y"])]
    assert follows["value"].min() > 0.8


def find_last_validation(folder: Path) -> pd.DataFrame:
    """Returns one row a record: its contender, the study of its search, and the validation accuracy of its last epoch."""
    records, _ = Store(folder).records()
    return pd.DataFrame(
        {
            "contender": (record.cell.network, record.cell.routing, record.cell.options.get("network.parameters")),
            "study": record.tuning and record.tuning.study,
            "accuracy": record.training.history[-1]["validation_accuracy"],
        }
        for record in records
    )


def test_the_defaults_at_tiny_are_as_good_as_the_best_of_four_tuned_studies():
    """By validation accuracy, each the mean of three seeds that chose nothing: docs/tuning.md has the table."""
    defaults = find_last_validation(REFERENCE / "fashion-6000").groupby("contender")["accuracy"]
    tuned = find_last_validation(REFERENCE / "tuned-fashion").groupby(["contender", "study"])["accuracy"]
    assert (defaults.count() == 3).all()
    assert (tuned.count() == 3).all()
    best = tuned.mean().groupby("contender").max()
    assert set(best.index) == set(defaults.mean().index)
    assert (best - defaults.mean() < 0.01).all()
