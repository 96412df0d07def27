"""What becomes of a world that is left alone: every state that can be reached must come to rest, and a good one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.canonical import canonical
from tests.model.operators import late_steps, operator_steps
from tests.model.surroundings import hook_steps, natural_steps, time_passes
from tests.model.world import Member, Operator, Phase, Pod, Rules, Stage, Violation, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.model.scheduler import Step

ROUNDS = 30
"""How many rounds it may take: in each, time passes, and the operator makes passes until there is nothing to do."""

PASSES = 12
"""How many passes in a row may each change something though no time passes; as many again for each worker of an earlier
template, since they are replaced one after the other."""

_MOST_STEPS = 1000


class Rest:
    """Remembers which worlds were found to come to rest, so that each is waited for once."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._fine: set[int] = set()
        self.longest = 0

    def check(self, world: World) -> None:
        """Wait for the world to come to rest.

        Raises:
            Violation: "stuck", if it doesn't, or not with what the spec asks for.
        """
        seen: dict[int, int] = {}
        path: list[World] = []
        for rounds in range(ROUNDS):
            key = hash(canonical(world))
            if key in self._fine:
                break
            if key in seen:
                # The first of them was as it was before anybody looked; it is the same as the last one but for that.
                for repeated in (*path[seen[key] + 1 :], world):
                    self._check_good(repeated)
                break
            seen[key] = rounds
            path.append(world)
            world = self._round(world)
        else:
            raise Violation("stuck", f"no rest after {ROUNDS} rounds: {world}")
        self.longest = max(self.longest, len(path))
        self._fine.update(seen)

    def _round(self, world: World) -> World:
        """Time passes, then everything happens that can, and the operator makes passes until nothing changes."""
        rules = self._rules
        world = self._settled(time_passes(world))
        for _ in world.pods:
            world = self._exhausted(world, lambda w: hook_steps(w, rules), limit=1)
        world = self._settled(world)
        passes = PASSES * (1 + sum(pod.template != world.template for pod in world.pods))
        for _ in range(passes):
            before = canonical(world)
            for index in range(len(world.operators)):
                world = self._pass(world, index)
            world = self._settled(world)
            if canonical(world) == before:
                return world
        raise Violation("stuck", f"no rest after {passes} passes in a row: {world}")

    def _settled(self, world: World) -> World:
        rules = self._rules
        world = self._exhausted(world, lambda w: late_steps(w, rules))
        return self._exhausted(world, lambda w: natural_steps(w, rules))

    def _pass(self, world: World, index: int) -> World:
        """To the end of the pass that is being made, or through a new one."""

        def due(world: World) -> Iterator[Step]:
            alone: tuple[Operator, ...] = (world.operators[index],)
            for label, after in operator_steps(world._replace(operators=alone), self._rules):
                others = (*world.operators[:index], after.operators[0], *world.operators[index + 1 :])
                yield label, after._replace(operators=others)

        world = self._exhausted(world, due, limit=1)
        while world.operators[index].stage is not Stage.IDLE:
            world = self._exhausted(world, due, limit=1)
        return world

    def _exhausted(self, world: World, steps: Callable[[World], Iterator[Step]], limit: int = _MOST_STEPS) -> World:
        for _ in range(limit):
            _, after = next(steps(world), (None, None))
            if after is None:
                return world
            world = after
        if limit == _MOST_STEPS:
            raise Violation("stuck", f"it goes on and on: {world}")
        return world

    def _check_good(self, world: World) -> None:
        live = [pod for pod in world.pods if not pod.deleter and pod.phase is not Phase.FINISHED]
        leaving = {entry.uid for entry in world.status.entries}
        stays = world.replicas
        if any(pod.hidden for pod in live):
            stays = max(stays, len(live) if world.blocked else stays)
        elif not world.replicas and not world.stranger:
            stays = self._holders(world, live)
        if len(live) != stays:
            raise Violation("stuck", f"{len(live)} workers where {world.replicas} are wanted: {world}")
        if len(live) > world.replicas and not world.blocked:
            raise Violation("stuck", f"no reason told for {len(live) - world.replicas} too many: {world}")
        if len(live) <= world.replicas and world.blocked:
            raise Violation("stuck", f"told to be blocked, and isn't: {world}")
        if any(p.member is not Member.RUNNING and not (p.uid in leaving and p.member) for p in live):
            raise Violation("stuck", f"a worker that should work doesn't: {world}")
        if world.replicas and any(pod.deleter for pod in world.pods):
            raise Violation("stuck", f"a pod can't hand its data over: {world}")

    def _holders(self, world: World, live: list[Pod]) -> int:
        """How many may stay for their data though none are wanted: one, which takes that of the others.

        Unless somebody deletes that one late: of what it took, the others have copies still, which its hook drops its
        own for. Those others have been drained, and Dask knows no way back from there.
        """
        holders = [pod for pod in live if any(pod.uid in key for key in world.keys)]
        late = "delete" in self._rules.user and all(pod.member is Member.CLOSING for pod in holders)
        return len(holders) if late else min(len(holders), 1)
