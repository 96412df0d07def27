"""Calls that may go on in the scheduler though no answer is awaited: after a restart, over a connection that broke."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_k8s_operator.domain.actions import Drain, Plan, Retire
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.snapshot import Detail, Listed, RetireCalls
from tests.unit.builders import (
    NOW,
    addresses,
    at,
    decide,
    entry,
    follow,
    peers,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)

GB = 10**9


def tells(*, running: str, held: int = 0, silent: str = "") -> Listed:
    """The scheduler's list of `a`, `b` and `c`, and what its RPC port tells; `held` by `c`, others hold something."""
    detail = Detail(
        running=addresses(running),
        executing={},
        held_bytes=dict.fromkeys(addresses("ab"), 1000) | dict.fromkeys(addresses("c"), held),
        closable=(),
        silent=addresses(silent),
    )
    return replace(workers("abc"), detail=detail)


def named(decided: Plan) -> frozenset[str]:
    """The workers that the scheduler is to drain or to retire."""
    return frozenset(a for action in decided.actions if isinstance(action, Drain | Retire) for a in action.addresses)


def who_is_asked_for(scheduler: Listed, c: float, **more: Any) -> str:
    """Of `b` and `c`, which are too many: `c` was asked for so many seconds ago, and `b` never."""
    retiring = [entry("b"), entry("c", asked=-c, attempts=1, peers=peers("a"), **more)]
    found = named(decide(pods("abc"), replicas=1, scheduler=scheduler, retiring=retiring))
    return "".join(name for name in "abc" if addresses(name) <= found)


@pytest.mark.parametrize(
    ("scheduler", "asked_ago", "asked_for"),
    [
        pytest.param(tells(running="ab", held=10 * GB), 40, "", id="10 GB, in the middle"),
        pytest.param(tells(running="ab", held=10 * GB), 1044, "", id="10 GB over a bad network"),
        pytest.param(tells(running="ab", held=10 * GB), 1046, "bc", id="10 GB would have moved by now: it was refused"),
        pytest.param(tells(running="ab", held=1000), 44, "", id="little, but the scheduler may be busy"),
        pytest.param(tells(running="ab", held=1000), 46, "bc", id="little, for long"),
        pytest.param(tells(running="ab", held=10**13), 3599, "", id="whatever it is,"),
        pytest.param(tells(running="ab", held=10**13), 3601, "bc", id="not for ever"),
        pytest.param(tells(running="ab", held=0), 4, "", id="all has moved, by a heartbeat before the call"),
        pytest.param(tells(running="ab", held=0), 6, "bc", id="all has moved"),
        pytest.param(tells(running="abc", held=10 * GB), 4, "", id="it has yet to begin"),
        pytest.param(tells(running="abc", held=10 * GB), 6, "bc", id="refused: it works again"),
        pytest.param(workers("abc"), 44, "", id="only a guess is possible"),
        pytest.param(workers("abc"), 46, "bc", id="only a guess is possible, for long"),
        pytest.param(tells(running="ab", held=10 * GB, silent="c"), 4, "", id="frozen, asked just now"),
        pytest.param(tells(running="ab", held=10 * GB, silent="c"), 6, "b", id="frozen: nobody waits for it"),
        pytest.param(tells(running="ab", held=10 * GB, silent="b"), 6, "", id="another one is frozen"),
    ],
)
def test_nobody_is_asked_for_beside_it(scheduler: Listed, asked_ago: float, asked_for: str) -> None:
    assert who_is_asked_for(scheduler, asked_ago) == asked_for


@pytest.mark.parametrize(
    ("answer", "asked_for"),
    [
        pytest.param({"refused": True}, "bc", id="refused"),
        pytest.param({"moved": True}, "bc", id="retired, and back"),
        pytest.param({"drained": at(-39)}, "b", id="drained"),
        pytest.param({"drained": at(-41)}, "", id="drained, and then asked for once more"),
        pytest.param({"addresses": ("tcp://10.9.9.9:9000",)}, "bc", id="at another address, another process"),
    ],
)
def test_what_was_answered_does_not_go_on(answer: dict[str, Any], asked_for: str) -> None:
    assert who_is_asked_for(tells(running="ab", held=10 * GB), 40, **answer) == asked_for


def test_a_pod_that_somebody_deletes_waits_too() -> None:
    """Its hook does what the operator doesn't get to in time."""
    seen = (*pods("ac"), pod("b", terminating=True))
    moving = tells(running="ab", held=10 * GB)
    assert decide(seen, replicas=1, scheduler=moving, retiring=[entry("c", asked=-40)]).actions == ()


def test_it_is_not_taken_back() -> None:
    moving = tells(running="ab", held=10 * GB)
    decided = decide(pods("abc"), replicas=3, scheduler=moving, retiring=[entry("c", asked=-40, peers=peers("ab"))])
    assert decided.status is None or list(remembered(decided)) == ["c"]


def test_once_it_is_over_the_wedged_worker_and_the_others_are_asked_for_in_one_call() -> None:
    """From the crash to the end: an answer to the new call says what became of `c`."""
    moving = tells(running="ab", held=GB)
    retiring = [entry("c", asked=-40, peers=peers("ab"))]
    seen = snapshot(pods("abc"), replicas=1, scheduler=moving, retiring=retiring)
    waiting = plan(seen, NOW)
    assert waiting.actions == ()
    again = plan(follow(seen, waiting), at(120))
    assert named(again) == addresses("bc")
    drained = RetireCalls(drained=addresses("bc"))
    done = remembered(plan(follow(seen, again, calls=drained), at(121)))
    assert {name: e.drained for name, e in done.items()} == {"b": at(121), "c": at(121)}
