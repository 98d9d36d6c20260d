"""The result of a check: tested numbers and findings."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from capsbench.errors import EXIT_FAILED, EXIT_REGRESSION
from capsbench.presenting.notebook import Displayed, Grid, Output

ALL = "all contenders"
"""Whose the mean over contenders is."""

REGRESSION, FAILED, MISSING, CHANGED, BETTER, UNJUDGED, NEW = (
    "regression", "failed", "missing", "changed", "better", "not judged", "new",
)  # fmt: skip
ORDER = (REGRESSION, FAILED, MISSING, CHANGED, BETTER, UNJUDGED, NEW)
"""Kinds of findings, the worst first."""

NOT_PASSED = (REGRESSION, FAILED, MISSING)

GOES_ON = "the same `capsbench run` goes on"
"""The remedy for cells that a run has not trained yet."""


class Test(NamedTuple):
    """A number of the run held against the reference, by two one-sided tests: that it is worse, and that it is better.

    ``reference`` and ``current`` are as people read them; ``drop`` is the loss: in points, or of a time the factor.
    """

    contender: str
    name: str
    reference: str
    current: str
    drop: float
    worse: float
    better: float


class Finding(NamedTuple):
    """A finding: its kind (`ORDER`), contender and number, a description, and the p-value after Holm."""

    kind: str
    contender: str
    name: str
    text: str
    p: float = math.nan


@dataclass(repr=False)
class Checked(Displayed):
    """The result of `check`.

    Attributes:
        findings: the worst first.
        tests: one row a test: contender, name, reference, current, drop, and ``worse`` and ``better``, p-values after Holm.
        contenders: titles of those held against the reference.
        exact: titles of the numbers that have to be what they are in the reference.
        identical: how many records have the same bits as the reference's.
    """

    against: str
    out: str
    tolerance: float
    slower: float
    findings: list[Finding] = field(default_factory=list)
    tests: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=[*Test._fields]))
    contenders: list[str] = field(default_factory=list)
    exact: list[str] = field(default_factory=list)
    identical: int = 0
    notes: list[str] = field(default_factory=list)

    def select(self, *kinds: str) -> list[Finding]:
        """Returns the findings of some kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]

    @property
    def worse(self) -> list[Finding]:
        """The findings that do not pass: regressions, and what failed or is missing."""
        return self.select(*NOT_PASSED)

    @property
    def exit_code(self) -> int:
        """0, 1 for a regression, else 3 for what failed or is missing."""
        return EXIT_REGRESSION if self.select(REGRESSION) else EXIT_FAILED if self.select(FAILED, MISSING) else 0

    def describe_output(self) -> Output:
        """Returns the verdict and the findings, the worst first."""
        from capsbench.comparing.formats import verdict_of

        rows = [[finding.kind, finding.contender, finding.text] for finding in self.findings]
        findings = Grid(["finding", "contender", "what"], rows)
        lead = f"{self.out} against {self.against}: {verdict_of(self)}"
        return Output(lead, tables=[findings] if rows else [], notes=self.notes)
