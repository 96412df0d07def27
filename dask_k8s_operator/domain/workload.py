"""What there is to do for a Dask cluster, as its scheduler says, and what to ask the scheduler about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from dask_k8s_operator.domain.autoscale import Demand, Pace
    from dask_k8s_operator.domain.snapshot import Worker


@dataclass(frozen=True)
class Question:
    """What to ask a scheduler beside what it is always asked.

    Attributes:
        pace: how workers start; where that is known, `Demand.patient` and `Demand.lasting` are wanted.
        submissions: whether it matters when work was last submitted.
        registered: whether it matters which workers the scheduler has.
    """

    pace: Pace | None = None
    submissions: bool = False
    registered: bool = False


@dataclass(frozen=True)
class Workload:
    """What a scheduler says of its work.

    Attributes:
        demand: how many workers it asks for.
        tasks: how many tasks it knows of: those that run, those that wait, those whose results somebody holds, and
            what was scattered. 0: nobody wants anything of it.
        submitted: when work was last submitted, by the scheduler's clock; None: not asked, not known, or never.
        unanswered: why that isn't known though the scheduler was asked.
        registered: the workers that the scheduler has; None: not asked, or not known.
        question: what was asked beside.
    """

    demand: Demand
    tasks: int
    submitted: datetime | None = None
    unanswered: str | None = None
    registered: tuple[Worker, ...] | None = None
    question: Question = field(default_factory=Question)
