"""The state of the modelled world: immutable, comparable, and the same for states that differ in names alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

STRANGER = 0
"""The uid of a worker that isn't the Cluster's: in the scheduler's list, in no pod."""


HOOK = 100
"""What a hook's pod's uid is added to where operators are numbered from 1."""


class Violation(Exception):
    """A promise of the operator is broken; the kind is what the module's docstring lists."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Process(IntEnum):
    """What a pod's worker process does, whatever the kubelet has reported of it.

    There is none for a process that hasn't started: a starting one may register, be reported or get its signal at any
    moment, and so may one that is yet to start, later.
    """

    UP = 1
    LEFT = 2  # retired: it will exit by itself and never come back


class Phase(IntEnum):
    """What the kubelet has reported of a pod."""

    PENDING = 0
    STARTED = 1
    FINISHED = 2


class Member(IntEnum):
    """What the scheduler takes a worker for."""

    NO = 0
    RUNNING = 1
    CLOSING = 2


class Frozen(IntEnum):
    """Whether a worker's process stands still."""

    NO = 0
    YES = 1
    SILENT = 2  # for so long that the scheduler misses its heartbeats


class Outcome(IntEnum):
    """What became of one worker that a call names."""

    PENDING = 0
    OK = 1
    REFUSED = 2
    UNKNOWN = 3
    THROUGH = 4  # every key has another copy, and the worker is about to be removed


class Stage(StrEnum):
    """How far an operator's pass has come."""

    IDLE = "idle"
    PODS = "has read the pods"
    CALLS = "has read its calls"
    DETAIL = "has read the scheduler's detail"
    ACT = "acts"


class Pod(NamedTuple):
    """A pod and the worker in it.

    Attributes:
        uid: grows with each creation, so that older is smaller.
        name: as it was planned; empty for those that are there at the beginning.
        base: what its creation was decided on.
        rv: how often the API server's object was written.
        restarted: the process has been replaced and the kubelet hasn't reported it.
        deleter: who asked for the deletion: "", "user", "operator", or "excused" for a deadline of the user's.
        hidden: its worker registers under a name and an address that don't tell the pod.
        alone: the operator has had its turn since the deletion was asked for.
        template: the one that it was made from.
        frozen: its worker's process stands still.
    """

    uid: int
    name: str
    base: Base | None
    process: Process
    phase: Phase
    member: Member
    rv: int = 0
    restarted: bool = False
    deleter: str = ""
    hidden: bool = False
    alone: bool = False
    template: int = 0
    frozen: Frozen = Frozen.NO


class Base(NamedTuple):
    """What a creation was decided on: a version of the Cluster and the pods that there were."""

    rv: int
    uids: tuple[int, ...]
    missing: int


class Entry(NamedTuple):
    """One of `status.workers.retiring`.

    Attributes:
        addressed: it had a worker when it was chosen or last asked for.
        since: whether that is long ago; so are `asked` and `drained`.
        sequence: of `asked` and `drained`: 0 if it was asked first, 1 at the same moment, 2 if it was drained first.
        peers: those whom the digest is made of.
    """

    uid: int
    addressed: bool
    since: bool
    asked: bool | None
    drained: bool | None
    sequence: int
    moved: bool
    refused: bool
    peers: tuple[int, ...]


class Status(NamedTuple):
    """What matters of a Cluster's status: the rest is only told to people, and isn't written by itself here."""

    entries: tuple[Entry, ...]


class Target(NamedTuple):
    """One worker that a call names, and the state that a refusal puts it back into."""

    uid: int
    before: Member
    outcome: Outcome
    may_interrupt: bool


class Call(NamedTuple):
    """A call to drain or retire workers, as the scheduler has it.

    Attributes:
        owner: the operator's number, `HOOK` and a pod's uid for its hook, or 0 once nobody awaits the answer.
        old: it has gone on for long.
    """

    owner: int
    kind: str
    targets: tuple[Target, ...]
    old: bool = False


class Answer(NamedTuple):
    """An answer that an operator's register holds."""

    kind: str
    uids: tuple[int, ...]
    listed: tuple[int, ...]


