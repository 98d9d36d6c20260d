"""Files of a report: each is written whole or not at all, and the same numbers give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image as Pixels

from capsbench.errors import Kind, UsageError
from capsbench.presenting.figures.figure import Image, Picture, lay_out
from capsbench.presenting.figures.style import DPI, PAPER, in_style
from capsbench.presenting.marks import explain_signs
from capsbench.records.disk import make_folder, put_in_place, sweep_temporaries

FORMS = ("png", "svg")
"""The formats of a picture."""

COMPRESSION = 3
"""Level of PNG compression, from 1 to 9: half the time of the default, for a tenth more bytes."""


def render_files(pictures: Mapping[str, Picture]) -> dict[str, bytes]:
    """Returns file name -> content of each picture in each of `FORMS`."""
    images = {name: render_image(picture) for name, picture in pictures.items()}
    return {f"{name}.{form}": image.files[form] for name, image in images.items() for form in FORMS}


def render_image(picture: Picture, forms: Collection[str] = FORMS) -> Image:
    """Returns a picture in some of `FORMS`, its caption with the meaning of the signs in the picture."""
    write = {"png": render_png, "svg": render_svg}
    files = {form: write[form](picture.figure) for form in FORMS if form in forms}
    texts = [text.get_text() for text in picture.figure.findobj(Text) if isinstance(text, Text)]
    caption = " ".join([picture.caption, *(f"{meaning}." for meaning in explain_signs(texts))])
    return Image(picture.title, caption, picture.figure.get_figwidth(), files)


def render_svg(figure: Figure) -> bytes:
    """Returns a figure as SVG, with text as text and without a background."""
    lay_out(figure)
    # The canvas itself draws once, where `Figure.savefig` draws twice; without the date, the same figure gives the same bytes.
    with in_style():
        return to_bytes(lambda file: FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None}))


def render_png(figure: Figure) -> bytes:
    """Returns a figure as PNG of `DPI` dots per inch, on white."""
    lay_out(figure)
    with in_style():
        figure.set_dpi(DPI)
        behind = figure.get_facecolor()
        figure.set_facecolor(PAPER)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        figure.set_facecolor(behind)
    drawn = Pixels.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return to_bytes(lambda file: drawn.save(file, "png", dpi=(DPI, DPI), compress_level=COMPRESSION))


def to_bytes(write: Callable[[BytesIO], object]) -> bytes:
    """Returns the bytes that ``write`` writes into a file."""
    file = BytesIO()
    write(file)
    return file.getvalue()


def write_files(
    folder: Path, contents: Mapping[str, bytes], pictures: Iterable[str], others: Iterable[str] = (), flag: str = "to"
) -> list[Path]:
    """Writes all files or, where the disk is full, none; removes files of earlier reports, also of killed ones.

    Args:
        pictures: names, without ending, of all pictures that any report has.
        others: names of further files that not every report has.
        flag: the flag that names another folder.
    """
    possible = {*contents, *others, *(f"{picture}.{form}" for picture in pictures for form in FORMS)}
    temporary = {name: folder / f".{name}.{os.getpid()}" for name in contents}
    try:
        make_folder(folder)
        sweep_temporaries([folder], possible.__contains__)
        try:
            for name, written in contents.items():
                temporary[name].write_bytes(written)
            put_in_place({path: folder / name for name, path in temporary.items()})
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
        for name in possible - contents.keys():
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, f"cannot be written: {error.strerror}", flag=flag, file=folder) from error
    return [folder / name for name in contents]
