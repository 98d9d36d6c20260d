"""The report on the records of a results folder: its tables, pictures and pages as files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from capsbench.errors import Kind, NothingMeasured, UsageError
from capsbench.planning.contender_defaults import defaults_from, title_cells
from capsbench.planning.request import split_values
from capsbench.planning.suites import read_suite, suite_names
from capsbench.presenting.figures.figure import Image
from capsbench.presenting.figures.files import FORMS, write_files
from capsbench.presenting.filter import choose_records, list_conditions
from capsbench.presenting.marks import said_of
from capsbench.presenting.material import Material
from capsbench.presenting.notebook import Displayed, Output
from capsbench.presenting.paired import describe_sequences
from capsbench.presenting.steps import Steps
from capsbench.presenting.terminal import to_plain
from capsbench.records.folder import allow_own, check_folder
from capsbench.records.record import Record, Run, keep_one_setting
from capsbench.records.runs import Notes, records_of
from capsbench.records.store import Store, pause_collection
from capsbench.records.swap import read_whole
from capsbench.records.versions import describe_stale
from capsbench.reporting.answering.contenders import choose_asked
from capsbench.reporting.contents import PICTURES, Made, all_pictures, built_in_sections, made_sections
from capsbench.reporting.document import Document, build_document
from capsbench.reporting.formats import FORMATS
from capsbench.reporting.formats.html import render_page
from capsbench.reporting.formats.latex import render_tables
from capsbench.reporting.formats.markdown import render_markdown
from capsbench.reporting.formats.notebook import describe_report
from capsbench.reporting.formats.tables import encode_tables
from capsbench.reporting.headline import CONTENDER, HEADLINE, choose_columns, list_columns
from capsbench.reporting.origin import count_machines, find_left_out
from capsbench.reporting.parallel import drawing
from capsbench.reporting.rerun import find_repeats
from capsbench.reporting.sections.answer import ANSWER
from capsbench.reporting.sections.default import PREFIX as OWN
from capsbench.reporting.sections.published import Comparison, compare
from capsbench.reporting.sections.published import readable as readable_published
from capsbench.reporting.sections.published import table_of as published_table
from capsbench.reporting.unfinished import Unfinished

__all__ = ["NothingMeasured", "Report", "report"]

BY_DEFAULT = ("html", "md", "csv", "parquet", "svg")

PAGE, MARKDOWN, ROWS, PUBLISHED = "index.html", "table.md", "rows", "published"
"""The files of the report's pages, and the names of the tables that are no section."""

TABLE_FORMATS = ("tex", "csv", "parquet")

FILES = [PAGE, MARKDOWN] + [
    f"{name}.{form}"
    for name in (HEADLINE, ROWS, PUBLISHED, *(section.name for section in built_in_sections()))
    for form in TABLE_FORMATS
]
"""The files that there may be, beside the pictures and the tables of a user's own measures."""

LOOKS = ("series", "label", "color", "face", "marker", "dashes")
"""The columns of a summary that only pictures need."""


@dataclass(frozen=True, repr=False)
class Report(Displayed):
    """A report and its files.

    Attributes:
        summary: one row a contender, in numbers (`capsbench.presenting.contenders.summary`).
        readable: the same as strings, with the columns that were chosen.
        published: published numbers beside measured ones, where a suite has some (`capsbench.reporting.sections.published`).
        published_readable: the same as strings.
        sections: one a measure, with its table in numbers and in strings.
        answer: the section of ``for_`` among them, with what it says in ``statements``; None if nothing was asked.
        failed: title and reason of each failed cell.
        missing: cells of the reported runs that have no record.
        faults: a line for each file that cannot be read, or not as it was written.
        files: the paths of the files.
        notes: further lines for the reader, such as the reason for a missing picture.
        document: the content of the page.
    """

    summary: pd.DataFrame
    readable: pd.DataFrame
    published: pd.DataFrame
    published_readable: pd.DataFrame
    sections: list[Made]
    answer: Made | None
    failed: list[tuple[str, str]]
    missing: int
    faults: list[str]
    files: list[Path]
    notes: list[str]
    document: Document

    def describe_output(self) -> Output:
        """Returns the answer or who won, the headline table and a picture."""
        page = next((path for path in self.files if path.name == PAGE), None)
        return describe_report(self.document, page)


