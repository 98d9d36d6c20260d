"""Names contenders: network and routing, and exactly those fields and options in which the contenders of a report differ.

A name holds a field or an option where contenders differ in it and the value is not the contender's default. A routing's presets,
the size of a matched CNN and the budget that a CNN takes over are defaults too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from capsbench.presenting.words import TIMES, shorten_names, spell_value, strip_component
from capsbench.records.cell import TARGET, Cell, describe_cell, fields_of
from capsbench.records.declaration import Role
from capsbench.records.tuning import TUNED
from capsbench.records.tuning.convergence import AUTO_EPOCHS

MATCHED = "matched"
"""The baseline that is sized after its capsule network."""

NAMING = [*fields_of(Role.TASK), *fields_of(Role.NETWORK)]
"""The columns that name every contender, data first; further columns follow where contenders differ in them."""

BUDGET = fields_of(Role.TASK, Role.BUDGET, Role.MACHINE)
"""The fields that a capsule network and its baseline share."""

Defaults = Callable[[Cell], Mapping[str, Any]]
"""Cell of a contender -> field or option -> its default, as far as defaults are known."""


def no_defaults(cell: Cell) -> Mapping[str, Any]:
    """Knows no default: a name then holds only what distinguishes contenders that would share it."""
    return {}


class Names:
    """The names of the contenders of a report; no two contenders of one data set share one.

    Args:
        cells: cells of the contenders, of any seeds.
        defaults: values that no name holds.
    """

    def __init__(self, cells: Iterable[Cell], defaults: Defaults = no_defaults) -> None:
        self.cells = {cell.contender: cell for cell in cells}
        self._rows = {contender: _describe_choices(cell) for contender, cell in self.cells.items()}
        known = {name for row in self._rows.values() for name in row}
        fields = [name for name in Cell.model_fields if name in known]
        self._choices = [name for name in fields if name not in NAMING] + sorted(known - {*fields})
        self._heading, self._texts = cache(self._find_heading), cache(self._find_texts)
        self._several = {name for name in ("size", "train_size") if self._count_values(name, absent=True) > 1}
        networks: dict[str, set[str]] = {}
        for cell in self.cells.values():
            networks.setdefault(cell.routing or "", set()).add(cell.network)
        self._with_network = any(len(sharing) > 1 for routing, sharing in networks.items() if routing)
        parts = [part for cell in self.cells.values() for part in (cell.network, cell.routing)]
        self._short = shorten_names(part for part in parts if part)
        self._named: dict[str, set[str]] = {contender: set() for contender in self.cells}
        self._in_any_name: set[str] = set()
        self._name_choices(defaults)
        self._name_targets()
        for contender, row in self._rows.items():
            self._add_to_name(contender, {TUNED, AUTO_EPOCHS} & row.keys())
            if self.cells[contender].is_given:  # trained elsewhere, which no reader may miss
                self._add_to_name(contender, {"weights"})
        while self._separate_namesakes():
            pass

    @property
    def columns(self) -> list[str]:
        """The fields and options that are in any name, fields first."""
        return [name for name in self._choices if name in self._in_any_name and name != TARGET]

    def series(self, contender: str) -> str:
        """Returns a contender's name without data set and iterations: ``dynamic, learning rate 0.1``."""
        return self._spell_network(contender) + self._spell_rest(contender)

    def label(self, contender: str) -> str:
        """Returns the series with the iterations: ``dynamic ×3, learning rate 0.1``."""
        cell = self.cells[contender]
        iterations = f" {TIMES}{cell.iterations}" if cell.has_routing else ""
        return self._spell_network(contender) + iterations + self._spell_rest(contender)

    def kind(self, contender: str) -> str:
        """Returns the name of a network, however it was trained: ``matched``, ``resnet, blocks 2``, ``resnet, sized``."""
        cell = self.cells[contender]
        sized = ["sized"] if cell.network != MATCHED and cell.options.get(TARGET) else []
        options = [name for name in self._named[contender] if name.startswith("network.")]
        return ", ".join([self._short[cell.network], *sized, *self._spell_choices(contender, options)])

    def title(self, contender: str) -> str:
        """Returns a name with data and size, such as ``capsnet dynamic x3 tiny, digits, learning rate 0.1``."""
        base = self.cells[contender].title.rpartition(", seed ")[0]
        return ", ".join([base, *self._spell_choices(contender, self._named[contender])])

    def titles(self, cells: Iterable[Cell]) -> dict[str, str]:
        """Returns cell -> title with its seed, for cells of these contenders."""
        titles = {contender: self.title(contender) for contender in self.cells}
        return {cell.id: f"{titles[cell.contender]}, seed {cell.seed}" for cell in cells}

    def _count_values(self, name: str, contenders: Iterable[str] | None = None, *, absent: bool = False) -> int:
        """Counts the values of a field or option among some contenders, or all.

        Args:
            absent: count a missing value as one more.
        """
        rows = self._rows.values() if contenders is None else (self._rows[contender] for contender in contenders)
        values = {row.get(name) for row in rows}
        return len(values if absent else values - {None})

    def _spell_network(self, contender: str) -> str:
        cell = self.cells[contender]
        if cell.routing is None:
            return f"{MATCHED} CNN" if cell.network == MATCHED else self._short[cell.network]
        routing = self._short[cell.routing]
        return f"{self._short[cell.network]} {routing}" if self._with_network else routing

    def _spell_rest(self, contender: str) -> str:
        cell, named = self.cells[contender], self._named[contender]
        sized = [f" to {cell.options[TARGET]:,}"] if TARGET in named and cell.options.get(TARGET) else []
        parts = [cell.size] if "size" in self._several else []
        parts += [f"{cell.train_size or 'all'} images"] if "train_size" in self._several else []
        return "".join([*sized, *(f", {part}" for part in [*parts, *self._spell_choices(contender, named)])])

    def _spell_choices(self, contender: str, names: Iterable[str]) -> list[str]:
        """Returns ``learning rate 0.1`` for each name; a value that network and routing share appears once."""
        chosen, row = {*names} - {TARGET}, self._rows[contender]
        spelled = (f"{self._heading(name)} {self._texts(name)[row[name]]}" for name in self.columns if name in chosen)
        return list(dict.fromkeys(spelled))

    def _find_heading(self, name: str) -> str:
        """Returns an option's name without its component, unless another component has one of that name and another value."""
        namesakes = [
            other for other in self._choices if strip_component(other) == strip_component(name) and other != name
        ]
        differs = any(
            name in row and other in row and row[other] != row[name]
            for row in self._rows.values()
            for other in namesakes
        )
        return (name.replace(".", " ") if differs else strip_component(name)).replace("_", " ")

    def _find_texts(self, name: str) -> dict[Any, str]:
        """Returns value -> text for a field or option, no two texts alike; a user's own parts have short names."""
        values = dict.fromkeys(row[name] for row in self._rows.values() if name in row)
        texts = {content: spell_value(content) for content in values}
        counts = Counter(texts.values())
        exact = {content: repr(content) for content, text in texts.items() if counts[text] > 1}
        return {**texts, **exact, **shorten_names(content for content in values if isinstance(content, str))}

    def _name_choices(self, defaults: Defaults) -> None:
        """Names values that are not defaults, of fields and options in which contenders differ."""
        varying = [name for name in self._choices if self._count_values(name) > 1]
        if not varying:
            return
        known = {contender: defaults(cell) for contender, cell in self.cells.items()}
        budgets: dict[tuple[str, str, str], set[Any]] = {}
        for contender, cell in self.cells.items():
            for name in BUDGET if cell.has_routing else ():
                budgets.setdefault((cell.dataset, cell.size, name), set()).add(known[contender].get(name))
        for contender, cell in self.cells.items():
            row = self._rows[contender]
            for name in varying:
                if name not in known[contender] or name not in row:
                    continue
                usual = {known[contender][name]}
                if not cell.has_routing:  # a baseline has the budget of its capsule network
                    usual |= budgets.get((cell.dataset, cell.size, name), set())
                if row[name] not in usual:
                    self._add_to_name(contender, {name})

    def _name_targets(self) -> None:
        """Names the parameters of matched CNNs where one data set and size has several."""
        sized: dict[tuple[str, str, int | None], list[str]] = {}
        for contender, cell in self.cells.items():
            if cell.network == MATCHED and TARGET in cell.options:
                sized.setdefault((cell.dataset, cell.size, cell.train_size), []).append(contender)
        if any(self._count_values(TARGET, contenders) > 1 for contenders in sized.values()):
            for contender, cell in self.cells.items():
                if cell.network == MATCHED:
                    self._add_to_name(contender, {TARGET})

    def _separate_namesakes(self) -> bool:
        """Names all that differs between contenders that share a name; returns true if any name changed."""
        sharing: dict[tuple[str, str], list[str]] = {}
        for contender, cell in self.cells.items():
            sharing.setdefault((cell.dataset, self.label(contender)), []).append(contender)
        changed = [self._name_differences(namesakes) for namesakes in sharing.values() if len(namesakes) > 1]
        return any(changed)

    def _name_differences(self, contenders: list[str]) -> bool:
        # An option that some lack, as records of earlier versions do, is named only where nothing else differs.
        for absent in (False, True):
            differing = {name for name in self._choices if self._count_values(name, contenders, absent=absent) > 1}
            added = {
                contender: (differing & self._rows[contender].keys()) - self._named[contender]
                for contender in contenders
            }
            if any(added.values()):
                for contender, names in added.items():
                    self._add_to_name(contender, names)
                return True
        return False

    def _add_to_name(self, contender: str, names: set[str]) -> None:
        self._named[contender] |= names
        self._in_any_name |= names  # kept beside, as each name is spelled by the columns of all


def _describe_choices(cell: Cell) -> dict[str, Any]:
    """Returns the fields and options of a cell that have a value, without its identity and seed."""
    return {
        name: value for name, value in describe_cell(cell).items() if value is not None and name not in ("cell", "seed")
    }
