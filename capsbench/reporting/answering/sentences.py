"""The sentences of an answer, made of its numbers alone (`capsbench.reporting.answering.comparisons.Row`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from capsbench.presenting.format import PERCENT, POINTS, cut_interval, spell_seeds_needed
from capsbench.presenting.marks import SHARED
from capsbench.presenting.section import Statement
from capsbench.presenting.words import TIED, TIMES, spell_count
from capsbench.reporting.answering.comparisons import SAME, Result
from capsbench.reporting.sections.contests import count_digits
from capsbench.stats.differences import FEWEST_SEEDS
from capsbench.stats.verdicts import Outcome

MOST_RIVALS = 8
"""The most rivals with a sentence of their own, and the most names in one; the table has all."""

MINUS = "\N{MINUS SIGN}"

MEANINGS = {
    "collapsed": "Collapsed: the network predicts one class, whatever the image.",
    "still improving": "Still improving: more epochs would help that network.",
    "outdated": "Outdated: the latest training of a seed failed, and its numbers are those of an earlier one.",
}
"""Mark, as tables print it -> a sentence on it."""

OF_TIMES = {SHARED.name.replace("_", " "): "Times are left out where other jobs may have run on the machine."}
"""The same for a mark that concerns times alone."""

MINE, RIVALS = "contender_marks", "rival_marks"
"""The columns of marks."""


LEADS = {
    Result.BETTER: "is significantly better than",
    Result.WORSE: "is significantly worse than",
    Result.NOT_SIGNIFICANT: "is not significantly different from",
    Result.NOT_TESTED: "was not tested against",
    Result.DOUBTFUL: "is not decided against",
    Result.KEPT_OUT: "was not compared with",
}
"""Result -> how the lead says it."""

UNLIKE = {
    "commit": "from another commit",
    "data": "with other images",
    "machine": "on another machine",
    "space": "tuned over other spaces",
    "torch": "with another version of torch",
}
"""A fact of `Verdicts.unlike` -> the phrase on a rival."""

TAGS = {"data": "set of images", "torch": "version of torch"}
"""The same in the lead, behind ``another``."""

Line = Mapping[Any, Any]
"""A row of the table of numbers."""


def spell_answers(table: pd.DataFrame) -> list[Statement]:
    """Returns the answer of each contender of a table of numbers, in its order."""
    return [
        spell_answer(lines.astype(object).to_dict("records")) for _, lines in table.groupby("contender", sort=False)
    ]


def spell_answer(lines: Sequence[Line]) -> Statement:
    """Returns the answer on one contender, made of all its rows."""
    mine = lines[0]
    by_rival = split_rivals(lines)
    items = [spell_rival(of_rival) for of_rival in by_rival[:MOST_RIVALS]]
    if len(by_rival) > MOST_RIVALS:
        items.append(f"{len(by_rival) - MOST_RIVALS} more rivals are in the table.")
    remarks = [*spell_reasons(mine), *explain_marks(lines)]
    return Statement(
        tie_numbers(spell_lead(mine, by_rival)), *([*map(tie_numbers, texts)] for texts in (items, remarks))
    )


def split_rivals(lines: Sequence[Line]) -> list[list[Line]]:
    """Returns the rows of each rival."""
    by_rival: dict[str, list[Line]] = {}
    for line in lines:
        if line["rival"]:
            by_rival.setdefault(str(line["rival"]), []).append(line)
    return list(by_rival.values())


def spell_lead(mine: Line, by_rival: Sequence[Sequence[Line]]) -> str:
    """Returns the answer on the first number, by result: who is worse, who is better, and of whom nothing can be said."""
    name, on = mine["contender_name"], mine["on"]
    firsts = [next((line for line in of_rival if line["result"]), None) for of_rival in by_rival]
    compared = [line for line in firsts if line is not None]
    if not compared:
        return f"On {on}, {name} has no rival: no other contender on record has a number in common with it."
    # The number that most rivals have, which is the test accuracy where it was measured.
    measured, _ = Counter(str(line["measured"]) for line in compared).most_common(1)[0]
    compared = [line for line in compared if line["measured"] == measured]
    groups: dict[str, list[str]] = {}
    for line in compared:
        groups.setdefault(line["result"], []).append(f"{line['rival_name']}{_spell_tags(line)}")
    clauses = [f"{LEADS[result]} that of {_join_most(groups[result])}" for result in Result if result in groups]
    facts = ", ".join([spell_number(compared[0]), *mine.get("facts", ()), *list_marks(mine, MINE)])
    lead = f"On {on}, the {shorten_titles([measured])[measured]} of {name} ({facts}) {clauses[0]}."
    return " ".join([lead, *(f"It {clause}." for clause in clauses[1:])])


def spell_reasons(mine: Line) -> list[str]:
    """Returns the sentence on why this setting stands for its name; none where the name fits no other."""
    if mine["settings"] == 1:
        return []
    values = [float(mine[name]) for name in ("validation", "next_validation")]
    digits = 1 if f"{values[0]:.1f}" != f"{values[1]:.1f}" else 2
    percent, next_best = (f"{value:.{digits}f} %" for value in values)
    if mine["validation"] == mine["next_validation"]:
        beside = f"{percent}; another one has as much, and the first in the table is taken"
    else:
        beside = f"{percent}, the next one {next_best}"
    return [f"Of the {mine['settings']} settings with that name, this is the best by validation accuracy ({beside})."]


def spell_rival(lines: Sequence[Line]) -> str:
    """Returns the sentence on a rival: what the two share, what confounds them, the differences by result, and costs."""
    first = lines[0]
    parts = list_differences([line for line in lines if line["result"]])
    ratios = [f"{spell_ratio(line['ratio'])} {TIMES} the {line['measured']}" for line in lines if not line["result"]]
    parts += [", ".join(ratios)] if ratios else []
    facts = list_marks(first, RIVALS)
    if first["rival_settings"] > 1:
        rule: str = "first" if pd.isna(first["rival_validation"]) else "best"
        why = "as not all have a validation accuracy" if rule == "first" else "by validation accuracy"
        facts = [f"the {rule} of {first['rival_settings']} settings {why}", *facts]
    beside = f" ({'; '.join(facts)})" if facts else ""
    return f"Against {first['rival_name']}{beside}, {spell_shared(first)}: {'; '.join(parts)}."


def spell_shared(line: Line) -> str:
    """Returns what a contender and its rival share, and what sets them apart beside what is compared."""
    alike, apart = [], []
    if line["network"] == SAME:
        alike.append("in the same network")
    elif line["network"]:
        apart.append(f"in another network ({line['network']})")
    if line["budget"]:
        apart.append(f"with another budget ({line['budget']})")
    else:
        alike.append("with the same budget")
    if line["unit_of_n"] == "study" and not line["tuning"]:
        alike.append("tuned with as many trials" if "space" in line["unlike"].split(", ") else "tuned alike")
    alike += [f"with epochs by one rule ({line['epochs']})"] if line["epochs"] else []
    apart += [str(line["tuning"])] if line["tuning"] else []
    apart += [UNLIKE[fact] for fact in line["unlike"].split(", ") if fact in UNLIKE]
    return ", but ".join(join_names(phrases) for phrases in (alike, apart) if phrases)


def list_differences(lines: Sequence[Line]) -> list[str]:
    """Returns phrases on the numbers: each significant difference, then the numbers of each other result."""
    titles = shorten_titles(str(line["measured"]) for line in lines)
    phrases = [
        f"{titles[line['measured']]} {spell_difference(line)}{_spell_interval(line)}"
        for line in lines
        if line["result"] in (Result.BETTER, Result.WORSE)
    ]
    level = [line for line in lines if line["result"] == Result.NOT_SIGNIFICANT]
    if level:
        # Of the first number, which the lead is about, how large a difference may be.
        named = [f"{titles[line['measured']]}{_spell_signed(line) if line is lines[0] else ''}" for line in level]
        phrases.append(f"not significantly different in {join_names(named, ', ')}")
    for reason, untested in group_untested(lines).items():
        differences = [f"{titles[line['measured']]} {spell_difference(line)}" for line in untested]
        phrases.append(f"not tested, since {reason}: {', '.join(differences)}")
    doubtful = [titles[line["measured"]] for line in lines if line["result"] == Result.DOUBTFUL]
    if doubtful:
        phrases.append(f"undecided in {join_names(doubtful)}, since a sanity check of the attacks failed")
    kept_out = [titles[line["measured"]] for line in lines if line["result"] == Result.KEPT_OUT]
    if kept_out:
        phrases.append(f"not compared in {join_names(kept_out)}, since one of the two collapsed")
    return phrases


def group_untested(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Returns why a number was not tested -> its rows."""
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line["result"] == Result.NOT_TESTED:
            groups.setdefault(_explain_untested(line), []).append(line)
    return groups


