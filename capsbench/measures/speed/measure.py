"""The measure speed: time and memory of a training step and of inference."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from capsbench.measures.base import Measure, Subject
from capsbench.measures.speed.spec import SPEC
from capsbench.records.cell import Cell
from capsbench.records.record import Row
from capsbench.training.loop import make_first_batch
from capsbench.training.step import TrainingStep, use_precision
from capsbench_kernels.bench.measure import peak_memory


class Speed(Measure):
    """Latency (p50, p95), throughput and peak memory, at the cell's batch size.

    Peak memory is what torch allocates in one pass beyond the network and its data; a training step's holds the gradients
    and the optimiser's state.
    """

    spec = SPEC
    any_number = True

    settings: ClassVar[tuple[str, ...]] = ("light", "full", "quick")
    alone: ClassVar[bool] = True

    warm_up: ClassVar[int] = 3
    repeats: ClassVar[dict[str, tuple[int, float]]] = {
        "light": (20, 2.0),
        "full": (200, 60.0),
        "quick": (10, 0.5),
    }
    """Setting -> the most repetitions, and the seconds after which none is started (at least 5 are made)."""

    @classmethod
    def applies_to(cls, cell: Cell) -> bool:
        return True

    def __call__(self, subject: Subject) -> list[Row]:
        network, cell = copy.deepcopy(subject.network), subject.cell
        batch = make_first_batch(cell, network, subject.data)
        images = batch.images
        step = TrainingStep(cell, network)
        for group in step.optimizer.param_groups:
            group["lr"] = 0.0  # the same arithmetic, but many steps on one batch do not make the loss diverge
        network.eval()
        rows = self._time_passes("inference", lambda: _run_inference(cell, network, images), images)
        network.train()
        rows += self._time_passes("training step", lambda: step(batch, 0.5), images)
        return rows

    def _time_passes(self, condition: str, run: Callable[[], Any], images: Tensor) -> list[Row]:
        most, seconds = self.repeats[self.setting]
        cuda = images.device.type == "cuda"
        peak = peak_memory(run, images.device)
        times: list[float] = []
        for _ in range(self.warm_up):
            run()
        started = time.perf_counter()
        while len(times) < most and (len(times) < 5 or time.perf_counter() - started < seconds):
            _wait_for_gpu(cuda)
            begin = time.perf_counter()
            run()
            _wait_for_gpu(cuda)
            times.append(time.perf_counter() - begin)
        median = statistics.median(times)
        p95 = statistics.quantiles(times, n=20, method="inclusive")[-1]
        return [
            Row("speed", "latency p50", condition, 1e3 * median, "ms"),
            Row("speed", "latency p95", condition, 1e3 * p95, "ms"),
            Row("speed", "throughput", condition, len(images) / median, "images/s"),
            Row("speed", "peak memory", condition, peak / 2**20, "MiB"),
        ]


@torch.no_grad()
def _run_inference(cell: Cell, network: nn.Module, images: Tensor) -> None:
    with use_precision(cell):
        network(images)


def _wait_for_gpu(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()
