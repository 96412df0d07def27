"""What holds in every state of a world in which users do nothing but change the template."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.world import Member, Phase, Violation

if TYPE_CHECKING:
    from tests.model.world import Rules, World

HARMLESS = frozenset({"edit", "put", "release"})
"""What users may do without a worker less that works, or more pods, because of it."""


def check_rollout(world: World, rules: Rules) -> None:
    """See that a rollout keeps to its bounds.

    Raises:
        Violation: "too many", with those that are retiring, or "too few" that work.
    """
    if not rules.user <= HARMLESS or rules.pending or len(world.operators) > 1 or rules.late:
        return
    present = [pod for pod in world.pods if not pod.deleter and pod.phase is not Phase.FINISHED]
    if len(present) > world.replicas + rules.surge:
        raise Violation("too many", f"{len(present)} pods during a rollout")
    working = sum(pod.member is Member.RUNNING for pod in present)
    least = world.replicas - (rules.unavailable if rules.surge or rules.unavailable else 1)
    if working < least:
        raise Violation("too few", f"{working} workers work during a rollout")
