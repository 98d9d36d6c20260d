"""Pictures of one trained network: reconstructions, capsule dimensions, coupling coefficients, predictions under rotation.

`show` draws a cell of a results folder into ``OUT/shown/CELL``: each picture as SVG and PNG, and ``shown.json``. That file lists
names, titles and captions; `capsbench report` reads it to put the pictures on its page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capsbench.data.base import data_folder
from capsbench.errors import Kind, UsageError
from capsbench.planning.contender_defaults import title_cells
from capsbench.planning.request import split_values
from capsbench.predicting.find_cell import find_record
from capsbench.predicting.load import RETRAINED, advise_retraining
from capsbench.presenting.figures.figure import Picture
from capsbench.presenting.figures.files import FORMS, render_files, render_image, write_files
from capsbench.presenting.notebook import Displayed, Output, Shot
from capsbench.records.cell import Cell
from capsbench.records.folder import allow_own, explain_moved, find_data
from capsbench.records.store import Store
from capsbench.showing.coupling import draw_agreement, draw_coupling, draw_coupling_means
from capsbench.showing.decoding import draw_dimensions, draw_reconstructions
from capsbench.showing.rotation import draw_rotation
from capsbench.showing.scene import DoesNotApplyError, Scene, load_scene

LIST = "shown.json"
"""The file that lists the pictures, in their folder."""

PICTURES: dict[str, Callable[[Scene], Picture]] = {
    "reconstructions": draw_reconstructions,
    "dimensions": draw_dimensions,
    "coupling": draw_coupling,
    "coupling-means": draw_coupling_means,
    "agreement": draw_agreement,
    "rotation": draw_rotation,
}
"""Name of a file -> the function that draws it, or raises DoesNotApplyError if the picture does not apply to the network."""


@dataclass(frozen=True, repr=False)
class Shown(Displayed):
    """The result of `show`.

    Attributes:
        cell: the drawn cell.
        title: its title among the cells on record.
        pictures: name -> picture.
        left_out: name of a picture that does not apply to the network -> reason.
        files: the written files.
        faults: a line for each file that is not a whole record.
    """

    cell: Cell
    title: str
    pictures: dict[str, Picture]
    left_out: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def describe_output(self) -> Output:
        """Returns the pictures, and the reasons for those that do not apply."""
        images = {name: render_image(picture, ["svg"]) for name, picture in self.pictures.items()}
        shots = [Shot.from_files(name, image.title, image.files, image.width) for name, image in images.items()]
        folders = sorted({str(path.parent) for path in self.files})
        return Output(
            f"{self.title} ({self.cell.id})",
            shots=[shot for shot in shots if shot],
            notes=[
                *(f"In {folder}." for folder in folders),
                *(f"no {name}: {why}" for name, why in self.left_out.items()),
            ],
        )


def show(
    cell: str | None = None,
    out: str | Path = "results",
    *,
    dataset: str | Sequence[str] = (),
    data_dir: str | Path | None = None,
    images: int = 10,
    index: Sequence[int] | None = None,
    to: str | Path | None = None,
    allow_code: bool = False,
) -> Shown:
    """Draws pictures of a trained network and writes them to ``OUT/shown/CELL``.

    Args:
        cell: the identity of a cell on record or its beginning, conditions such as ``routing=dynamic,iters=3``, or words of its
            title; None: the only cell with weights.
        out: the results folder.
        dataset: where images of the user's own lie now that were moved since the training, such as ``folder:data/shapes``.
        data_dir: the folder of data sets and downloads; by default ``$CAPSBENCH_DATA``, else the user's cache.
        images: number of test images, spread evenly over the classes.
        index: the test images to draw instead.
        to: the output folder.
        allow_code: import a user's own components that the records name, from the places where their runs found them.

    Raises:
        UsageError: no such cell, no weights of it, no such test image, untrusted code in it, or pictures of the user's own in
            the output folder; the message says what to do.
    """
    if to is not None:
        _refuse_foreign(Path(to))
    store = Store(out)
    record, faults = find_record(store, cell)
    find_data(store, [record.cell], split_values(dataset))
    if allow_code:
        allow_own(store)
    if (fault := explain_moved(record.cell)) is not None:
        raise fault
    scene = load_scene(
        record,
        store,
        data_folder(data_dir),
        count=images,
        index=index,
        retrain=advise_retraining(record, store, f"`capsbench show {record.cell.id} --out {RETRAINED}`"),
    )
    pictures, left_out = draw_pictures(scene)
    entries = [{"name": name, "title": picture.title, "caption": picture.caption} for name, picture in pictures.items()]
    contents = render_files(pictures) | {LIST: (json.dumps(entries, indent=1) + "\n").encode()}
    folder = Path(to) if to is not None else store.folder / "shown" / record.cell.id
    title = title_cells(other.cell for other in store.records()[0])[record.cell.id]
    return Shown(record.cell, title, pictures, left_out, write_files(folder, contents, PICTURES), faults)


def _refuse_foreign(folder: Path) -> None:
    """Refuses a folder whose files would be replaced or removed, unless `LIST` tells that these are pictures of before."""
    names = [f"{name}.{form}" for name in PICTURES for form in FORMS if (folder / f"{name}.{form}").exists()]
    if names and not (folder / LIST).is_file():
        problem = f"its {names[0]} is none that `capsbench show` drew, and would be lost"
        raise UsageError(Kind.CONFLICT, problem, flag="to", file=folder, expected="name another folder")


def draw_pictures(scene: Scene) -> tuple[dict[str, Picture], dict[str, str]]:
    """Returns name -> picture, and name -> reason for the pictures that do not apply to the network."""
    pictures, left_out = {}, {}
    for name, draw in PICTURES.items():
        try:
            pictures[name] = draw(scene)
        except DoesNotApplyError as reason:
            left_out[name] = str(reason)
    return pictures, left_out
