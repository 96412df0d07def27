"""What two worlds have in common exactly if they behave alike: names become ranks, versions "still the same"."""

from __future__ import annotations

from typing import Any

from tests.model.world import (
    HOOK,
    STRANGER,
    Action,
    Answer,
    Base,
    Call,
    Member,
    Operator,
    Outcome,
    Process,
    Stage,
    Status,
    Target,
    World,
)


def canonical(world: World) -> tuple[Any, ...]:
    """The same for two worlds exactly if they behave alike."""
    world = _without_old_news(world)
    order = {uid: rank for rank, uid in enumerate(_mentioned(world), start=1)}
    order[STRANGER] = STRANGER
    alive = {pod.uid: pod.rv for pod in world.pods}
    awaited = [a for o in world.operators for a in o.actions if a.kind == "create"] + list(world.late)
    bases = list(dict.fromkeys(a.base for a in awaited))
    names = list(dict.fromkeys(a.name for a in awaited))
    left = {pod.uid for pod in world.pods if pod.process is Process.LEFT} if _all_match(world) else set()
    taken = {pod.name: order[pod.uid] for pod in world.pods if pod.name}

    def base(base: Base | None) -> Any:
        """It matters whether it is that of a request to come, or of a look that could be taken now."""
        if base is None:
            return None
        now = world.rv == base.rv and tuple(order[u] for u in base.uids) if alive.keys() >= set(base.uids) else False
        return (bases.index(base), now, base.missing) if base in bases else now and (now, base.missing)

    def action(action: Action) -> Any:
        if action.kind == "create":
            new = action.template == world.template
            return "create", taken.get(action.name), base(action.base), names.index(action.name), action.limit, new
        if action.kind == "delete":
            still = action.limit < 0 or alive.get(action.uids[0]) == action.limit
            return "delete", order[action.uids[0]] if action.uids[0] in alive else None, still, bool(action.excused)
        return action.kind, tuple(order[u] for u in action.uids), tuple(order[u] for u in action.excused)

    def seen(part: Any) -> Any:
        return part.renamed(order, alive, world) if hasattr(part, "renamed") else part

    return (
        world.replicas,
        _renamed_status(world.status, order, alive, left),
        tuple(
            (
                order[p.uid],
                base(p.base) if len(world.operators) > 1 or world.late or awaited else None,
                p.process,
                p.phase,
                p.member,
                p.restarted,
                p.deleter,
                p.hidden,
                p.alone and p.member is not Member.NO,
                p.template == world.template,
                p.frozen,
            )
            for p in world.pods
        ),
        tuple(sorted(tuple(order[uid] for uid in key) for key in world.keys)),
        tuple(sorted(order[uid] for uid in world.tasks)),
        tuple(
            sorted(
                (
                    c.owner if c.owner < HOOK else HOOK + order[c.owner - HOOK],
                    c.kind,
                    tuple(_target(t, order) for t in c.targets),
                    c.old,
                )
                for c in world.calls
            )
        ),
        tuple(
            (
                o.stage,
                tuple(seen(part) for part in o.seen),
                o.rv == world.rv,
                _renamed_status(o.status, order, alive, left) if o.status else None,
                tuple(sorted(order[u] for u in o.settles)),
                tuple(action(a) for a in o.actions),
                tuple((a.kind, tuple(order[u] for u in a.uids), tuple(order[u] for u in a.listed)) for a in o.answers),
                o.passes,
            )
            for o in world.operators
        ),
        tuple(action(a) for a in world.late),
        world.budget,
    )


def _without_old_news(world: World) -> World:
    """Without what operators have heard, or will, of pods that are gone, unless one has read those and not its calls.

    No plan looks at it: what it learns it learns of pods that are there. Left in, it would grow without an end, since
    an answer may take as long as it likes.
    """
    if any(operator.stage is Stage.PODS for operator in world.operators):
        return world
    there = {pod.uid for pod in world.pods}

    def concerns(part: Call | Answer) -> bool:
        uids = part.uids if isinstance(part, Answer) else [target.uid for target in part.targets]
        return not there.isdisjoint(uids)

    def listens(operator: Operator) -> Operator:
        answers = tuple(answer for answer in operator.answers if concerns(answer))
        named = {uid for answer in answers for uid in answer.uids}
        return operator._replace(answers=answers, settles=operator.settles & named)

    return world._replace(
        calls=tuple(call for call in world.calls if concerns(call)),
        operators=tuple(listens(operator) for operator in world.operators),
    )


def _target(target: Target, order: dict[int, int]) -> Any:
    """Where it would be put back to matters only as long as it may be refused."""
    before = target.before if target.outcome is Outcome.PENDING else Member.NO
    return order[target.uid], before, target.outcome, target.may_interrupt


def _all_match(world: World) -> bool:
    return not world.stranger and not any(pod.hidden for pod in world.pods)


def _renamed_status(status: Status, order: dict[int, int], alive: dict[int, int], left: set[int]) -> Any:
    """The entries; of a worker that has left it doesn't matter when it was asked, as its pod may be deleted."""
    return tuple(
        (order[e.uid], e.since)
        if e.uid in left or e.uid not in alive
        else (
            order[e.uid],
            *e[1:8],
            tuple(order[u] for u in e.peers) if all(u in alive or not u for u in e.peers) else None,
        )
        for e in status.entries
    )


def _mentioned(world: World) -> list[int]:
    uids = {pod.uid for pod in world.pods}
    uids.update(entry.uid for entry in world.status.entries)
    for call in world.calls:
        uids.update(target.uid for target in call.targets)
    for operator in world.operators:
        for part in operator.seen:
            if hasattr(part, "uids"):
                uids.update(part.uids())
        uids.update(operator.settles)
        for action in operator.actions:
            uids.update(action.uids)
        for answer in operator.answers:
            uids.update(answer.uids)
        if operator.status:
            uids.update(entry.uid for entry in operator.status.entries)
    uids.discard(STRANGER)
    return sorted(uids)