def report(
    folder: str | Path = "results",
    *,
    run: str | None = None,
    last: bool = False,
    suite: str | Path | None = None,
    where: str | Sequence[str] = (),
    by: str | Sequence[str] = (),
    for_: str | None = None,
    columns: str | Sequence[str] | None = None,
    formats: str | Collection[str] = BY_DEFAULT,
    to: str | Path | None = None,
    allow_code: bool = False,
) -> Report:
    """Writes the tables and pictures of a results folder: as a page, and for papers and programs.

    ``index.html`` is the page, ``table.md`` the same as Markdown. The headline table is ``table``, and each section's has its
    name, as ``.tex`` (booktabs), ``.csv`` and ``.parquet``; ``rows.parquet`` has every number. Pictures are SVG and PNG.

    Args:
        folder: the results folder.
        run: the name of a run, such as its number; its records alone are reported, rather than all of the folder.
        last: report the records of the latest run alone; all of a folder where no run is noted.
        suite: the suite whose published numbers to compare; that of the latest run that has one if None.
        where: conditions on the records, ``NAME=A,B`` or ``NAME!=A,B`` each (`capsbench.presenting.filter.choose_records`). A
            single one may be a string, and so may any list below, as ``"A,B"``.
        by: the fields or options whose effect to show (`capsbench.reporting.sections.effects`).
        for_: a contender by any name that the tables print: its label, routing or network. The report then begins with the
            answer for it: better or worse than its rivals, on what and by how much.
        columns: the columns of the headline table in their order, by name (``all`` stands for every other one). The tables for
            programs, CSV and parquet, always have all.
        formats: some of `FORMATS`. Files of the others are removed from ``to``, so that all files are of one report.
        to: the folder to write; ``folder/report`` if None.
        allow_code: import a user's own parts that the records name, for the defaults that titles leave out; the numbers are the
            same without.

    Raises:
        NothingMeasured: there is no record to report on.
        UsageError: there is no such ``folder``, run, ``suite``, format, name, column or value, or ``to`` cannot be written.
    """
    names = None if columns is None else split_values(columns)
    formats = split_values(formats)
    check_formats(formats)
    if last and run is not None:
        raise UsageError(Kind.CONFLICT, "conflicts with {flag:run}", flag="last", expected="give one of them")
    store = Store(folder)
    check_folder(store)
    if allow_code:
        allow_own(store)
    with pause_collection():
        return _build_report(
            store, run, last, suite, list_conditions(where), split_values(by), for_, names, formats, to
        )


def _build_report(
    store: Store,
    run: str | None,
    last: bool,
    suite: str | Path | None,
    where: Sequence[str],
    by: Sequence[str],
    asked: str | None,
    columns: Sequence[str] | None,
    formats: Collection[str],
    to: str | Path | None,
) -> Report:
    records, faults = read_whole(store.folder, "out", store.records)
    run_notes = store.read_notes()
    runs = _choose_runs(run_notes, store.folder, run, last)
    of_runs, absent = records_of(runs, records)
    total = len(of_runs) + len(absent)
    chosen = of_runs if runs and (last or run) else _put_first(of_runs, records)
    records, several = keep_one_setting(store.add_between(chosen))
    if not records:
        raise _explain_no_records(store, runs, faults)
    faults += run_notes.faults.values()
    left_out = find_left_out(runs, records)
    records = choose_records(records, where)
    faults += store.list_unreadable(records)

    material = replace(Material.from_records(records, store, by, defaults_from(records)), asked=asked)
    faults += material.trial_faults
    if asked is not None:
        choose_asked(material, asked)  # before anything is drawn
    strings = list_columns(material.summary)
    columns = None if material.summary.empty else columns
    readable = strings.drop(columns=CONTENDER) if columns is None else choose_columns(strings, columns)
    with drawing(all_pictures(), material, _choose_picture_forms(formats)) as wait:
        sections = made_sections(material)
        comparisons, fault = _compare_published(suite, runs, left_out, records, material.verdicts.steps)
        published = published_table(comparisons)
        signs = dict(zip(material.summary["contender"], said_of(material.summary), strict=True))
        published_strings = readable_published(comparisons, signs)
        summary = material.summary.drop(columns=[name for name in LOOKS if name in material.summary])
        tables = {HEADLINE: summary, ROWS: material.to_tidy()}
        tables |= {section.section.name: section.numbers for section in sections}
        tables |= {PUBLISHED: published} if len(published) else {}
        contents = encode_tables(tables, formats, {ROWS})
        images = wait()
    pictures = {name: image for name, image in images.items() if isinstance(image, Image)}
    wanted = [*PICTURES, *(name for section in sections for name in section.section.pictures)]
    notes = [f"no picture {name}: {reason}" for name in wanted if isinstance(reason := images.get(name), str)]
    labels = dict(zip(material.summary["contender"], material.summary["label"], strict=True))
    notes += describe_sequences(run_notes.runs, labels)
    notes += [*_list_cautions(records, material), *describe_stale(records), *_describe_settings(several), *fault]
    document = build_document(
        material,
        records,
        sections,
        published_strings,
        pictures,
        find_repeats(records, run_notes.runs),
        store,
        runs,
        left_out,
        Unfinished.from_records(records, run_notes.runs, len(absent), total),
        faults,
        notes,
        where,
        columns,
    )
    target = Path(to or store.folder / "report")
    contents |= _encode_pages(document, formats, target)
    contents |= {
        f"{name}.{form}": image.files[form] for name, image in pictures.items() for form in FORMS if form in formats
    }
    titles = title_cells(record.cell for record in records)
    return Report(
        summary=summary,
        readable=readable,
        published=published,
        published_readable=published_strings,
        sections=sections,
        answer=next((section for section in sections if section.section.name == ANSWER), None),
        failed=[(titles[record.cell.id], record.reason) for record in records if record.reason],
        missing=len(absent),
        faults=document.faults,
        files=write_files(target, contents, all_pictures(), [*FILES, *([] if to else _find_own_tables(target))]),
        notes=[*notes, *(f"{name} was left out of a run: {reason}" for name, reason in document.left_out.items())],
        document=document,
    )


