"""Random walks through worlds that are too large to see all of."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.explore import beginnings, steps
from tests.model.liveness import Rest
from tests.model.world import Rules, World

RULES = Rules(
    workers=6,
    keys=6,
    actions=6,
    crashes=2,
    faults=2,
    tasks=2,
    user=frozenset({"scale", "delete", "put", "release", "submit", "kill"}),
    split=True,
    stranger=False,
)
BEGINNINGS = list(beginnings(RULES))


class Walk(RuleBasedStateMachine):
    """One step after another, each chosen from all that may come next; then the world is left alone."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World = BEGINNINGS[0]

    @initialize(world=st.sampled_from(BEGINNINGS))
    def begin(self, world: World) -> None:
        self.world = world

    @rule(choices=st.lists(st.integers(0, 2**16), min_size=1, max_size=10))
    def go_on(self, choices: list[int]) -> None:
        for choice in choices:
            possible = list(steps(self.world, RULES))
            self.world = possible[choice % len(possible)][1]

    def teardown(self) -> None:
        Rest(RULES).check(self.world)


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=100, stateful_step_count=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
