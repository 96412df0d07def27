"""What an operator sees of the modelled world when it looks, in the order in which it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tests.model.world import STRANGER, Frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.model.world import Operator, Phase, Rules, Status, World


class SeenPod(NamedTuple):
    """A pod as it was read."""

    uid: int
    phase: Phase
    rv: int
    deleted: bool
    hidden: bool
    template: int


class SeenCluster(NamedTuple):
    """The Cluster and its pods as they were read."""

    rv: int
    replicas: int
    template: int
    status: Status
    pods: tuple[SeenPod, ...]

    def uids(self) -> Iterator[int]:
        """The pods that this is about."""
        yield from (pod.uid for pod in self.pods)
        yield from (entry.uid for entry in self.status.entries)

    def renamed(self, order: Mapping[int, int], alive: Mapping[int, int], world: World) -> Any:
        """The same in terms of what it has in common with what is there now."""
        entries = tuple((order[e.uid], *e[1:8], tuple(order.get(u) for u in e.peers)) for e in self.status.entries)
        pods = tuple(
            (order[p.uid], p.phase, alive.get(p.uid) == p.rv, p.deleted, p.hidden, p.template == world.template)
            for p in self.pods
        )
        new = self.template == world.template
        return self.rv == world.rv, self.replicas, new, entries, pods


class SeenCalls(NamedTuple):
    """The operator's own register of calls."""

    in_flight: tuple[int, ...] = ()
    stalled: tuple[int, ...] = ()
    drained: tuple[int, ...] = ()
    moved: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()

    def uids(self) -> Iterator[int]:
        """The pods that this is about."""
        for part in self:
            yield from part

    def renamed(self, order: Mapping[int, int], _alive: Mapping[int, int], _world: World) -> Any:
        """The same by rank."""
        return tuple(tuple(order[uid] for uid in part) for part in self)


class SeenDetail(NamedTuple):
    """What the scheduler's RPC port told.

    Attributes:
        known: it did tell something.
        asked: it can be used at all.
        holding: who holds any data.
        turns: the order in which the scheduler would close workers.
        silent: who hasn't been heard of for a while.
    """

    known: bool
    asked: bool = True
    running: tuple[int, ...] = ()
    executing: tuple[int, ...] = ()
    holding: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()
    silent: tuple[int, ...] = ()

    def uids(self) -> Iterator[int]:
        """The pods that this is about."""
        for part in self[2:]:
            yield from part

    def renamed(self, order: Mapping[int, int], _alive: Mapping[int, int], _world: World) -> Any:
        """The same by rank."""
        return *self[:2], *(tuple(order[uid] for uid in part) for part in self[2:])


class SeenWorkers(NamedTuple):
    """The scheduler's list; None where it gave none, or wasn't asked."""

    listed: tuple[int, ...] | None
    asked: bool = True


def see_cluster(world: World) -> SeenCluster:
    """The Cluster and its pods."""
    pods = tuple(SeenPod(p.uid, p.phase, p.rv, bool(p.deleter), p.hidden, p.template) for p in world.pods)
    return SeenCluster(world.rv, world.replicas, world.template, world.status, pods)


def see_calls(world: World, operator: Operator) -> SeenCalls:
    """The operator's register of calls."""
    own = [call for call in world.calls if call.owner == operator.number]
    return SeenCalls(
        in_flight=as_set(t.uid for call in own for t in call.targets),
        stalled=as_set(t.uid for call in own if call.old for t in call.targets),
        drained=as_set(uid for answer in operator.answers if answer.kind == "drain" for uid in answer.listed),
        moved=as_set(uid for answer in operator.answers if answer.kind == "retire" for uid in answer.listed),
        refused=as_set(uid for answer in operator.answers for uid in answer.uids if uid not in answer.listed),
    )


def see_detail(world: World, rules: Rules) -> SeenDetail:
    """What the RPC port tells where it answers."""
    if not rules.rpc:
        return SeenDetail(known=False, asked=False)
    load = {p.uid: sum(p.uid in key for key in world.keys) for p in world.pods if p.member}
    executing = as_set(set(world.tasks) & set(load))
    return SeenDetail(
        known=True,
        running=as_set(world.running()),
        executing=executing,
        holding=as_set(uid for uid, count in load.items() if count),
        turns=tuple(sorted(load, key=lambda uid: (uid in executing, load[uid], uid))),
        silent=as_set(p.uid for p in world.pods if p.member and p.frozen is Frozen.SILENT),
    )


def see_workers(world: World) -> SeenWorkers:
    """The scheduler's list of workers."""
    listed = tuple(pod.uid for pod in world.pods if pod.member)
    return SeenWorkers((STRANGER, *listed) if world.stranger else listed)


def as_set(uids: Iterable[int]) -> tuple[int, ...]:
    """Without doubles, in order."""
    return tuple(sorted(set(uids)))
