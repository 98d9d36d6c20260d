"""The section on transformed images shows errors beside their controls, and the mean R² over the parts of a transformation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from capsbench.measures.transformation.section import SECTION
from capsbench.presenting.material import Material
from capsbench.records.record import Record, Row
from capsbench.records.store import Store
from tests.making import with_rows


def test_the_table_of_an_autoencoder(capsules: Callable[..., Record], tmp_path: Path) -> None:
    def measured(seed: int) -> Record:
        record = capsules(
            None, None, network="transforming-autoencoder", routing=None, iterations=None, loss=None, seed=seed
        )
        rows = [
            Row("transformation", "squared error", "inside", 20.0 + seed, "per image"),
            Row("transformation", "squared error", "inside, a pixel", 0.1, "per pixel"),
            Row("transformation", "squared error", "outside, mean image", 60.0, "per image"),
            Row("transformation", "R^2", "inside, x", 0.9, "fraction"),
            Row("transformation", "R^2", "inside, y", 0.7, "fraction"),
            Row("transformation", "R^2", "inside, capsule 3", 0.0, "fraction"),
            Row("transformation", "slope", "inside, x", 0.5, "ratio"),
        ]
        return with_rows(record, rows)

    material = Material.from_records([measured(seed) for seed in (0, 1, 2)], Store(tmp_path))
    (row,) = SECTION.readable(SECTION.table(material)).to_dict("records")
    assert row == {
        "name": "transforming-autoencoder",
        "n": "3",
        "error inside": "21.0 ± 2.5",  # 4.3027 * 1 / sqrt(3)
        "of the mean image outside": "60.0",  # seeds that agree show no spread
        "R² of poses inside": "0.80",
    }