def spell_difference(line: Line) -> str:
    """Returns ``0.9 points lower``, and of a number of which less is better ``0.9 points lower (better)``."""
    difference = float(line["difference"])
    digits = count_digits(str(line["measured"]), difference)
    size = f"{abs(difference):.{digits}f}"
    if float(size) == 0:
        return "equal"
    better = "" if line["higher_is_better"] else " (better)" if difference < 0 else " (worse)"
    return f"{size} {_find_unit(line)} {'higher' if difference > 0 else 'lower'}{better}".replace("  ", " ")


def spell_ratio(ratio: float) -> str:
    """Returns ``1.4``, with two significant digits."""
    rounded = float(f"{ratio:.1e}")
    digits = min(max(0, 1 - math.floor(math.log10(rounded))), 4)
    return f"{rounded:,.{digits}f}"


def shorten_titles(titles: Iterable[str]) -> dict[str, str]:
    """Returns title of a number -> its words up to a comma and without its unit, unless two would then be alike."""
    whole = {title: title.removesuffix(f" {PERCENT}").partition(" (")[0] for title in titles}
    short = {title: words.partition(",")[0] for title, words in whole.items()}
    counts = list(short.values())
    return {title: words if counts.count(words) == 1 else whole[title] for title, words in short.items()}


def list_marks(line: Line, side: str) -> list[str]:
    """Returns the marks of the contender (`MINE`) or of the rival (`RIVALS`) that an answer tells."""
    return [mark for mark in line[side].split(", ") if mark in MEANINGS]


