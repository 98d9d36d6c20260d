"""The notes of runs in the merged folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capsbench.merging.sources import Source
from capsbench.records.record import Run
from capsbench.records.runs import repeat_note, to_bytes
from capsbench.records.store import read_content


class NewNote(NamedTuple):
    """A note that the merged folder gets: the name and the content of its file."""

    name: str
    content: bytes
    run: Run


def choose_notes(sources: Sequence[Source]) -> list[NewNote]:
    """Returns the notes that the merged folder lacks, in the order in which they have to be written.

    The latest run of each folder goes on under the highest number, so that the latest run of the merged folder is that of all.
    Repeated notes come first, and the notes of a folder's latest run last: a merge that is interrupted goes on from there.
    """
    known = {path.name for source in sources if source.is_target for path in source.notes}
    new = [source for source in sources if any(path.name not in known for path in source.latest)]
    noted = [*(source for source in sources if source.is_target and source.latest and new), *new]
    highest = max((source.number for source in noted), default=0)
    if len(noted) > 1:
        highest = max(highest, 1)  # notes of schema 1 have no numbers
    notes = [
        NewNote(name, to_bytes(run), run)
        for source in noted
        if source.number < highest
        for name, run in (repeat_note(path, note, highest) for path, note in source.latest.items())
    ]
    notes += [NewNote(path.name, read_content(path), note) for source in new for path, note in source.notes.items()]
    return [note for note in {note.name: note for note in notes}.values() if note.name not in known]
