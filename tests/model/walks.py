"""Random walks through worlds that are too large to see all of."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.explore import all_steps, beginnings
from tests.model.invariants import check_rollout
from tests.model.liveness import Rest
from tests.model.world import Rules, World

RULES = Rules(
    workers=6,
    keys=6,
    actions=6,
    crashes=2,
    faults=2,
    tasks=2,
    user=frozenset({"scale", "delete", "put", "release", "submit", "kill", "edit"}),
    split=True,
)
BEGINNINGS = list(beginnings(RULES))


class Walk(RuleBasedStateMachine):
    """One step after another, each chosen from all that may come next; then the world is left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World = BEGINNINGS[0]

    @initialize(world=st.sampled_from(BEGINNINGS))
    def begin(self, world: World) -> None:
        """Start anywhere."""
        self.world = world

    @rule(choices=st.lists(st.integers(0, 2**16), min_size=1, max_size=10))
    def go_on(self, choices: list[int]) -> None:
        """Take some steps."""
        for choice in choices:
            possible = list(all_steps(self.world, RULES))
            self.world = possible[choice % len(possible)][1]
            check_rollout(self.world, RULES)

    def teardown(self) -> None:
        """See that the world comes to rest."""
        Rest(RULES).check(self.world)


def so_many(examples: int) -> settings:
    """The settings for so many walks, which are the same each time."""
    return settings(
        max_examples=examples,
        stateful_step_count=20,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
