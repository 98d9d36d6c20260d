"""What a trained network sees, in pictures: reconstructions, its capsules' dimensions, how it routes, and under rotation.

`show` picks a cell of a results folder and writes ``OUT/shown/CELL``: each picture as SVG and PNG, and ``shown.json``, a list of
their names, titles and captions, by which `capsbench report` puts them on its page.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capsbench.data.base import data_folder
from capsbench.planning.contender_defaults import title_cells
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.files import render_files, write_files
from capsbench.records.cell import Cell
from capsbench.records.folder import allow_own
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.rerun import find_repeats
from capsbench.showing.coupling import agreement, coupling_means, draw_coupling
from capsbench.showing.decoding import dimensions, reconstructions
from capsbench.showing.find_cell import chosen_record
from capsbench.showing.rotation import draw_rotation
from capsbench.showing.scene import DoesNotApplyError, Scene, scene_of

LIST = "shown.json"
"""The list of the pictures beside them."""

RETRAINED = "retrained"
"""The folder that is proposed to one who has to train a network again."""

PICTURES: dict[str, Callable[[Scene], Picture]] = {
    "reconstructions": reconstructions,
    "dimensions": dimensions,
    "coupling": draw_coupling,
    "coupling-means": coupling_means,
    "agreement": agreement,
    "rotation": draw_rotation,
}
"""Name of the file -> what draws it; raises DoesNotApplyError for a network that has nothing of the kind."""


@dataclass(frozen=True)
class Shown:
    """What `show` has made.

    Attributes:
        cell: the one that was drawn.
        title: its title among those on record.
        pictures: by name.
        left_out: name of a picture that does not apply to the network -> why.
        files: what was written.
        faults: a line for each file that is not a whole record.
    """

    cell: Cell
    title: str
    pictures: dict[str, Picture]
    left_out: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def show(
    cell: str | None = None,
    out: str | Path = "results",
    *,
    data_dir: str | Path | None = None,
    images: int = 10,
    index: Sequence[int] | None = None,
    to: str | Path | None = None,
    allow_code: bool = False,
) -> Shown:
    """Draws what a trained network sees and writes it to ``OUT/shown/CELL``.

    Args:
        cell: the identity of a cell on record or its beginning, conditions such as ``routing=dynamic,iters=3``, or words of its
            title; None: the only one that has weights.
        out: the results folder.
        data_dir: where data sets lie or are downloaded to; else ``$CAPSBENCH_DATA``, else the user's cache.
        images: how many test images, a draw that holds as many of each class.
        index: the test images to show, rather than a draw.
        to: where to write.
        allow_code: import a user's own parts that the records name, from where their runs found them.

    Raises:
        UsageError: no such cell, no weights of it, no such images, or a part of it is code that is not trusted; the
            message says what to do.
    """
    store = Store(out)
    record, faults = chosen_record(store, cell)
    if allow_code:
        allow_own(store)
    scene = scene_of(
        record,
        store,
        data_folder(data_dir),
        count=images,
        index=index,
        retrain=_retraining(record, store),
    )
    pictures, left_out = drawn(scene)
    listed = [{"name": name, "title": each.title, "caption": each.caption} for name, each in pictures.items()]
    contents = render_files(pictures) | {LIST: (json.dumps(listed, indent=1) + "\n").encode()}
    folder = Path(to) if to is not None else store.folder / "shown" / record.cell.id
    title = title_cells(each.cell for each in store.records()[0])[record.cell.id]
    return Shown(record.cell, title, pictures, left_out, write_files(folder, contents, PICTURES), faults)


def drawn(scene: Scene) -> tuple[dict[str, Picture], dict[str, str]]:
    """The pictures of a network by name, and of those that do not apply to it why not."""
    pictures, left_out = {}, {}
    for name, draw in PICTURES.items():
        try:
            pictures[name] = draw(scene)
        except DoesNotApplyError as reason:
            left_out[name] = str(reason)
    return pictures, left_out


def _retraining(record: Record, store: Store) -> str:
    """How to get the weights of a cell: the command that trains it again."""
    (again,) = find_repeats([record], store.runs()).contenders.values()
    if not again.command:
        return f"train it again; its command cannot be told: {again.note}"
    return (
        f"train it again by `{again.command} --out {RETRAINED}`, and then "
        f"`{shlex.join(['capsbench', 'show', record.cell.id, '--out', RETRAINED])}`"
    )
