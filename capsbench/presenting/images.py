"""How many of the test images a measure's numbers are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from capsbench.presenting.material import Material
from capsbench.presenting.steps import TEST


@dataclass(frozen=True)
class ImagesTaken:
    """How many of the test images a measure takes, which the page says.

    Attributes:
        most: setting of the measure -> at most; None: all.
        done: what is done with them, after ``500 test images were``.
    """

    most: Mapping[str, int | None]
    done: str

    def count(self, material: Material, measure: str) -> dict[str, int | None]:
        """Data set -> images; None where all are taken and it is not on record how many there are."""
        rows = material.rows
        settings = rows.loc[rows["measure"] == measure, ["dataset", "setting"]].drop_duplicates("dataset").astype(str)
        # Where a data set has clean images beside its test images, it is these that are taken.
        clean = set(rows.loc[(rows["measure"] == TEST[0]) & (rows["condition"] == "clean"), "dataset"])
        usual, counts = next(iter(self.most.values())), {}
        for dataset, setting in settings.itertuples(index=False):
            most = self.most.get(setting, usual)
            tested = set[int]() if dataset in clean else material.verdicts.steps.images(dataset, *TEST)
            counts[dataset] = min([*tested, *([] if most is None else [most])], default=None)
        return counts

    def sentence(self, material: Material, measure: str) -> str:
        """``500 test images were warped.``, by data set where they differ."""
        counts = self.count(material, measure)
        each = {dataset: "all" if count is None else f"{count:,}" for dataset, count in counts.items()}
        if len(set(each.values())) == 1:
            return f"{next(iter(each.values())).capitalize()} test images were {self.done}."
        return f"Test images that were {self.done}: {', '.join(f'{count} of {name}' for name, count in each.items())}."
