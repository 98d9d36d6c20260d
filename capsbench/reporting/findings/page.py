"""The page of findings: a summary, then each question with its comparisons and the run that would decide it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from capsbench.measures.spec import built_in_specs
from capsbench.presenting.contenders import SIZES
from capsbench.presenting.marks import explain_signs
from capsbench.records.record import Record
from capsbench.reporting.findings.answers import (
    OPPOSITE,
    Row,
    answer_claim,
    answer_saying,
    count_verdicts,
    list_claims,
    sum_up,
)
from capsbench.reporting.findings.comparisons import Folder
from capsbench.reporting.findings.questions import Questions, Saying
from capsbench.stats.differences import FEWEST_SEEDS

SUMMARY = ("", "verdict", "comparisons", "on")

RULES = f"""- **Comparisons.** One is supported or refuted if its interval lies wholly on one side, and undecided otherwise.
  With fewer than {FEWEST_SEEDS} seeds it is not tested.
- **Verdicts.** A question is supported or refuted if all tested comparisons agree. It is mixed if some support and some
  refute it.
- **Numbers.** Means over n seeds, or n searches of a tuned contender, with 95 % intervals. The interval of a difference is
  corrected for all comparisons of its folder. Counts of operations are exact. Times are of a busy machine, and not tested.
  `mnist[12000]` has 12,000 training images."""

PICTURE = """![Gains and costs of capsule networks against CNNs of equal size](findings.svg)

Each point is a capsule network against a CNN with the same number of parameters (within 2 %). A significant difference has the
name of its data set. The axis of points is linear to 1 and logarithmic beyond. Differences over fewer than 3 seeds are left out.
All points are in [findings.csv](findings.csv)."""


def write_page(questions: Questions, folders: Sequence[Folder]) -> str:
    """Returns the page as Markdown, without its heading.

    Raises:
        KeyError: a claim has no command.
    """
    commands = {claim.number: claim.decide for claim in questions.claims}
    sayings = [(saying, answer_saying(saying, folders)) for saying in questions.sayings]
    claims = [(claim, answer_claim(claim.number, folders)) for claim in list_claims()]
    lines = [_describe_limits(folders), RULES, "", PICTURE, "", "## Summary", "", "People say of capsule networks:", ""]
    lines += write_table(
        SUMMARY, [_sum_up(f"[{saying.title}](#{_find_anchor(saying.title)})", rows) for saying, rows in sayings]
    )
    lines += ["The [literature claims](claims.md):", ""]
    lines += write_table(
        SUMMARY,
        [
            _sum_up(f"[{claim.number}](#claim-{claim.number}). {claim.text} ({claim.source})", rows)
            for claim, rows in claims
        ],
    )
    lines += ["## What people say", ""]
    for saying, rows in sayings:
        lines += [f"### {saying.title}", "", saying.question, ""]
        lines += _describe_rows(rows, saying.decide, find_missing(saying))
    lines += ["## Claims of the literature", ""]
    for claim, rows in claims:
        lines += [f"### Claim {claim.number}", "", f"{claim.text} ({claim.source}).", ""]
        lines += _describe_rows(rows, commands[claim.number])
    lines += ["## Records", "", "Hours are those of a training or a measure, of which several ran at a time.", ""]
    lines += write_table(
        ("folder", "budgets", "networks", "seeds", "hours", "machine"), [_describe_folder(folder) for folder in folders]
    )
    if questions.waiting:
        lines += ["## What waits", ""]
        lines += write_table(
            ("what", "needs", "command"),
            [(waiting.title, waiting.needs, f"`{waiting.command}`") for waiting in questions.waiting],
        )
    meanings = explain_signs(lines)
    lines += ["Signs:", "", *(f"- {meaning}." for meaning in meanings)] if meanings else []
    return "\n".join(lines).rstrip() + "\n"


def _describe_limits(folders: Sequence[Folder]) -> str:
    """Returns the limits of all that follows as the first item of a list."""
    cells = [record.cell for folder in folders for record in folder.records]
    sizes = [f"`{size}`" for size in SIZES if any(cell.size == size for cell in cells)]
    datasets = [f"`{name}`" for name in sorted({cell.dataset for cell in cells})]
    is_tuned = any(folder.material.tuned for folder in folders)
    tuning = "Contenders are tuned only where the budget says so." if is_tuned else "No contender is tuned."
    return (
        f"- **Limits.** Sizes on record: {', '.join(sizes)}. Data on record: {', '.join(datasets)}. {tuning}\n"
        "  A verdict holds for what was run, and no further."
    )


def _sum_up(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns a row of the summary. Where something was tested, it names no place without a test."""
    tested = [row for row in rows if row.is_tested] or rows
    places = "; ".join(dict.fromkeys(row.place for row in tested))
    return name, f"**{sum_up(rows)}**", count_verdicts(rows), places


