"""The number of test images behind a measure's numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from capsbench.presenting.material import Material
from capsbench.presenting.steps import TEST


@dataclass(frozen=True)
class ImagesTaken:
    """The number of test images that a measure takes.

    Attributes:
        most: setting of the measure -> its limit; None: all images.
        done: a participle, after ``500 test images were``.
    """

    most: Mapping[str, int | None]
    done: str

    def count_images(self, material: Material, measure: str) -> dict[str, int | None]:
        """Returns data set -> images; None where all are taken and no record has their number."""
        rows = material.rows
        settings = rows.loc[rows["measure"] == measure, ["dataset", "setting"]].drop_duplicates("dataset").astype(str)
        # Measures take the clean images of a data set that has them, and their number is not that of its test images.
        clean = set(rows.loc[(rows["measure"] == TEST[0]) & (rows["condition"] == "clean"), "dataset"])
        usual, counts = next(iter(self.most.values())), {}
        for dataset, setting in settings.itertuples(index=False):
            most = self.most.get(setting, usual)
            tested = set[int]() if dataset in clean else material.verdicts.steps.images(dataset, *TEST)
            counts[dataset] = min([*tested, *([] if most is None else [most])], default=None)
        return counts

    def describe_images(self, material: Material, measure: str) -> str:
        """Returns ``500 test images were warped.``, by data set where the numbers differ."""
        counts = self.count_images(material, measure)
        numbers = {dataset: "all" if count is None else f"{count:,}" for dataset, count in counts.items()}
        if len(set(numbers.values())) == 1:
            return f"{next(iter(numbers.values())).capitalize()} test images were {self.done}."
        return (
            f"Test images that were {self.done}: {', '.join(f'{count} of {name}' for name, count in numbers.items())}."
        )
