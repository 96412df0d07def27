"""The model notices wrong planners: every one of these is caught, by the property that is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import EXPLORED
from tests.model import mutations
from tests.model.decisions import forget_decisions
from tests.model.explore import explore
from tests.model.world import Rules
from tests.model.worlds import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SCALE = Rules(workers=2, keys=1)
NO_HOOK = Rules(workers=2, keys=1, hook=False)

CAUGHT = [
    (mutations.asks_before_it_records, SCALE, "not recorded"),
    (mutations.takes_a_refusal_for_success, NO_HOOK, "lost"),
    (
        mutations.trusts_an_old_answer,
        Rules(
            workers=1,
            keys=1,
            hook=False,
            rpc=False,
            stranger=True,
            actions=3,
            user=frozenset({"scale", "kill", "put"}),
        ),
        "lost",
    ),
    (mutations.deletes_when_the_scheduler_is_silent, Rules(workers=2, keys=1, hook=False, faults=1), "lost"),
    (mutations.deletes_registered_workers, NO_HOOK, "lost"),
    (mutations.ignores_strangers, Rules(workers=2, keys=1, hidden=True), "lost"),
    (
        mutations.deletes_any_version,
        Rules(workers=2, keys=1, pending=1, hook=False, actions=2, user=frozenset({"scale", "put"})),
        "lost",
    ),
    (mutations.counts_terminating_pods, Rules(workers=1, keys=1, user=frozenset({"delete"})), "stuck"),
    (mutations.asks_while_a_call_is_under_way, SCALE, "asked twice"),
    (
        mutations.names_pods_at_random,
        Rules(workers=1, keys=0, second=True, hook=False, rpc=False, user=frozenset({"delete"})),
        "too many",
    ),
    (
        mutations.does_not_drain,
        Rules(workers=2, keys=0, tasks=1, actions=2, user=frozenset({"scale", "submit"})),
        "ran twice",
    ),
    (
        mutations.trusts_an_old_drain,
        Rules(workers=1, keys=0, tasks=1, actions=3, user=frozenset({"scale", "submit", "kill"})),
        "ran twice",
    ),
    (mutations.does_not_wait, Rules(workers=1, keys=1), "spins"),
    (
        mutations.forgets_calls_of_the_last_process,
        Rules(workers=2, keys=1, copies=2, rpc=False, crashes=1),
        "lost",
    ),
    (mutations.makes_too_many_at_once, Rules(workers=2, keys=0, user=frozenset({"edit"})), "too many"),
    (mutations.replaces_too_many_at_once, Rules(workers=2, keys=0, user=frozenset({"edit"})), "too few"),
    (mutations.takes_retiring_workers_back, Rules(workers=2, keys=1, actions=2), "stuck"),
]

MOST = 20_000
"""States that are looked at of a world; mistakes are seen long before."""

pytestmark = pytest.mark.very_many_cases


@pytest.fixture(autouse=True)
def _planner_that_changes() -> Iterator[None]:
    forget_decisions()
    yield
    forget_decisions()


@pytest.mark.parametrize("rules", dict.fromkeys(rules for _, rules, _ in CAUGHT), ids=named)
def test_the_right_planner_is_not(rules: Rules, record_property: Callable[[str, object], None]) -> None:
    found = explore(rules, most=MOST)
    record_property(EXPLORED, str(found))
    assert found.violation is None, str(found)


@pytest.mark.parametrize(("mutate", "rules", "kind"), CAUGHT, ids=lambda value: getattr(value, "__name__", ""))
def test_a_wrong_planner_is_noticed(
    monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch], None], rules: Rules, kind: str
) -> None:
    mutate(monkeypatch)
    found = explore(rules, most=MOST)
    assert found.violation is not None, f"not noticed in {found}"
    assert found.violation.kind == kind, str(found)
