"""Kept files of odd types, shapes and lengths, beside records that fit them: commands go on, and end without a traceback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from capsbench.records.record import Artifact, Measurement, Row
from capsbench.records.store import Store
from tests.faults.calling import LENGTHS, call, searched
from tests.faults.test_odd_records import record

EXAMPLES = 15

DTYPES = [torch.int32, torch.int64, torch.bool, torch.float32, torch.bfloat16, torch.float8_e5m2, torch.complex64]
SHAPES = [(), (0,), (1,), (10,), (11,), (10, 2), (2, 0)]
COUNTS = [1e30, -1.0, 0.0, 0.5, 10.0]

COMMANDS = [
    ["report", "--out", "odd", "--format", "csv"],
    ["compare", "odd", "good", "--all"],
    ["check", "--against", "good", "--out", "odd"],
]

ARRAYS = st.dictionaries(
    st.sampled_from(["label", "prediction", "index", "image"]),
    st.builds(
        lambda shape, dtype, number: torch.full(shape, number).to(dtype),
        st.sampled_from(SHAPES), st.sampled_from(DTYPES), st.sampled_from([-1, 0, 3, 2**31 - 1]),
    ),
)  # fmt: skip


@pytest.mark.usefixtures("without_pictures")
@LENGTHS
def test_no_odd_kept_file_ends_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: float) -> None:
    monkeypatch.chdir(tmp_path)
    odd, good = (Store(Path(name)) for name in ("odd", "good"))
    for seed in range(3):
        good.write(record(seed))

    @searched(length * EXAMPLES)
    @given(
        arrays=ARRAYS,
        count=st.sampled_from(COUNTS),
        accuracy=st.sampled_from([None, 0.0, 1.0]),
        cut=st.sampled_from([0, 0, 0, 1, 9]),
        words=st.sampled_from(COMMANDS),
    )
    def search(
        arrays: dict[str, torch.Tensor], count: float, accuracy: float | None, cut: int, words: list[str]
    ) -> None:
        content = save(arrays)
        for seed in range(3):
            made = record(seed)
            rows = [Row("accuracy", "images", "test", count, "images")]
            rows += [] if accuracy is None else [Row("accuracy", "accuracy", "test", accuracy, "fraction")]
            path = odd.kept_path("accuracy", made.cell.id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content[: len(content) - cut])
            kept = Artifact(f"kept/accuracy/{made.cell.id}.safetensors")
            odd.write(replace(made, measures={**made.measures, "accuracy": Measurement(rows, kept=kept)}))
        called = call(*words)
        assert "Traceback" not in called.err
        assert called.code in (0, 1, 2, 3, 4)

    search()