class Action(NamedTuple):
    """Something that an operator is about to do.

    Attributes:
        kind: create, delete, drain or retire.
        uids: of the pods concerned.
        name: of the pod to create.
        base: for a creation.
        limit: for a creation, how many pods there may be; for a deletion, the resourceVersion or -1 for none.
        excused: uids whose data or tasks the user has given up.
        template: for a creation.
    """

    kind: str
    uids: tuple[int, ...] = ()
    name: str = ""
    base: Base | None = None
    limit: int = 0
    excused: tuple[int, ...] = ()
    template: int = 0


class Operator(NamedTuple):
    """One process of the operator.

    Attributes:
        number: from 1.
        seen: what has been read so far in this pass.
        rv: of the Cluster as it was read, or written since.
        status: what is to be written first.
        settles: the answers that the status remembers once it is written.
        passes: how many more it will make; None: no limit.
    """

    number: int
    stage: Stage = Stage.IDLE
    seen: tuple[Any, ...] = ()
    rv: int = -1
    status: Status | None = None
    settles: frozenset[int] = frozenset()
    actions: tuple[Action, ...] = ()
    answers: tuple[Answer, ...] = ()
    passes: int | None = None


class Budget(NamedTuple):
    """How much may still go wrong or be asked for."""

    user: int
    crashes: int
    faults: int


class World(NamedTuple):
    """Everything.

    Attributes:
        keys: the holders of each key, sorted.
        tasks: where each runs; 0 for nowhere yet.
        late: creations whose request is still on its way though nobody awaits it.
        template: of the two that users go back and forth between.
        blocked: people are told why a scale-down doesn't go on, which each look works out anew.
        unseen: something has happened that only the next look or time makes a difference to (`reductions`).
    """

    replicas: int
    rv: int
    status: Status
    pods: tuple[Pod, ...]
    keys: tuple[tuple[int, ...], ...]
    tasks: tuple[int, ...]
    calls: tuple[Call, ...]
    operators: tuple[Operator, ...]
    late: tuple[Action, ...]
    budget: Budget
    stranger: bool
    next_uid: int
    template: int = 0
    unseen: bool = False
    blocked: bool = False

    def pod(self, uid: int) -> Pod | None:
        """The pod with this uid, if there is one still."""
        for pod in self.pods:
            if pod.uid == uid:
                return pod
        return None

    def with_pod(self, pod: Pod) -> World:
        """The world with a pod changed.

        One that is being deleted and whose worker has left is gone at once: no decision is about it any more.
        """
        gone = pod.deleter and (pod.process is Process.LEFT or pod.phase is Phase.FINISHED)
        changed = ((() if gone else (pod,)) if other.uid == pod.uid else (other,) for other in self.pods)
        return self._replace(pods=tuple(pod for some in changed for pod in some))

    def with_operator(self, operator: Operator) -> World:
        """The world with an operator changed."""
        return self._replace(
            operators=tuple(operator if other.number == operator.number else other for other in self.operators)
        )

    def running(self) -> list[int]:
        """Workers that take tasks and data."""
        found = [pod.uid for pod in self.pods if pod.member is Member.RUNNING]
        return [STRANGER, *found] if self.stranger else found


@dataclass(frozen=True)
class Rules:
    """The bounds of a world and what can happen in it.

    Attributes:
        workers: how many at the beginning, and the most that users scale to.
        keys: the most keys at a time.
        user: what users may do: scale, delete, put, release, submit, kill, edit (the template), freeze (a worker).
        hook: worker pods have a preStop hook.
        rpc: the scheduler's RPC port can be used.
        split: other things happen between the reads of one look.
        late: a lost creation may still arrive.
        deadline: `onTimeout: Delete`.
        hidden: the first pod's worker can't be matched to it.
        stranger: the scheduler has a worker of somebody else's, too.
        pending: that many of the pods at the beginning have not started.
        second: there is another operator, which makes one pass.
        tasks: the most at a time.
        copies: of each key at the beginning.
        surge: `maxSurge` of the rollout.
        unavailable: `maxUnavailable` of the rollout.
        reduced: steps whose order makes no difference are taken in one order only (`reductions`).
    """

    workers: int
    keys: int
    actions: int = 1
    crashes: int = 0
    faults: int = 0
    user: frozenset[str] = frozenset({"scale"})
    hook: bool = True
    rpc: bool = True
    split: bool = False
    late: bool = False
    deadline: bool = False
    hidden: bool = False
    stranger: bool = False
    pending: int = 0
    second: bool = False
    tasks: int = 0
    copies: int = 1
    surge: int = 1
    unavailable: int = 0
    reduced: bool = True
