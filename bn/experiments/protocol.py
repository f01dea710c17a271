"""The rules that a comparison keeps, and which of them a study breaks.

A study states its protocol, and the record repeats it. When a page compares two arms in words,
the build asks :func:`breaches` whether the record may carry such words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from bn.experiments.record import RecordError, Run, load, load_protocol

#: Seeds that a comparison needs: fewer where a run takes longer than :data:`SHORT` seconds.
ENOUGH, ENOUGH_SHORT = 5, 10
SHORT = 30.0
#: A figure on held-out images, and the one that it stands for on the test images.
REPORTED = {"held_out_accuracy": "test_accuracy"}
#: Settings in which a run of a sweep and one of a comparison may differ.
NOT_CHOSEN = frozenset({"held_out", "steps", "epochs", "other_lr"})


@dataclass(frozen=True)
class Protocol:
    """What a study compares, and how its settings came about.

    Attributes
    ----------
    compares : str
        In words.
    settings : {"varied", "same", "chosen"}
        ``varied``: the study is the sweep, and is read for itself. ``same``: all arms share the
        settings that are not compared. ``chosen``: each arm has those that a sweep found best.
    chosen_by : str
        The figure of the sweep that decided.
    sweep : str
        The study that decided.
    first_seed : int
        Of the seeds of this study.
    exceptions : dict of str to str
        Rules that the study does not keep, each with a sentence that the book prints.
    """

    compares: str
    settings: Literal["varied", "same", "chosen"] = "varied"
    chosen_by: str = ""
    sweep: str = ""
    first_seed: int = 0
    exceptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a choice of which it is not said how it was made."""
        stated = [bool(self.chosen_by), bool(self.sweep)]
        if stated != [self.settings == "chosen"] * 2:
            raise ValueError(f"chosen settings need chosen_by and sweep, and only these: {self}")
        if unknown := set(self.exceptions) - set(RULES):
            raise ValueError(f"there are no rules {sorted(unknown)}; there are {', '.join(RULES)}")

    def stated(self) -> dict[str, Any]:
        """Return it as a record holds it."""
        return asdict(self)

    @classmethod
    def of(cls, study: str, folder: Path | None = None) -> "Protocol":
        """Read the protocol of a record.

        Raises
        ------
        RecordError
            If the record states none, or one that cannot be read.
        """
        stated = load_protocol(study, folder)
        if stated is None:
            raise RecordError(
                f"the record {study!r} states no protocol; its command writes one: "
                "python -m bn train"
            )
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{name: value for name, value in stated.items() if name in known})
        except (TypeError, ValueError) as error:
            raise RecordError(f"the protocol of {study!r} cannot be read: {error}") from error


#: The rules, by name, as the book prints them.
RULES = {
    "comparable": (
        "The arms are those of a comparison: they share their settings, or each has its own best."
    ),
    "pairs": "The arms have the same seeds, which give initial weights and order of the images.",
    "seeds": (
        f"There are at least {ENOUGH} seeds, and {ENOUGH_SHORT} where a run takes less than "
        f"{SHORT:g} seconds."
    ),
    "steps": "The arms were evaluated after the same steps.",
    "metric": "Settings were chosen by the figure that is reported.",
    "held out": "Settings were chosen on training images that were held out, not on test images.",
    "new seeds": "The sweep that chose the settings had other seeds than the comparison.",
    "edge": "The best setting is not at the edge of the sweep.",
}


def breaches(
    study: str, arms: Sequence[str], figure: str, folder: Path | None = None
) -> dict[str, str]:
    """Return the rules that words about a difference of arms would break, and how.

    Parameters
    ----------
    study : str
    arms : sequence of str
        Those that are compared.
    figure : str
        Name in ``final``.
    folder : Path, optional
        Of the records.

    Returns
    -------
    dict of str to str
        Name of a rule, and what is wrong. Rules that the protocol excepts are left out.
    """
    runs, protocol = load(study, folder), Protocol.of(study, folder)
    sides = [[run for run in runs if run.arm == arm] for arm in arms]
    found = _of_runs(arms, sides)
    if protocol.settings == "varied":
        found["comparable"] = "the study is a sweep or describes one network"
    if protocol.settings == "chosen":
        found |= _of_choice(protocol, sides, figure, folder)
    return {rule: what for rule, what in found.items() if rule not in protocol.exceptions}


def _of_runs(arms: Sequence[str], sides: list[list[Run]]) -> dict[str, str]:
    found = {}
    seeds = [{run.seed for run in side} for side in sides]
    if any(each != seeds[0] for each in seeds):
        found["pairs"] = f"seeds are {' and '.join(str(sorted(each)) for each in seeds)}"
    every = [run for side in sides for run in side]
    short = sum(run.seconds for run in every) / len(every) < SHORT if every else False
    needed = ENOUGH_SHORT if short else ENOUGH
    if (n := min(len(each) for each in seeds)) < needed:
        found["seeds"] = f"{n} seeds, {needed} are needed"
    when = {
        tuple(run.curve.get("step") or run.curve.get("epoch") or ())
        for run in every
        if not run.final.get("diverged")
    }
    if len(when) > 1:
        found["steps"] = f"{' and '.join(arms)} were evaluated after different steps"
    return found


def _of_choice(
    protocol: Protocol, sides: list[list[Run]], figure: str, folder: Path | None
) -> dict[str, str]:
    found = {}
    if figure != REPORTED.get(protocol.chosen_by, protocol.chosen_by):
        found["metric"] = f"chosen by {protocol.chosen_by}, compared by {figure}"
    sweep = load(protocol.sweep, folder)
    if not all(run.config.get("held_out") for run in sweep):
        found["held out"] = f"{protocol.sweep} holds no images out"
    shared = {run.seed for run in sweep} & {run.seed for side in sides for run in side}
    if shared:
        found["new seeds"] = f"both have the seeds {sorted(shared)}"
    edges = [edge for side in sides if side for edge in _edges(side[0].config, sweep)]
    if edges:
        found["edge"] = "; ".join(edges)
    return found


def _edges(chosen: Mapping[str, Any], sweep: list[Run]) -> list[str]:
    """Name the numbers of a chosen configuration that are the smallest or largest of the sweep.

    Compared are configurations of the sweep that differ in numbers only: not the other kind of
    network. One that is not of the sweep was derived from it, and has no edges.
    """
    names = [name for name in chosen if name not in NOT_CHOSEN]

    def of(config: Mapping[str, Any], numbers: bool) -> dict[str, Any]:
        return {
            name: config.get(name)
            for name in names
            if numbers == (isinstance(chosen[name], float) and not isinstance(chosen[name], bool))
        }

    alike = [run.config for run in sweep if of(run.config, False) == of(chosen, False)]
    if of(chosen, True) not in [of(config, True) for config in alike]:
        return []
    found = []
    for name, value in of(chosen, True).items():
        tried = sorted({config[name] for config in alike})
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            found.append(f"{name} {value:g} of {tried[0]:g} to {tried[-1]:g}")
    return found
