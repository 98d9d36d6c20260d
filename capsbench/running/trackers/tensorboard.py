"""Shows cells in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capsbench.presenting.terminal import to_one_line
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.running.trackers.base import (
    Status,
    TrackedRun,
    Tracker,
    list_parameters,
    name_number,
    select_curves,
)

LONGEST_TITLE = 60
"""The most characters of a title in the name of a folder, which may have 255 bytes."""


class TensorBoardTracker(Tracker):
    """TensorBoard: curves, numbers and the table of hyperparameters, in files beside the records."""

    package = "tensorboard"

    def describe(self) -> str:
        return f"to watch: `tensorboard --logdir {self.folder}`"

    def start_run(self, cell: Cell, title: str) -> TrackedRun:
        trainings = len(self._list_folders(cell)) + 1
        name = f"{to_one_line(title).replace('/', '-')[:LONGEST_TITLE]}, {cell.id}"
        run = _TensorBoardRun(self.folder / (name if trainings == 1 else f"{name} ({trainings})"))
        run.log_parameters(cell)
        return run

    def reopen_run(self, cell: Cell) -> TrackedRun | None:
        folders = self._list_folders(cell)
        return _TensorBoardRun(folders[-1]) if folders else None

    def _list_folders(self, cell: Cell) -> list[Path]:
        """Returns the folders of a cell's trainings, the latest last."""

        def rank_training(folder: Path) -> tuple[int, str]:
            suffix = folder.name.rpartition(cell.id)[2]
            return len(suffix), suffix  # "" < " (2)" < " (10)"

        return sorted(self.folder.glob(f"*, {cell.id}*"), key=rank_training)


class _TensorBoardRun(TrackedRun):
    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder))

    def log_parameters(self, cell: Cell) -> None:
        """Writes the cell as a session of the hyperparameters' table, without the experiment that would fix its columns."""
        from torch.utils.tensorboard.summary import hparams

        _, start, _ = hparams(list_parameters(cell), {})
        self._add_summary(start)

    def log_epoch(self, entry: Mapping[str, float]) -> None:
        for name, value in select_curves(entry).items():
            self.writer.add_scalar(name, value, int(entry["epoch"]))
        self.writer.flush()

    def log_numbers(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.writer.add_scalar(name_number(row), row.value, 0)
        self.writer.flush()

    def pause(self) -> None:
        self.writer.close()  # opens a file again when there is more

    def end(self, status: Status, reason: str) -> None:
        if reason:
            self.writer.add_text("failure", reason)
        if status is not Status.INTERRUPTED:  # TensorBoard keeps the first end of a session, and this one may go on
            self._add_summary(_make_session_end(status))
        self.writer.close()

    def _add_summary(self, summary: Any) -> None:
        self.writer._get_file_writer().add_summary(summary)


def _make_session_end(status: Status) -> Any:
    """Returns torch's summary of the end of a session, which is a success, with another status."""
    from tensorboard.plugins.hparams.api_pb2 import Status as SessionStatus
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from torch.utils.tensorboard.summary import hparams

    _, _, end = hparams({}, {})
    plugin = end.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(plugin.content)
    name = "STATUS_SUCCESS" if status is Status.FINISHED else "STATUS_FAILURE"
    content.session_end_info.status = SessionStatus.Value(name)
    plugin.content = content.SerializeToString()
    return end