def explain_marks(lines: Iterable[Line]) -> list[str]:
    """Returns a sentence on each mark that occurs."""
    marks = {mark for line in lines for side in (MINE, RIVALS) for mark in line[side].split(", ")}
    return [meaning for mark, meaning in {**MEANINGS, **OF_TIMES}.items() if mark in marks]


def tie_numbers(text: str) -> str:
    """Returns a text in which no line breaks between a number and its sign."""
    return text.replace(f" {TIMES}", f"{TIED}{TIMES}").replace(f" {PERCENT}", f"{TIED}{PERCENT}")


def join_names(names: Iterable[str], between: str = "") -> str:
    """Returns ``a``, ``a and b``, ``a, b and c``; with semicolons where a name has a comma in it."""
    *rest, last = names
    between = between or ("; " if any(", " in name for name in rest) else ", ")
    return f"{between.join(rest)} and {last}" if rest else last


def _join_most(names: Sequence[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = len(names) - MOST_RIVALS
    return join_names([*names[:MOST_RIVALS], f"{more} more"] if more > 1 else names)


def _spell_tags(line: Line) -> str:
    """Returns `` (another network, another commit)``: in a word or two each, what confounds the comparison."""
    tags = [] if line["network"] in ("", SAME) else ["another network"]
    tags += ["another budget"] if line["budget"] else []
    tags += [str(line["tuning"])] if line["tuning"] else []
    tags += [f"another {TAGS.get(fact, fact)}" for fact in line["unlike"].split(", ") if fact]
    tags += list_marks(line, RIVALS)
    return f" ({', '.join(tags)})" if tags else ""


def spell_number(line: Line) -> str:
    """Returns ``99.2 %, 95 % CI 99.0 to 99.4, 3 seeds``."""
    title = str(line["measured"])
    unit = PERCENT if title.endswith(PERCENT) else ""
    value, half = float(line["value"]), float(line["value_ci95"])
    digits = count_digits(title, value)
    interval = ""
    if not math.isnan(half):
        low, high = cut_interval(value, half, unit)
        interval = f", 95 % CI {low:.{digits}f} to {high:.{digits}f}"
    return f"{value:.{digits}f} {unit or _find_unit(line)}".rstrip() + f"{interval}, {_count(line)}"


def _count(line: Line) -> str:
    return spell_count(line["value_n"], line["unit_of_n"])


def _find_unit(line: Line) -> str:
    title = str(line["measured"])
    if title.endswith(PERCENT):
        return POINTS
    unit = title.rpartition(" (")[2].removesuffix(")")
    return "" if unit == "ratio" else unit


def _spell_interval(line: Line) -> str:
    """Returns `` (95 % CI 0.5 to 1.2)``, the interval of a difference in its direction; empty if it is not known."""
    ends = _find_ends(line)
    if ends is None:
        return ""
    low, high = sorted(map(abs, ends))
    digits = count_digits(str(line["measured"]), float(line["difference"]))
    return f" (95 % CI {low:.{digits}f} to {high:.{digits}f})"


def _spell_signed(line: Line) -> str:
    """Returns `` (+0.6 points, 95 % CI −0.7 to +1.9; 12 seeds would show it)``."""
    ends, difference, digits = _find_ends(line), float(line["difference"]), _count_signed_digits(line)
    numbers = [f"{number:+z.{digits}f}".replace("-", MINUS) for number in (difference, *(ends or ()))]
    interval = f", 95 % CI {numbers[1]} to {numbers[2]}" if ends else ""
    return f" ({f'{numbers[0]} {_find_unit(line)}'.rstrip()}{interval}; {_spell_needed(line)} would show it)"


def _spell_needed(line: Line) -> str:
    """Returns ``12 seeds``, ``> 100 seeds``, or ``100 seeds with 4,200 more images``."""
    units = "studies" if line["unit_of_n"] == "study" else "seeds"
    needed = spell_seeds_needed(Outcome.NOT_SIGNIFICANT, line["seeds_needed"], line["images_needed"])
    _, _, with_images = needed.partition("; ")
    return with_images.replace(" ", f" {units} ", 1) if with_images else f"{needed.replace(' ', TIED)} {units}"


def _count_signed_digits(line: Line) -> int:
    """Returns digits after the point for a difference that may be 0."""
    difference, half = float(line["difference"]), float(line["ci95"])
    return count_digits(str(line["measured"]), difference or half)


def _find_ends(line: Line) -> tuple[float, float] | None:
    """Returns the ends of a difference's interval, cut at those of its unit; None if it is not known."""
    difference, half = float(line["difference"]), float(line["ci95"])
    if math.isnan(half):
        return None
    return cut_interval(difference, half, POINTS if str(line["measured"]).endswith(PERCENT) else "")


def _explain_untested(line: Line) -> str:
    if line["budget"]:
        return "the budgets differ"
    if line["tuning"]:
        return "they were not tuned alike"
    if math.isnan(float(line["ci95"])) and line["n"] >= FEWEST_SEEDS:
        return "they have no seed in common"
    plural = "studies" if line["unit_of_n"] == "study" else "seeds"
    return f"a test needs {FEWEST_SEEDS} {plural}"