def _describe_rows(rows: Sequence[Row], decide: str, missing: Sequence[str] = ()) -> Iterator[str]:
    """Yields the lines of a question: its verdict, its comparisons, and the command that would say more."""
    verdict = sum_up(rows)
    counts = f" ({count_verdicts(rows)})" if rows else ""
    yield from (f"**{verdict[0].upper()}{verdict[1:]}**{counts}.", "")
    for claim in dict.fromkeys(row.claim for row in rows if row.claim):
        judged = [row for row in rows if row.claim == claim]
        yield f"- [Claim {claim}](#claim-{claim}), as it bears on this: {count_verdicts(judged)}."
    if any(row.claim for row in rows):
        yield ""
    own = [row for row in rows if not row.claim]
    if own:
        has_numbers = any(row.about for row in own)
        heads = ("on", *(["number"] if has_numbers else []), "verdict", "numbers", "n")
        yield from write_table(heads, _list_cells(own, has_numbers))
    if missing:
        yield from (f"capsbench has no measure {' and no measure '.join(f'`{name}`' for name in missing)} yet.", "")
    else:
        yield "A run that would test it further:" if verdict in OPPOSITE else "A run that would decide it:"
        yield from ("", f"    {decide}", "")


def _list_cells(rows: Sequence[Row], has_numbers: bool) -> Iterator[tuple[str, ...]]:
    """Yields the cells of each row; a budget and a number stand only where they begin."""
    before = ("", "")
    for row in rows:
        on = "" if row.on == before[0] else row.on
        about = "" if not on and row.about == before[1] else row.about
        before = (row.on, row.about)
        yield on, *([about] if has_numbers else []), row.verdict, row.numbers, "" if row.is_exact else str(row.n)


def find_missing(saying: Saying) -> list[str]:
    """Returns the measures of a saying that capsbench does not have."""
    known = built_in_specs()
    return [number.measure for number in saying.numbers if number.measure not in known]


def _describe_folder(folder: Folder) -> tuple[str, ...]:
    budgets = "; ".join(dict.fromkeys(folder.spell_budget(group.title) for group in folder.groups))
    seeds = {record.cell.seed for record in folder.records}
    hours = sum(map(_count_seconds, folder.records)) / 3600
    machines = sorted({_name_machine(record.provenance) for record in folder.records})
    return folder.path.name, budgets, str(len(folder.records)), str(len(seeds)), f"{hours:.1f}", "; ".join(machines)


def _count_seconds(record: Record) -> float:
    """Returns how long the training and the measures of a record took."""
    seconds = [measurement.seconds for measurement in record.measures.values()]
    return sum(part or 0.0 for part in (record.training and record.training.seconds, *seconds))


def _name_machine(provenance: Mapping[str, Any]) -> str:
    """Returns the GPU, or else the processor and its cores."""
    return str(provenance.get("gpu") or f"{provenance.get('cpu')}, {provenance.get('cores')} cores")


def _find_anchor(title: str) -> str:
    """Returns the anchor of a heading of letters and blanks."""
    return title.lower().replace(" ", "-")


def write_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
    yield ""
