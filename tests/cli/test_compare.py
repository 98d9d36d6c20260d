"""`capsbench compare` and `capsbench check` as a person types them."""

import json
from xml.etree import ElementTree

import pytest

import capsbench
from tests.comparing.records import SEEDS, record, write

NETWORKS = [{"routing": "dynamic"}, {"routing": "em"}]


@pytest.fixture
def folders(tmp_path):
    """A reference of five seeds, a run like it, one that is worse, and one of which a network is missing."""
    spread = dict(zip(SEEDS, (0.0, 0.005, -0.005, 0.003, -0.003), strict=True))

    def of(score, seeds, networks=NETWORKS):
        return [record(score + spread[seed % 5], seed, **network) for seed in seeds for network in networks]

    write(tmp_path / "reference", of(0.95, SEEDS))
    write(tmp_path / "alike", of(0.95, [5]))
    write(tmp_path / "worse", of(0.75, [5]))
    write(tmp_path / "less", of(0.95, [5], NETWORKS[:1]))
    (tmp_path / "empty" / "records").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("out", "code", "last"),
    [
        ("alike", 0, "passed: nothing worse; "),
        ("worse", 1, "NOT passed: 3 regressions; "),  # of both networks, and of their mean
        ("nowhere", 2, "capsbench: --out nowhere: "),
        ("less", 3, "NOT passed: 1 missing; "),
        ("empty", 4, "capsbench: --out empty: "),
    ],
)
def test_each_outcome_has_an_exit_code_of_its_own(capsbench, folders, out, code, last):
    done = capsbench("check", "--against", "reference", "--out", out, cwd=folders)
    assert done.returncode == code, done.stderr
    assert (done.stdout + done.stderr).strip().splitlines()[-1].startswith(last)


def test_check_writes_what_it_is_asked_for(capsbench, folders):
    arguments = ["--summary", "made/summary.md", "--junit", "made/check.xml", "--json"]
    done = capsbench("check", "--against", "reference", "--out", "worse", *arguments, cwd=folders)
    assert done.returncode == 1
    assert json.loads(done.stdout)["exit_code"] == 1
    assert (folders / "made" / "summary.md").read_text().startswith("# capsbench check\n")
    assert ElementTree.parse(folders / "made" / "check.xml").getroot().get("failures") == "3"


def test_update_says_what_changed_and_makes_the_run_the_reference(capsbench, folders):
    write(folders / "next", [record(0.8 + seed / 100, seed, **network) for seed in SEEDS for network in NETWORKS])
    done = capsbench("check", "--against", "reference", "--out", "next", "--update", cwd=folders)
    assert done.returncode == 0, done.stderr
    assert "regression: " in done.stdout
    assert done.stdout.splitlines()[-1] == "10 records were written anew"
    assert capsbench("check", "--against", "reference", "--out", "next", cwd=folders).returncode == 0


def test_update_makes_a_reference_where_there_is_none(capsbench, folders):
    done = capsbench("check", "--against", "new", "--out", "reference", "--update", cwd=folders)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "10 records came")
    assert capsbench("check", "--against", "new", "--out", "alike", cwd=folders).returncode == 0


def test_folders_with_nothing_in_common_are_said_to_have_nothing(capsbench, folders):
    write(folders / "other", [record(0.9, routing="uniform")])
    done = capsbench("compare", "reference", "other", cwd=folders)
    assert done.stdout.startswith("no contender is on both sides\nonly in A: ")


def test_an_interrupt_has_an_exit_code_and_no_traceback(capsbench, folders, monkeypatch):
    def interrupted(*arguments, **names):
        raise KeyboardInterrupt

    monkeypatch.setattr("capsbench.comparing.check", interrupted)
    done = capsbench("check", "--against", "reference", "--out", "alike", cwd=folders)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_both_are_functions_of_the_package(folders):
    assert capsbench.check(folders / "reference", folders / "alike").worse == []
    assert capsbench.compare(folders / "reference", folders / "reference").nothing


def test_compare_of_a_run_with_itself_finds_nothing(capsbench, folders):
    done = capsbench("compare", "reference", "reference", cwd=folders)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no difference: all numbers of 2 contenders are the same\n"


def test_compare_prints_what_changed(capsbench, folders):
    write(folders / "next", [record(0.8 + seed / 1000, seed, **NETWORKS[0]) for seed in SEEDS])
    done = capsbench("compare", "reference", "next", cwd=folders)
    assert "accuracy, accuracy, test" in done.stdout
    assert "only in A: matrix-capsules em" in done.stdout
    page = capsbench("compare", "reference", "next", "--format", "md", cwd=folders).stdout
    assert page.startswith("# reference (A) and next (B)\n")
    assert "| contender | number | A | B | B - A | seeds | test | p |" in page
    content = json.loads(capsbench("compare", "reference", "next", "--json", cwd=folders).stdout)
    assert [change["holds"] for change in content["changes"]] == [True]


CHECK = ["check", "--against", "reference", "--out", "alike"]


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        (["compare", "reference", "nowhere"], 2, ["B nowhere: "]),
        (["compare", "empty", "reference"], 4, ["A empty: "]),
        (["compare", "reference"], 2, ["B"]),
        (["check"], 2, ["--against"]),
        ([*CHECK, "--tolerance", "-1"], 2, ["--tolerance: ", "-1"]),
        ([*CHECK, "--tolerance", "nan"], 2, ["--tolerance: ", "nan"]),
        ([*CHECK, "--tolerance", "abc"], 2, ["--tolerance"]),
        ([*CHECK, "--slower", "nan"], 2, ["--slower: ", "nan"]),
        ([*CHECK, "--summary", "empty"], 2, ["--summary empty: "]),
        ([*CHECK, "--junit", "empty"], 2, ["--junit empty: "]),
        ([*CHECK, "--summary", "a", "--junit", "a"], 2, ["--summary a: ", "--junit"]),
        ([*CHECK, "--update"], 2, ["--out alike: ", "3 seeds", "--seeds"]),
        (["check", "--against", "empty", "--out", "alike"], 2, ["--against empty: ", "--out empty", "--update"]),
        (
            ["check", "--against", "reference", "--out", "reference", "--update"],
            2,
            ["--against reference: ", "--out"],
        ),
    ],
)
def test_wrong_input_is_one_line(capsbench, folders, arguments, code, facts):
    done = capsbench(*arguments, cwd=folders)
    assert done.returncode == code, done.stderr
    assert [fact for fact in facts if fact not in done.stderr] == []
    assert len(done.stderr.strip().splitlines()) == 1
