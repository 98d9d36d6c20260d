"""Tables of reports set by a real TeX in the layouts of papers: none reaches beyond its column."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from capsbench.presenting.material import Material
from capsbench.presenting.words import TIMES
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.records.tuning import Tuning
from capsbench.reporting.build import report
from capsbench.reporting.contents import made_sections
from capsbench.reporting.formats.latex import render_table
from capsbench.reporting.headline import build_headline
from capsbench.reporting.table import Table

Make = Callable[..., Record]

pytestmark = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="needs pdflatex: Debian's packages texlive-latex-base and texlive-latex-recommended",
)

LAYOUTS = ["", "twocolumn", "a4paper,twocolumn", "a4paper"]
"""Options of the class `article`."""

PACKAGES = "booktabs,array,tabularx,graphicx"

REFERENCE = Path(__file__).parents[3] / "results" / "reference"

HOSTILE = r"[a]\b {c} & [50] % $x$ #1 _y_ ~z ^w < > | " + '"`' + f" {TIMES}∞²±†*\xa0"


def compile_tables(sources: dict[str, str], layout: str, folder: Path) -> tuple[list[str], dict[str, list[float]]]:
    """Sets each table on pages of its own; returns the errors of the log, and table -> points that it is too wide or high."""
    lines = [rf"\documentclass[{layout}]{{article}}\usepackage{{{PACKAGES}}}\begin{{document}}Tables."]
    for name, source in sources.items():
        (folder / f"{name}.tex").write_text(source, encoding="utf-8")
        lines.append(rf"\clearpage\typeout{{TABLE {name}}}\input{{{name}}}\clearpage")
    (folder / "paper.tex").write_text("\n".join([*lines, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    log = (folder / "paper.log").read_text(encoding="latin-1")
    too_wide = {}
    for part in log.split("TABLE ")[1:]:
        points = [
            float(width) for width in re.findall(r"(?:Overfull \\hbox \(|Float too large for page by )([\d.]+)pt", part)
        ]
        too_wide[part.split()[0]] = points
    return [line for line in log.splitlines() if line.startswith("! ")], too_wide


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, capsules: Make, matched: Make) -> dict[str, str]:
    """The tables of a small run, a sweep, several data sets, tuned contenders, and a hostile table."""
    small = [make(0.9 + seed / 50, seed=seed) for make in (capsules, matched) for seed in (0, 1, 2)]
    sweep = [
        capsules(
            0.9 + seed / 100 - rate,
            seed=seed,
            iterations=iterations,
            learning_rate=rate,
            options={"routing.schedule": schedule},
        )
        for seed in (0, 1)
        for iterations in (1, 3)
        for rate in (0.1, 0.003)
        for schedule in ("linear", "a-long-name-of-a-schedule")
    ]
    several = [
        make(
            0.9 + seed / 100 + place / 50,
            seed=seed,
            dataset=dataset,
            step=30.0 + place,
            parameters=28_000 + 9000 * place,
        )
        for make in (capsules, matched)
        for seed in (0, 1)
        for place, dataset in enumerate(("digits", "mnist", "fashion-mnist"))
    ]
    base = capsules(0.9)
    tuned = [
        replace(
            capsules(0.9 + study / 100, seed=study, learning_rate=0.001 * (study + 1)),
            tuning=Tuning(base.cell.contender, 0, 3, 20, study, 0, start={"learning_rate": 0.003}),
        )
        for study in (0, 1, 2)
    ]
    found: dict[str, str] = {}
    groups = {"small": small, "sweep": [*small, *sweep], "several": several, "tuned": [*small, *tuned]}
    for name, records in groups.items():
        material = Material.from_records(records, Store(tmp_path_factory.mktemp(name)))
        tables = {"table": build_headline(material.summary), "all": build_headline(material.summary, ["all"])}
        for made in made_sections(material) if name == "small" else ():
            section = made.section
            tables[section.name] = Table.from_strings(section.name, section.title, made.readable, made.caption)
        found |= {f"{name}-{kind}": render_table(table, "1 cell failed") for kind, table in tables.items()}
    names = {HOSTILE: [HOSTILE, "w" * 60], "n": ["1", "2"], "x": ["99.5 [98.1, 100.0] (n=2)", "-0.6 ± 1.3*"]}
    words = " ".join(["word"] * 30)
    rows = {
        "claim": ["a claim", *[""] * 79],
        "words": [words if place % 3 else "few" for place in range(80)],
        "n": ["1"] * 80,
    }
    high = render_table(Table.from_strings("high", "High", pd.DataFrame(rows), " ".join([words] * 10)))
    hostile = render_table(Table.from_strings("hostile", HOSTILE, pd.DataFrame(names), HOSTILE))
    return found | {"high": high, "hostile": hostile}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_table_reaches_beyond_its_column_or_page(sources: dict[str, str], layout: str, tmp_path: Path) -> None:
    errors, too_wide = compile_tables(sources, layout, tmp_path)
    assert errors == []
    assert {*too_wide} == {*sources}
    assert {name: points for name, points in too_wide.items() if points} == {}


@pytest.mark.slow
@pytest.mark.parametrize("results", ["digits", "ci", "few-examples-tiny", "mnist-tiny"])
def test_no_table_of_the_reference_results_reaches_beyond_its_column(results: str, tmp_path: Path) -> None:
    made = report(REFERENCE / results, formats=["tex"], to=tmp_path)
    sources = {path.stem: path.read_text(encoding="utf-8") for path in made.files}
    for layout in LAYOUTS:
        errors, too_wide = compile_tables(sources, layout, tmp_path)
        assert errors == []
        assert {name: points for name, points in too_wide.items() if points} == {}


def test_a_headline_table_fits_in_a_column_by_default(sources: dict[str, str]) -> None:
    for name in ("small", "sweep", "several", "tuned"):
        assert r"\begin{table}" in sources[f"{name}-table"]


def test_a_table_that_is_too_wide_is_noticed(tmp_path: Path) -> None:
    """So that the tests above would fail."""
    source = r"\begin{table}\begin{tabular}{@{}l@{}}" + "wide " * 90 + r"\end{tabular}\end{table}"
    errors, too_wide = compile_tables({"wide": source}, "twocolumn", tmp_path)
    assert errors == []
    assert len(too_wide["wide"]) == 1
