"""The names of contenders: what they are, and exactly what of their fields and options differs within a report.

A field or an option is named where contenders differ in it and it is not the default of the one that is named. What follows from
something else, such as a routing's presets, the size of a matched CNN, or a CNN's budget, is a default too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import pandas as pd

from capsbench.presenting.words import TIMES, option, shorten, value
from capsbench.records.cell import TARGET, Cell, describe_cell, fields_of
from capsbench.records.declaration import Role

MATCHED = "matched"
"""The network that is sized after the capsule network it stands beside."""

NAMING = [*fields_of(Role.TASK), *fields_of(Role.NETWORK)]
"""The columns that name every contender, data first; further columns follow where contenders differ in them."""

BUDGET = fields_of(Role.TASK, Role.BUDGET, Role.MACHINE)
"""The fields that a capsule network and its baseline share."""

Defaults = Callable[[Cell], Mapping[str, Any]]
"""Of a contender's cell: field or option -> its default; what is not known is not in it."""


def no_defaults(cell: Cell) -> Mapping[str, Any]:
    """Knows none: a name then holds whatever tells contenders apart that would share it."""
    return {}


class Names:
    """The names of the contenders of a report; no two of one data set share one.

    Args:
        cells: of the contenders, of any seeds.
        defaults: what is not named.

    Attributes:
        columns: the fields and options that are in any name, fields first.
    """

    def __init__(self, cells: Iterable[Cell], defaults: Defaults = no_defaults) -> None:
        self.cells = {cell.contender: cell for cell in cells}
        described = [{**dict.fromkeys(NAMING), **describe_cell(cell)} for cell in self.cells.values()]
        columns = None if described else NAMING
        self._table = pd.DataFrame(described, index=list(self.cells), columns=columns, dtype=object)
        self._table = self._table.drop(columns=["cell", "seed"], errors="ignore")
        self._heading, self._texts = cache(self._find_heading), cache(self._find_texts)
        fields = [name for name in Cell.model_fields if name in self._table]
        self._choices = [name for name in fields if name not in NAMING]
        self._choices += sorted(str(name) for name in self._table if name not in fields)
        self._several = {name for name in ("size", "train_size") if self._table[name].nunique(dropna=False) > 1}
        networks = self._table.loc[self._table["routing"].notna()].groupby("routing")["network"].nunique()
        self._with_network = bool((networks > 1).any())
        self._short = shorten({*self._table["network"], *self._table["routing"].dropna()})
        self._told: dict[str, set[str]] = {contender: set() for contender in self.cells}
        self._tell_choices(defaults)
        self._tell_targets()
        while self._tell_apart():
            pass

    @property
    def columns(self) -> list[str]:
        told = set[str]().union(*self._told.values()) - {TARGET}
        return [name for name in self._choices if name in told]

    def series(self, contender: str) -> str:
        """What tells a contender apart but for its data set and its iterations: ``dynamic, learning rate 0.1``."""
        return self._kind(contender) + self._rest(contender)

    def label(self, contender: str) -> str:
        """The series with the iterations: ``dynamic ×3, learning rate 0.1``."""
        iterations = f" {TIMES}{self.cells[contender].iterations}" if self.cells[contender].routing else ""
        return self._kind(contender) + iterations + self._rest(contender)

    def kind(self, contender: str) -> str:
        """What a network is, whatever it was trained with: ``matched``, ``resnet, blocks 2``, ``resnet, sized``."""
        cell = self.cells[contender]
        sized = ["sized"] if cell.network != MATCHED and cell.options.get(TARGET) else []
        options = [name for name in self._told[contender] if name.startswith("network.")]
        return ", ".join([self._short[cell.network], *sized, *self._spell(contender, options)])

    def title(self, contender: str) -> str:
        """A name with data and size, such as ``capsnet dynamic x3 tiny, digits, learning rate 0.1``."""
        base = self.cells[contender].title.rpartition(", seed ")[0]
        return ", ".join([base, *self._spell(contender, self._told[contender])])

    def titles(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Cell -> title with its seed, of cells of these contenders."""
        titles = {contender: self.title(contender) for contender in self.cells}
        return {cell.id: f"{titles[cell.contender]}, seed {cell.seed}" for cell in cells}

    def _kind(self, contender: str) -> str:
        cell = self.cells[contender]
        if cell.routing is None:
            return f"{MATCHED} CNN" if cell.network == MATCHED else self._short[cell.network]
        routing = self._short[cell.routing]
        return f"{self._short[cell.network]} {routing}" if self._with_network else routing

    def _rest(self, contender: str) -> str:
        cell, told = self.cells[contender], self._told[contender]
        sized = [f" to {cell.options[TARGET]:,}"] if TARGET in told and cell.options.get(TARGET) else []
        parts = [cell.size] if "size" in self._several else []
        parts += [f"{cell.train_size or 'all'} images"] if "train_size" in self._several else []
        return "".join([*sized, *(f", {part}" for part in [*parts, *self._spell(contender, told)])])

    def _spell(self, contender: str, columns: Iterable[str]) -> list[str]:
        """``learning rate 0.1`` for each of some columns; what network and routing have alike stands once."""
        chosen = set(columns) - {TARGET}
        row = self._table.loc[contender]
        spelled = (f"{self._heading(name)} {self._texts(name)[row[name]]}" for name in self.columns if name in chosen)
        return list(dict.fromkeys(spelled))

    def _find_heading(self, column: str) -> str:
        """An option without its component, unless another component has one of that name and another value."""
        alike = [name for name in self._choices if option(name) == option(column) and name != column]
        both = self._table[[column, *alike]].dropna(subset=[column])
        other = any((both[name].notna() & (both[name] != both[column])).any() for name in alike)
        return (column.replace(".", " ") if other else option(column)).replace("_", " ")

    def _find_texts(self, column: str) -> dict[Any, str]:
        """A column's values as text, no two alike; a user's own parts by their short names."""
        chosen = self._table[column].dropna()
        texts = {each: value(each) for each in chosen}
        often = Counter(texts.values())  # of values, each of which is there once
        exact = {each: repr(each) for each, text in texts.items() if often[text] > 1}
        return {**texts, **exact, **shorten(each for each in chosen if isinstance(each, str))}

    def _tell_choices(self, defaults: Defaults) -> None:
        """Names what was chosen: values that are not the default, of fields and options that differ between contenders."""
        varying = [name for name in self._choices if self._table[name].nunique() > 1]
        if not varying:
            return
        known = {contender: defaults(cell) for contender, cell in self.cells.items()}
        budgets: dict[tuple[str, str, str], set[Any]] = {}
        for contender, cell in self.cells.items():
            if cell.has_routing:
                for name in BUDGET:
                    budgets.setdefault((cell.dataset, cell.size, name), set()).add(known[contender].get(name))
        for contender, cell in self.cells.items():
            row = self._table.loc[contender]
            for name in varying:
                usual = {known[contender][name]} if name in known[contender] else None
                if usual is None or pd.isna(row[name]):
                    continue
                if not cell.has_routing:  # a baseline has the budget of the network that it stands beside
                    usual |= budgets.get((cell.dataset, cell.size, name), set())
                if row[name] not in usual:
                    self._told[contender].add(name)

    def _tell_targets(self) -> None:
        """Names the parameters of matched CNNs where several stand beside each other."""
        if TARGET not in self._table:
            return
        sized = self._table[self._table["network"] == MATCHED]
        if (sized.groupby(["dataset", "size", "train_size"], dropna=False)[TARGET].nunique() > 1).any():
            for contender in sized.index:
                self._told[contender].add(TARGET)

    def _tell_apart(self) -> bool:
        """Names all that differs between contenders that share a name; whether there was anything."""
        sharing: dict[tuple[str, str], list[str]] = {}
        for contender, cell in self.cells.items():
            sharing.setdefault((cell.dataset, self.label(contender)), []).append(contender)
        told = [self._tell_differing(contenders) for contenders in sharing.values() if len(contenders) > 1]
        return any(told)

    def _tell_differing(self, contenders: list[str]) -> bool:
        own = self._table.loc[contenders, self._choices]
        # An option that some lack, as records of earlier versions do, is named where nothing else tells them apart.
        for differing in (own.nunique() > 1, own.nunique(dropna=False) > 1):
            new = {
                contender: {name for name in self._choices if differing[name] and own[name].notna()[contender]}
                - self._told[contender]
                for contender in contenders
            }
            if any(new.values()):
                for contender, names in new.items():
                    self._told[contender] |= names
                return True
        return False
