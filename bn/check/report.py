"""What a check says: a table of what was looked at, the conventions found, and the findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bn.check import render
from bn.check.mistakes import MISTAKES

#: "wrong": no documented convention explains it, so the candidate fails. "weak": right in
#: ordinary cases, and worse than it could be in others. "note": worth knowing.
Severity = Literal["wrong", "weak", "note"]
Status = Literal["right", "weak", "wrong", "not offered", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One thing that a reviewer would say.

    Attributes
    ----------
    check : str
        The row of the table that it belongs to.
    severity : {"wrong", "weak", "note"}
    mistake : str
        An identifier from ``bn.check.MISTAKES``; "unidentified" where none of the known
        mistakes gives these numbers. Two at once are joined by "+".
    fed, came, expected : str
        What was given, what it returned, and what it should have.
    input : mapping, optional
        The numbers that were fed in full, where there are few: x, gamma, beta, eps, axis.
    """

    check: str
    severity: Severity
    mistake: str
    fed: str
    came: str
    expected: str
    input: Mapping[str, Any] | None = None

    @property
    def mistakes(self) -> tuple[str, ...]:
        """The identifiers in :attr:`mistake`."""
        return tuple(self.mistake.split("+"))

    @property
    def likely(self) -> str:
        """The likely mistake, in a sentence."""
        known = [MISTAKES[each].sentence for each in self.mistakes]
        return " And at the same time: ".join(known)

    @property
    def page(self) -> str:
        """The page of the book that explains it."""
        return MISTAKES[self.mistakes[0]].page


@dataclass
class Row:
    """One line of the table: what was looked at, and how it came out."""

    check: str
    status: Status
    detail: str = ""


@dataclass(repr=False)
class Report:
    """The result of :func:`bn.check.batch_norm`. Printing it shows the whole of it.

    Attributes
    ----------
    candidate, kind : str
        What was checked: its name, and what it was taken for ("torch module", ...).
    rows : list
        One per check: ``check``, ``status``, ``detail``.
    conventions : dict
        Facts where implementations differ with good reason: the momentum's meaning, which
        variance the running one holds, and others.
    findings : list of Finding
    strict : bool
        Whether warnings ("weak") fail too.
    seconds : float
    """

    candidate: str
    kind: str
    rows: list[Row] = field(default_factory=list)
    conventions: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    strict: bool = False
    seconds: float = 0.0

    @property
    def wrong(self) -> list[Finding]:
        """The findings that fail the candidate whatever the options."""
        return [each for each in self.findings if each.severity == "wrong"]

    @property
    def weak(self) -> list[Finding]:
        """The warnings."""
        return [each for each in self.findings if each.severity == "weak"]

    @property
    def passed(self) -> bool:
        """Whether there is nothing wrong, nor, if `strict`, weak."""
        return not (self.wrong or (self.strict and self.weak))

    @property
    def mistakes(self) -> set[str]:
        """The identifiers of all mistakes found, wrong or weak."""
        return {each for finding in self.wrong + self.weak for each in finding.mistakes}

    def text(self, *, colour: bool = False, width: int = 90) -> str:
        """Return the report as text."""
        return render.text(self, colour=colour, width=width)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        facts = {"likely", "page"}
        findings = [
            asdict(each) | {fact: getattr(each, fact) for fact in sorted(facts)}
            for each in self.findings
        ]
        return asdict(self) | {"passed": self.passed, "findings": findings}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Report:
        """Return the report that :meth:`to_dict` was made from."""
        values = {key: value for key, value in given.items() if key != "passed"}
        values["rows"] = [Row(**row) for row in given["rows"]]
        values["findings"] = [
            Finding(**{k: v for k, v in each.items() if k not in {"likely", "page"}})
            for each in given["findings"]
        ]
        return cls(**values)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__  # what a notebook shows