def _put_first(first: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    """Returns all records, some of them first: those of runs, in the order in which these asked for them."""
    known = {record.cell.id for record in first}
    return [*first, *(record for record in records if record.cell.id not in known)]


def _find_own_tables(target: Path) -> list[str]:
    """Returns the names of the tables of a user's own measures that an earlier report left in its own folder.

    Any other folder may hold a user's files of such names.
    """
    return [path.name for form in TABLE_FORMATS for path in target.glob(f"{OWN}*.{form}")]


def check_formats(formats: Collection[str]) -> None:
    """Raises UsageError for a name that is not one of `FORMATS`, and for no name."""
    for name in formats or [""]:
        if name not in FORMATS:
            raise UsageError(Kind.UNKNOWN, flag="format", value=name, expected=FORMATS)


def _choose_picture_forms(formats: Collection[str]) -> set[str]:
    """Returns the formats of the pictures, SVG for the page among them."""
    return {form for form in FORMS if form in formats} | ({"svg"} if "html" in formats else set())


def _encode_pages(document: Document, formats: Collection[str], target: Path) -> dict[str, bytes]:
    """Returns the pages and the tables for papers: file name -> content."""
    contents: dict[str, bytes] = {}
    if "html" in formats:
        contents[PAGE] = to_plain(render_page(document)).encode()
    if "md" in formats:
        form = next((form for form in FORMS if form in formats), None)
        contents[MARKDOWN] = to_plain(render_markdown(document, target, form)).encode()
    if "tex" in formats:
        contents |= {f"{name}.tex": text.encode() for name, text in render_tables(document).items()}
    return contents


def _compare_published(
    suite: str | Path | None, runs: Sequence[Run], left_out: Mapping[str, str], records: list[Record], steps: Steps
) -> tuple[list[Comparison], list[str]]:
    """Returns the published numbers of the suite, else of that of the latest run that has one, and a line on what is missing.

    A run's note may come from anywhere: the name in it of a suite that does not ship with capsbench opens no file.
    """
    names = list(dict.fromkeys(run.suite for run in reversed(runs) if run.suite is not None))
    name = suite or next(iter(names), None)
    if name is None:
        return [], []
    others = [other for other in names if suite is None and other != name]
    lines = (
        [f"published numbers are those of the suite {name}; the runs are also of {', '.join(others)}"] if others else []
    )
    if suite is None and name not in suite_names():
        return [], [
            f"no published numbers: the run's suite {name} is a file, which is read only if you name it (suite)"
        ]
    return compare(read_suite(name), records, left_out, steps), lines


def _choose_runs(notes: Notes, folder: Path, name: str | None, last: bool) -> list[Run]:
    """Returns the run of that name, the latest run, or all runs."""
    runs, damaged_notes = notes
    if name is None:
        return runs[-1:] if last else runs
    for run in runs:
        if run.name == name:
            return [run]
    damaged = [line for path, line in damaged_notes.items() if name in (path.stem, path.stem.partition("-")[0])]
    if damaged:
        raise UsageError(Kind.DAMAGED, damaged[0], flag="run", value=name)
    known = ", ".join(run.name for run in runs[-5:]) or "none"
    raise UsageError(Kind.UNKNOWN, flag="run", value=name, expected=f"the latest in {folder} are: {known}")


def _explain_no_records(store: Store, runs: Sequence[Run], faults: list[str]) -> UsageError:
    if faults:
        return UsageError(
            Kind.DAMAGED, f"no whole record here, {len(faults)} damaged; the first: {faults[0]}", file=store.folder
        )
    if runs:
        return NothingMeasured(
            Kind.MISSING,
            f"none of the {len(runs[-1].cells)} cells of run {runs[-1].name} is on record yet",
            file=store.folder,
            expected=f"`{runs[-1].command}` goes on with them",
        )
    return NothingMeasured(Kind.MISSING, "no records here", file=store.folder, expected="`capsbench run` makes some")


def _describe_settings(several: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns a line for each measure with several settings on record, of which the report has one."""
    return [
        f"{measure} is on record as {', '.join(specs)}: the report has {specs[0]}, as most networks do"
        for measure, specs in several.items()
    ]


def _list_cautions(records: list[Record], material: Material) -> list[str]:
    """Returns warnings about comparisons; the tables have to be made before, which look for predictions."""
    notes = []
    if count_machines(records) > 1:
        notes.append("times and memory are from different machines: compare them within one only")
    if material.unpredicted:
        count = len(material.unpredicted)
        notes.append(
            f"predictions are missing for {'1 cell' if count == 1 else f'{count} cells'}: differences in test accuracy to these "
            "contenders are tested over seeds alone"
        )
    return notes
