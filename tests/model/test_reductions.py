"""Taking some steps in one order only misses nothing: both ways lead to the same ends, over the same states."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.model.canonical import canonical
from tests.model.explore import all_steps, beginnings
from tests.model.reductions import reduced_steps
from tests.model.world import Budget, Rules, Stage
from tests.model.worlds import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.model.scheduler import Step
    from tests.model.world import World

pytestmark = pytest.mark.very_many_cases

SPENT = Budget(0, 0, 0)

WORLDS = [
    Rules(workers=2, keys=1),
    Rules(workers=2, keys=1, user=frozenset({"scale", "delete"})),
    Rules(workers=1, keys=1, crashes=1, user=frozenset({"scale", "delete"})),
    Rules(workers=2, keys=1, copies=2, rpc=False, crashes=1),
    Rules(workers=1, keys=1, faults=1),
    Rules(workers=1, keys=1, split=True, actions=2),
    Rules(workers=1, keys=0, user=frozenset({"edit"}), crashes=1),
    Rules(workers=1, keys=1, user=frozenset({"edit", "scale"})),
    Rules(workers=1, keys=1, pending=1, hook=False, user=frozenset({"scale", "put", "kill"})),
]


def _reachable(rules: Rules, steps: Callable[[World, Rules], Iterator[Step]]) -> dict[object, World]:
    """Every state, but for how much may still happen."""
    found: dict[object, World] = {}
    seen = set()
    waiting = list(beginnings(rules))
    while waiting:
        world = waiting.pop()
        key = (world.unseen, canonical(world))
        if key not in seen:
            seen.add(key)
            found[canonical(world._replace(budget=SPENT))] = world
            waiting += [after for _, after in steps(world, rules)]
    return found


def _ends(found: dict[object, World], rules: Rules) -> set[object]:
    """Those where nothing changes any more once nobody does anything."""
    rules = replace(rules, split=False)
    return {
        key
        for key, world in found.items()
        if all(operator.stage is Stage.IDLE for operator in world.operators)
        and all(canonical(after) == key for _, after in all_steps(world._replace(budget=SPENT), rules))
    }


@pytest.mark.parametrize("rules", [rules for rules in WORLDS if not rules.split], ids=named)
def test_what_is_taken_for_the_same_goes_on_in_the_same_way(rules: Rules) -> None:
    """But for steps that change nothing, like an answer about a pod that is gone."""
    known: dict[object, set[object]] = {}
    waiting = list(beginnings(rules))
    while waiting:
        world = waiting.pop()
        following = [after for _, after in all_steps(world, rules)]
        ways: set[object] = {canonical(after) for after in following}
        ways.discard(canonical(world))
        if canonical(world) not in known:
            known[canonical(world)] = ways
            waiting += following
        assert known[canonical(world)] == ways, str(world)


@pytest.mark.parametrize("rules", WORLDS, ids=named)
def test_the_same_ends_and_no_other_states(rules: Rules) -> None:
    some, every = _reachable(rules, reduced_steps), _reachable(replace(rules, reduced=False), all_steps)
    marked = {key: world for key, world in some.items() if world.operators[0].passes is None}
    assert marked.keys() <= every.keys()
    assert len(some) < len(every)
    assert _ends(some, rules) == _ends(every, rules) != set()
