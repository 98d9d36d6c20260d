"""Images in folders of their classes: ``folder:PATH``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from capsbench.data.own.base import FilePicture, OwnImages
from capsbench.data.own.splits import PARTS, TRAIN, compose, find_part, list_some
from capsbench.errors import Kind, UsageError

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".tga", ".jp2",
)  # fmt: skip
"""The endings of image files, in any case."""

HIDDEN = frozenset(("thumbs.db", "desktop.ini", "__macosx"))
"""Files and folders that systems add, beside those whose name begins with a dot."""

LAYOUT = "expected PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE and so on"


class FolderSet(OwnImages):
    """Images in one folder for each class, or in such folders below ``train``, ``validation`` and ``test``."""

    version = 1
    pictures: Sequence[FilePicture]

    def list_pictures(self) -> Sequence[FilePicture]:
        if not self.path.is_dir():
            problem = "a file, no folder" if self.path.exists() else "no such folder"
            raise UsageError(Kind.MISSING, problem, flag="dataset", file=self.path, expected=LAYOUT)
        self._ignored: list[Path] = []
        try:
            parts = self._find_parts()
            pictures = [picture for part, folder in parts.items() for picture in self._list_classes(folder, part)]
            self._refuse_outer(parts)
        except OSError as error:
            problem = f"cannot be read: {error.strerror or error}"
            raise UsageError(Kind.INACCESSIBLE, problem, flag="dataset", file=error.filename or self.path) from error
        if not pictures:
            raise self._refuse_inner()
        return pictures

    def _find_parts(self) -> dict[str, Path]:
        """Returns part -> its folder; the empty part is all of them, if there are no folders ``train`` and so on.

        A class may be called ``train``: the folder of a part holds folders, that of a class images.
        """
        folders = {folder: find_part(folder.name) for folder in _list_folders(self.path)}
        split = {part: folder for folder, part in folders.items() if part and _list_folders(folder)}
        if not split:
            return {"": self.path}
        if TRAIN not in split:  # the parts would be the classes
            problem = f"{next(iter(split.values())).name} holds folders, as a part does, and there is no part train"
            raise UsageError(Kind.MISSING, problem, flag="dataset", file=self.path, expected=LAYOUT)
        others = [folder.name for folder, part in folders.items() if part is None]
        counts = Counter(part for part in folders.values() if part)
        twice = [part for part, count in counts.items() if count > 1]
        if others or twice:
            problem = (
                f"beside {split[TRAIN].name}: {list_some(others)}" if others else f"two folders of {twice[0]} images"
            )
            expected = "expected only train, validation and test beside each other"
            raise UsageError(Kind.CONFLICT, problem, flag="dataset", file=self.path, expected=expected)
        self._note_loose_files(self.path)
        by_part = {part: folder for folder, part in folders.items()}
        return {part: by_part[part] for part in PARTS if part in by_part}

    def _refuse_inner(self) -> UsageError:
        """Returns the refusal of a folder without class folders, which may be that of a single class."""
        loose = [path for path in self._ignored if path.suffix.lower() in SUFFIXES]
        around = self.path.absolute().parent
        is_class = False
        with suppress(OSError):  # the folder around may not be readable
            is_class = bool(loose) and len(_list_folders(around)) > 1
        problem = "no class folders" + (f", and images such as {loose[0].name}" if loose else "")
        expected = f"folder:{around} if it is the folder of a class, else {LAYOUT}" if is_class else LAYOUT
        return UsageError(Kind.MISSING, problem, flag="dataset", file=self.path, expected=expected)

    def _refuse_outer(self, parts: Mapping[str, Path]) -> None:
        """Refuses a folder around that of the class folders, which would be the only class."""
        alone = {folder.name for path in parts.values() for folder in _list_folders(path)}
        outer = self.path / next(iter(alone), "") if "" in parts else parts[TRAIN] / next(iter(alone), "")
        if len(alone) != 1 or not _list_folders(outer):
            return
        while len(inner := _list_folders(outer)) == 1 and _list_folders(inner[0]):
            outer = inner[0]
        where = outer.relative_to(self.path).as_posix()
        if "" in parts:
            problem, expected = f"its only folder, {where}, holds the class folders", f"folder:{outer}"
        else:
            name = parts[TRAIN].name
            problem = f"the only folder in {name}, {where}, holds the class folders"
            expected = f"move them up, to {name}/CLASS, and so in each part"
        raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=self.path, value=where, expected=expected)

    def _list_classes(self, folder: Path, part: str) -> Iterator[FilePicture]:
        """Yields the images of the class folders in a folder; raises UsageError for one without images."""
        empty = []
        for class_folder in _list_folders(folder):
            paths = list(self._list_images(class_folder))
            if not paths:
                empty.append(class_folder.relative_to(self.path).as_posix())
            for path in paths:
                yield FilePicture(path, path.relative_to(self.path).as_posix(), (class_folder.name,), part)
        if empty and part in ("", TRAIN):
            problem = f"class folders without images: {list_some(empty)}"
            expected = f"remove them, or add images ({' '.join(SUFFIXES)})"
            raise UsageError(Kind.DAMAGED, problem, flag="dataset", file=self.path, value=empty, expected=expected)
        self._note_loose_files(folder)

    def _list_images(self, folder: Path) -> Iterator[Path]:
        """Yields the image files in a folder and the folders in it, sorted; raises UsageError for a link around itself."""
        around = {str(folder): frozenset((self.path.resolve(),))}
        for place, folders, names in os.walk(folder, followlinks=True, onerror=_raise_error):
            outer = around.pop(place)
            inner = outer | {self._resolve_folder(Path(place), outer)}
            folders[:] = sorted((name for name in folders if not _is_hidden(name)), key=_spell)
            around |= {os.path.join(place, name): inner for name in folders}  # noqa: PTH118
            for name in sorted((name for name in names if not _is_hidden(name)), key=_spell):
                path = Path(place, name)
                if path.suffix.lower() in SUFFIXES:
                    yield path
                else:
                    self._ignored.append(path)

    def _resolve_folder(self, folder: Path, outer: Iterable[Path]) -> Path:
        """Returns the real path of a folder; raises UsageError for a link to a folder around it, whose images would not end.

        Args:
            outer: the real paths of the folders that led to it.
        """
        place = folder.resolve()
        if any(place == path or place in path.parents for path in outer):
            problem = f"{folder.relative_to(self.path).as_posix()} is a link to a folder that it lies in"
            raise UsageError(Kind.CONFLICT, problem, flag="dataset", file=self.path, expected="remove the link")
        return place

    def _note_loose_files(self, folder: Path) -> None:
        """Notes files outside the class folders, which are ignored."""
        self._ignored += [path for path in sorted(folder.iterdir()) if path.is_file() and not _is_hidden(path.name)]

    @property
    def remarks(self) -> Sequence[str]:
        lines = list(super().remarks)
        if self._ignored:
            names = list_some([path.relative_to(self.path).as_posix() for path in self._ignored])
            lines.append(f"ignored, no images of a class: {names}")
        stems = Counter(Path(picture.name).with_suffix("") for picture in self.pictures)
        twice = [stem.as_posix() for stem, count in stems.items() if count > 1]
        if twice:
            lines.append(f"several images of one name and other endings, all of them used: {list_some(twice)}")
        return lines


def _list_folders(folder: Path) -> list[Path]:
    """Returns the folders in a folder, sorted, without hidden ones."""
    folders = (path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))
    return sorted(folders, key=lambda path: _spell(path.name))


def _spell(name: str) -> tuple[str, str]:
    """Returns a key by which names have one order, however their accents are kept."""
    return compose(name), name


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in HIDDEN


def _raise_error(error: OSError) -> None:
    raise error
