"""The pictures of `capsbench show` in a results folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from capsbench.presenting.figures.files import render_svg
from capsbench.records.record import Record
from capsbench.records.store import Store
from capsbench.reporting.shown import read_shown

Make = Callable[..., Record]


def write_shown(store: Store, record: Record, content: str) -> Path:
    folder = store.folder / "shown" / record.cell.id
    folder.mkdir(parents=True)
    (folder / "shown.json").write_text(content)
    return folder


def test_pictures_are_those_of_the_cells_that_are_asked_for(tmp_path: Path, capsules: Make) -> None:
    store, first, second, third = Store(tmp_path), capsules(seed=0), capsules(seed=1), capsules(seed=2)
    entries = [{"name": name, "title": name.title(), "caption": f"The {name}."} for name in ("scores", "gone")]
    for record in (first, third):
        folder = write_shown(store, record, json.dumps(entries))
        (folder / "scores.svg").write_bytes(render_svg(Figure(figsize=(2, 1))))
    cells, faults = read_shown([first, second], store)
    assert faults == []
    assert [cell.cell for cell in cells] == [first.cell.id]
    (drawing,) = cells[0].drawings  # a picture that was deleted is no fault
    assert (drawing.title, drawing.caption, drawing.drawn.width) == ("Scores", "The scores.", 144)


def test_damaged_files_are_faults_that_name_them(tmp_path: Path, capsules: Make) -> None:
    store, first, second = Store(tmp_path), capsules(seed=0), capsules(seed=1)
    broken = write_shown(store, first, "{") / "shown.json"
    picture = write_shown(store, second, '[{"name": "scores", "title": "", "caption": ""}]') / "scores.svg"
    picture.write_text("<svg><script/></svg>")
    cells, faults = read_shown([first, second], store)
    assert [cell.drawings for cell in cells] == [[]]
    for path, fault, record in zip((broken, picture), faults, (first, second), strict=True):
        assert fault.startswith(f"{path}: ")
        assert f"`capsbench show {record.cell.id}`" in fault
