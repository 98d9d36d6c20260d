"""The results of `compare` and `check` for people (Markdown) and for programs (JSON, JUnit XML)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from capsbench.comparing.checked import (
    ALL,
    BETTER,
    CHANGED,
    FAILED,
    MISSING,
    NEW,
    REGRESSION,
    UNJUDGED,
    Checked,
    Finding,
)  # fmt: skip
from capsbench.comparing.comparison import Comparison
from capsbench.errors import Kind, UsageError
from capsbench.presenting.format import PERCENT, POINTS, cut_interval
from capsbench.presenting.markdown import escape_markdown, to_markdown
from capsbench.presenting.terminal import to_plain
from capsbench.records.disk import make_folder
from capsbench.stats.differences import ALPHA, FEWEST_SEEDS

HEADINGS = {
    REGRESSION: "Regressions",
    FAILED: "Failed",
    MISSING: "Missing",
    CHANGED: "Changed: other bits than this machine gave before, no regression that could be shown",
    BETTER: "Better",
    UNJUDGED: "Not judged",
    NEW: "New",
}


def changes_readable(found: Comparison, everything: bool = False) -> pd.DataFrame:
    """The changes of a comparison as strings: those that hold, or all of them, the surest first."""
    table = found.changes if everything else found.changes[found.changes["holds"].astype(bool)]
    table = table.sort_values("p_holm", kind="stable")
    rows = []
    for change in table.to_dict(orient="records"):
        row = SimpleNamespace(**{str(name): value for name, value in change.items()})
        number = ", ".join(str(part) for part in (row.measure, row.metric, row.condition) if part)
        level = "" if row.level is None or math.isnan(row.level) else f" at {row.level:g}"
        scale, unit = (100, PERCENT) if row.unit == "fraction" else (1, row.unit)
        difference = _format_difference(scale * row.difference, scale * row.half, POINTS if unit == PERCENT else unit)
        seeds = _format_seeds(row.seeds_a, row.failed_a), _format_seeds(row.seeds_b, row.failed_b)
        rows.append(
            {
                "contender": row.title,
                "number": number + level,
                "A": f"{scale * row.a:.4g} {unit}",
                "B": f"{scale * row.b:.4g} {unit}",
                "B - A": difference + ("*" if row.holds else ""),
                "seeds": " and ".join(dict.fromkeys(seeds)),
                "test": row.test,
                "p": "" if math.isnan(row.p_holm) else _format_p(row.p_holm),
            }
        )
    return pd.DataFrame(rows, columns=["contender", "number", "A", "B", "B - A", "seeds", "test", "p"])


def _format_difference(value: float, half: float, unit: str) -> str:
    """``+1.2 ± 0.8``, or of points that it would be beyond 100 of, ``+90 [+70, +100]``."""
    if math.isnan(half):
        return f"{value:+.3g}"
    low, high = cut_interval(value, half, unit)
    if (low, high) == (value - half, value + half):
        return f"{value:+.3g} ± {half:.3g}"
    return f"{value:+.3g} [{low:+.3g}, {high:+.3g}]"


def _format_seeds(seeds: int, failed: int) -> str:
    """``3``; ``2 of 3`` where others failed."""
    return f"{seeds} of {seeds + failed}" if failed else f"{seeds}"


def summary_of(found: Comparison) -> list[str]:
    """Returns the result of a comparison in lines of text."""
    if found.nothing:
        lines = [f"no difference: all numbers of {_spell_contenders(found.matched)} are the same"]
    elif not found.matched:
        lines = ["no contender is on both sides"]
    else:
        lines = [f"{_spell_contenders(found.matched)} on both sides, {found.equal} with the same numbers throughout"]
    timed = found.changes["timed"].astype(bool)
    lines += [
        _describe_changes(changes, what)
        for changes, what in ((found.changes[~timed], "numbers"), (found.changes[timed], "times"))
        if len(changes)
    ]
    lines += [f"only in A: {title}" for title in found.only_a]
    lines += [f"only in B: {title}" for title in found.only_b]
    lines += [f"not comparable: {title}: {reason}" for title, reason in found.not_comparable]
    lines += [f"{name}: {one} in A, {other} in B" for name, (one, other) in found.provenance.items()]
    return [*lines, *found.faults]


def _spell_contenders(count: int) -> str:
    return "1 contender" if count == 1 else f"{count} contenders"


def _describe_changes(changes: pd.DataFrame, what: str) -> str:
    """Describes the number of changes of a family, and the number of significant ones."""
    tested, sure = int((changes["test"] != "none").sum()), int(changes["holds"].sum())
    if not tested:
        return f"{len(changes)} {what} changed; none could be tested, which takes {FEWEST_SEEDS} seeds or more on both sides"
    return f"{len(changes)} {what} changed; in {sure} that is a difference (*: p < {ALPHA:g}, Holm over the {tested} tested)"


def comparison_markdown(found: Comparison, everything: bool = False) -> str:
    """A comparison as Markdown."""
    parts = [f"# {escape_markdown(found.a)} (A) and {escape_markdown(found.b)} (B)", *_to_list(summary_of(found))]
    table = changes_readable(found, everything)
    return "\n".join([*parts, "", *([to_markdown(table, ())] if len(table) else [])]).rstrip() + "\n"


def comparison_json(found: Comparison) -> str:
    """A comparison as JSON: everything, all changes too."""
    content = {
        "a": found.a,
        "b": found.b,
        "matched": found.matched,
        "equal": found.equal,
        "changes": _to_records(found.changes),
        "only_a": found.only_a,
        "only_b": found.only_b,
        "not_comparable": [{"what": what, "reason": reason} for what, reason in found.not_comparable],
        "provenance": {name: list(both) for name, both in found.provenance.items()},
        "faults": found.faults,
    }
    return json.dumps(content)


def verdict_of(checked: Checked) -> str:
    """The outcome of a check in a line."""
    counts = {
        f"{kind}s" if kind == REGRESSION and len(findings) != 1 else kind: len(findings)
        for kind in (REGRESSION, FAILED, MISSING, CHANGED, BETTER, UNJUDGED, NEW)
        if (findings := checked.select(kind))
    }
    summary = ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "nothing worse"
    return (
        f"{'passed' if checked.exit_code == 0 else 'NOT passed'}: {summary}; {len(checked.tests)} numbers of "
        f"{len(checked.contenders)} contenders tested, {checked.identical} records the same to the last bit"
    )


def lines_of(findings: Iterable[Finding]) -> list[str]:
    """Findings, a line of text each."""
    return [
        f"{finding.kind}: {finding.contender}: {finding.text}"
        + ("" if math.isnan(finding.p) else f" (p = {_format_p(finding.p)})")
        for finding in findings
    ]


def check_markdown(checked: Checked) -> str:
    """A check as a summary for a pull request."""
    lines = [
        "# capsbench check",
        "",
        f"**{verdict_of(checked)}**",
        "",
        f"`{checked.out}` held against `{checked.against}`. A regression is what is worse by more than "
        f"{checked.tolerance:g} points (a time: by more than a factor of {checked.slower:g} among those of its run) and than "
        f"training again would give: p < {ALPHA:g} after Holm over all tests.",
    ]
    for kind, heading in HEADINGS.items():
        findings = checked.select(kind)
        if findings:
            p = any(not math.isnan(finding.p) for finding in findings)
            table = pd.DataFrame(
                [{"contender": e.contender, "what": e.text, **({"p": _format_p(e.p)} if p else {})} for e in findings]
            )
            lines += ["", f"## {heading}", "", to_markdown(table, ())]
    means = checked.tests[checked.tests["contender"] == ALL]
    if len(means):
        table = means[["name", "reference", "current"]].rename(
            columns={"name": "mean over contenders", "current": "now"}
        )
        lines += ["", "## All contenders", "", to_markdown(table, ())]
    if checked.notes:
        lines += ["", "## Notes", *_to_list(checked.notes)]
    return "\n".join(lines) + "\n"


def check_json(checked: Checked) -> str:
    """A check as JSON."""
    content = {
        "against": checked.against,
        "out": checked.out,
        "exit_code": checked.exit_code,
        "tolerance": checked.tolerance,
        "slower": checked.slower,
        "verdict": verdict_of(checked),
        "identical": checked.identical,
        "findings": [
            {**finding._asdict(), "p": None if math.isnan(finding.p) else finding.p} for finding in checked.findings
        ],
        "tests": _to_records(checked.tests),
        "notes": checked.notes,
    }
    return json.dumps(content)


def check_junit(checked: Checked) -> bytes:
    """A check as JUnit XML: a test case each number tested, one each finding beside them, and one each contender of the rest."""
    failing = {(finding.contender, finding.name): finding for finding in checked.worse}
    cases: dict[tuple[str, str], str] = {
        (row["contender"], row["name"]): f"{row['reference']} in the reference, now {row['current']}"
        for row in checked.tests.to_dict(orient="records")
    }
    cases |= {key: finding.text for key, finding in failing.items()}
    for title in checked.contenders:
        if not any((title, name) in failing for name in checked.exact):
            cases[title, "parameters and FLOPs"] = "as in the reference"
    counts = {"tests": len(cases), "failures": sum(finding.kind == REGRESSION for finding in failing.values())}
    counts |= {"errors": len(failing) - counts["failures"], "skipped": 0}
    suites = ElementTree.Element("testsuites", {name: str(count) for name, count in counts.items()})
    attributes = {"name": "capsbench check", **{name: str(count) for name, count in counts.items()}}
    suite = ElementTree.SubElement(suites, "testsuite", attributes)
    for (contender, name), text in cases.items():
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _to_xml_text(contender), "name": _to_xml_text(name)}
        )
        finding = failing.get((contender, name))
        if finding is not None:
            tag = "failure" if finding.kind == REGRESSION else "error"
            message = ElementTree.SubElement(case, tag, {"message": _to_xml_text(finding.text), "type": finding.kind})
            message.text = _to_xml_text("\n".join(lines_of([finding])))
        else:
            ElementTree.SubElement(case, "system-out").text = _to_xml_text(text)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)


def write(flag: str, path: Path, content: str | bytes) -> None:
    """Writes a file that a flag asks for; raises UsageError where it cannot be."""
    try:
        make_folder(path.parent)
        path.write_bytes(to_plain(content).encode(errors="replace") if isinstance(content, str) else content)
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror}", flag=flag, file=path) from error


def _to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict(orient="records")]


def _to_list(lines: list[str]) -> list[str]:
    return ["", *(f"- {escape_markdown(line)}" for line in lines)]


def _to_xml_text(text: str) -> str:
    """Without the control characters that XML cannot have, as the reason of a failure may."""
    return re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def _format_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
