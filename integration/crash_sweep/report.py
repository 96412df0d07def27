"""What a sweep came to: a line for each incident, evidence for each that did harm, and the figures."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from integration.crash_sweep.incidents import Incident
    from integration.crash_sweep.scene import Outcome
    from integration.timeline import Timeline


MOST_THAT_PROVE_NOTHING = 0.1
"""The share of incidents."""


@dataclass(frozen=True)
class Report:
    """The figures.

    Attributes:
        requests: of calm scale-downs.
        incidents: those that were played.
        not_met: those of them that did not come about, not even a second time, because the request did not come.
        without_risk: those of them in which no key was at risk.
        keys_at_risk: over all incidents, keys that only workers had that were to go.
        lost_keys: scattered keys that are gone for ever.
        recomputed_keys: keys that were or have to be computed again.
        wrong_results: keys whose value changed.
        interrupted_tasks: tasks that started twice, because their worker was retired before they were done.
        surplus_workers: workers that were made though fewer were wanted.
        not_converged: incidents after which not all came to be as wanted.
        seconds: how long it all took.
        evidence: files.
    """

    requests: int
    incidents: int
    not_met: int
    without_risk: int
    keys_at_risk: int
    lost_keys: int
    recomputed_keys: int
    wrong_results: int
    interrupted_tasks: int
    surplus_workers: int
    not_converged: int
    seconds: float
    evidence: tuple[str, ...]

    @property
    def success(self) -> bool:
        """Whether nothing was lost, run twice or wrong, and all came to be as wanted, and nearly all incidents count.

        Those that did not come about, or put nothing at risk, prove nothing.
        """
        harm = self.lost_keys + self.recomputed_keys + self.wrong_results + self.interrupted_tasks
        proving = self.incidents - self.not_met - self.without_risk
        enough = proving > 0 and proving >= (1 - MOST_THAT_PROVE_NOTHING) * self.incidents
        return enough and harm + self.surplus_workers + self.not_converged == 0

    def as_json(self) -> dict[str, Any]:
        """All of it, for the last line."""
        return asdict(self)


class Tally:
    """Counts outcomes; for several threads."""

    def __init__(self, folder: Path, timeline: Timeline) -> None:
        """Count from zero.

        Args:
            folder: where the evidence goes.
            timeline: where the lines go.
        """
        self._folder = folder
        self._timeline = timeline
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._broken = 0
        self._evidence: list[str] = []

    def note(self, outcome: Outcome, *, of: int) -> None:
        """Count an outcome, and say so.

        Args:
            outcome: of an incident.
            of: how many there will be.
        """
        with self._lock:
            self._outcomes.append(outcome)
            number = len(self._outcomes) + self._broken
            self._timeline.say(f"{number:4}/{of}  {outcome.seconds:4.1f} s  {outcome.incident}: {summary(outcome)}")
            if not outcome.good:
                self._write_down(str(outcome.incident), evidence(outcome))

    def put_off(self, outcome: Outcome) -> None:
        """Say that an incident that did not come about will be played once more."""
        with self._lock:
            what = f"{outcome.incident}: did not come about; once more later"
            self._timeline.say(f"           {outcome.seconds:4.1f} s  {what}")

    def broke(self, incident: Incident, after: Incident | None, error: Exception) -> None:
        """Count an incident that could not be played to its end.

        Args:
            incident: which.
            after: the one before it in the same scene, which may be why.
            error: what happened.
        """
        with self._lock:
            self._broken += 1
            title = f"{incident}: could not be played, after {after or 'nothing else'}"
            self._timeline.say(f"{title}: {str(error).splitlines()[0]}")
            self._write_down(title, str(error))

    def report(self, *, requests: int) -> Report:
        """The figures so far."""
        outcomes = self._outcomes
        return Report(
            requests=requests,
            incidents=len(outcomes) + self._broken,
            not_met=sum(not outcome.met for outcome in outcomes),
            without_risk=sum(outcome.met and not outcome.at_risk for outcome in outcomes),
            keys_at_risk=sum(outcome.at_risk for outcome in outcomes),
            lost_keys=sum(len(outcome.lost) for outcome in outcomes),
            recomputed_keys=sum(len(outcome.recomputed) for outcome in outcomes),
            wrong_results=sum(len(outcome.wrong) for outcome in outcomes),
            interrupted_tasks=sum(len(outcome.interrupted) for outcome in outcomes),
            surplus_workers=sum(len(outcome.made) for outcome in outcomes),
            not_converged=sum(outcome.trouble is not None for outcome in outcomes) + self._broken,
            seconds=round(self._timeline.seconds, 1),
            evidence=tuple(self._evidence),
        )

    def _write_down(self, title: str, text: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"{len(self._evidence) + 1}.txt"
        file.write_text(f"{title}\n\n{text}\n")
        self._evidence.append(str(file))
        self._timeline.say(f"!! {file}")


def summary(outcome: Outcome) -> str:
    """What there is to say, in a few words."""
    words = [f"{outcome.at_risk} keys were moved"] if outcome.good else []
    kinds = {
        "lost": outcome.lost,
        "recomputed": outcome.recomputed,
        "wrong": outcome.wrong,
        "interrupted": outcome.interrupted,
        "made": outcome.made,
    }
    words += [f"{len(found)} {what}: {', '.join(found)}" for what, found in kinds.items() if found]
    if outcome.trouble:
        words.append(outcome.trouble.splitlines()[0])
    return "; ".join([*words, *(["it did not come about"] if not outcome.met else [])])


def evidence(outcome: Outcome) -> str:
    """Everything that may explain it."""
    requests = "\n".join(f"{seen.seconds:7.2f} s  {seen.request}" for seen in outcome.run.seen)
    parts = [summary(outcome), f"== requests\n{requests}", f"== the operators' logs\n{outcome.log}"]
    return "\n\n".join([*parts, f"== in the end\n{outcome.trouble or 'all is as wanted'}"])
