"""From a worker that was chosen to a pod that is deleted: one step a look, and what a crash in between does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_k8s_operator.domain.actions import Retire
from dask_k8s_operator.domain.planner import plan
from dask_k8s_operator.domain.snapshot import RetireCalls
from tests.unit.builders import (
    DOWN,
    NOW,
    address,
    addresses,
    asked,
    at,
    condition,
    created,
    decide,
    deleted,
    entry,
    follow,
    of_kind,
    peers,
    pod,
    pods,
    remembered,
    snapshot,
    workers,
)


def test_the_whole_way() -> None:
    """Chosen and written down, asked for, answered, gone from the list, deleted, forgotten."""
    seen = snapshot(pods("abc"), replicas=2, scheduler=workers("abc"))
    chosen = plan(seen, NOW)
    assert chosen.actions == (Retire(addresses("c"), "c: more workers than the 2 wanted"),)
    assert remembered(chosen) == {"c": entry("c", since=0, asked=0, peers=peers("ab"))}

    answering = follow(seen, chosen, calls=RetireCalls(in_flight=addresses("c")))
    waiting = plan(answering, at(5))
    assert (waiting.status, waiting.actions) == (None, ())

    answering = replace(answering, calls=RetireCalls(moved=addresses("c")), scheduler=workers("ab"))
    left = plan(answering, at(60))
    assert deleted(left) == ["c"]
    assert remembered(left)["c"].moved, "remembered until it is seen that the pod is going"

    going = (*pods("ab"), pod("c", terminating=True))
    gone = plan(follow(answering, left, calls=RetireCalls(), worker_pods=going), at(61))
    assert (list(remembered(gone)), gone.actions) == (["c"], ())
    gone = plan(follow(answering, gone, calls=RetireCalls(), worker_pods=pods("ab")), at(62))
    assert (remembered(gone), gone.actions) == ({}, ())


def test_it_is_written_down_with_the_question_that_goes_out_after_it() -> None:
    """A crash between the two must leave an entry that counts as asked: it might have been."""
    decided = decide(pods("ab"), replicas=1, scheduler=workers("ab"))
    assert asked(decided) == addresses("b")
    written = remembered(decided)["b"]
    assert (written.asked, written.attempts, written.addresses) == (NOW, 1, (address("b"),))


def test_several_are_asked_for_in_one_call() -> None:
    """Calls that overlap can leave a worker stuck: unable to take tasks, and not retired."""
    decided = decide(pods("abcd"), replicas=1, scheduler=workers("abcd"))
    [action] = of_kind(Retire, decided.actions)
    assert action == Retire(addresses("bcd"), "b, c, d: more workers than the 1 wanted")
    assert str(action) == (
        "retire tcp://10.0.0.100:9000, tcp://10.0.0.98:9000, tcp://10.0.0.99:9000: "
        "b, c, d: more workers than the 1 wanted"
    )


def test_while_a_call_is_out_nobody_else_is_asked_for() -> None:
    calls = RetireCalls(in_flight=addresses("d"))
    retiring = [entry("c", asked=-600), entry("d", asked=-1)]
    decided = decide(pods("abcd"), replicas=1, scheduler=workers("abcd"), retiring=retiring, calls=calls)
    assert asked(decided) == frozenset()
    assert remembered(decided)["b"].asked is None
    assert remembered(decided)["c"].asked == at(-600)


@pytest.mark.parametrize(
    ("attempts", "waits"),
    [(1, 5), (2, 10), (3, 20), (4, 30), (5, 30), (5000, 30)],
)
def test_refused_it_is_asked_for_again_later_and_later(attempts: int, waits: int) -> None:
    def again(since_asked: float) -> frozenset[str]:
        late = entry("b", asked=-since_asked, attempts=attempts, peers=peers("a"), refused=True)
        return asked(decide(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=[late]))

    assert again(waits - 1) == frozenset()
    assert again(waits) == addresses("b")


def test_each_question_counts() -> None:
    late = entry("b", asked=-60, attempts=3, peers=peers("a"), refused=True, addresses=("tcp://old:1",))
    decided = decide(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=[late])
    assert remembered(decided)["b"] == entry("b", asked=0, attempts=4, peers=peers("a"))


class TestRefused:
    """The answer left the worker out: nobody can take its data, or it holds an actor."""

    def test_it_stays_and_the_condition_says_which_and_what_to_do(self) -> None:
        retiring = [entry("b", asked=-1, peers=peers("a"))]
        calls = RetireCalls(refused=addresses("b"))
        decided = decide(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=retiring, calls=calls)
        assert decided.actions == ()
        assert remembered(decided)["b"].refused
        message = (
            "the scheduler found nobody to take the data of b, so they stay: release what they hold "
            "(delete or gather the futures, close actors), or scale up"
        )
        assert condition(decided, "ScaleDownBlocked") == ("True", "DataHeld", message)

    @pytest.mark.parametrize(
        ("others_then", "others_now", "again"), [("a", "a", ""), ("a", "ac", "b"), ("ac", "a", "b")]
    )
    def test_it_is_asked_for_at_once_when_there_are_others(self, others_then: str, others_now: str, again: str) -> None:
        late = entry("b", asked=-1, peers=peers(others_then), refused=True, attempts=6)
        seen = pods(others_now + "b")
        decided = decide(seen, replicas=len(seen) - 1, scheduler=workers(others_now + "b"), retiring=[late])
        assert asked(decided) == addresses(again)

    def test_an_unanswered_one_is_not_asked_for_early(self) -> None:
        """The first call may still be at work in the scheduler: only a refusal shows that it has ended."""
        late = entry("b", asked=-1, peers=peers("a"))
        assert asked(decide(pods("abc"), replicas=2, scheduler=workers("abc"), retiring=[late])) == frozenset()

    def test_another_one_on_its_way_out_is_nobody_who_could_take_data(self) -> None:
        late = entry("b", asked=-1, peers=peers("a"), refused=True)
        leaving = entry("c", asked=-1, peers=peers("a"))
        decided = decide(pods("abc"), replicas=1, scheduler=workers("abc"), retiring=[late, leaving])
        assert asked(decided) == frozenset()

    def test_one_of_its_workers_is_enough(self) -> None:
        two = (address("b"), address("b", 9001))
        calls = RetireCalls(moved=frozenset(two[:1]), refused=frozenset(two[1:]))
        retiring = [entry("b", asked=-1, addresses=two, peers=peers("a"))]
        decided = decide(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=retiring, calls=calls)
        assert remembered(decided)["b"].refused


class TestEverybodyHasToGo:
    """Down to 0: somebody has to take the data of the others."""

    def test_all_but_one_are_asked_for_first(self) -> None:
        decided = decide(pods("abc"), replicas=0, scheduler=workers("abc"))
        assert len(asked(decided)) == 2
        assert len(remembered(decided)) == 3

    def test_the_last_one_has_its_turn(self) -> None:
        decided = decide(pods("a"), replicas=0, scheduler=workers("a"), retiring=[entry("a")])
        assert asked(decided) == addresses("a")

    def test_a_worker_that_stays_for_another_reason_can_take_it_all(self) -> None:
        decided = decide(pods("ab"), replicas=0, scheduler=workers("abz"))
        assert asked(decided) == addresses("ab")


class TestAnswers:
    """What the scheduler said, and whether the worker is still in its list."""

    @pytest.mark.parametrize(
        ("calls", "listed", "goes"),
        [
            (RetireCalls(moved=addresses("b")), "a", True),
            # Listed in the answer, and registered: an earlier process, or it hasn't closed yet.
            (RetireCalls(moved=addresses("b")), "ab", False),
            (RetireCalls(refused=addresses("b")), "ab", False),
            # No answer, but gone: the answer was lost, and it left before it was sent.
            (RetireCalls(), "a", True),
            (RetireCalls(), "ab", False),
        ],
    )
    def test_deletion(self, calls: RetireCalls, listed: str, *, goes: bool) -> None:
        retiring = [entry("b", asked=-1, peers=peers("a"))]
        decided = decide(pods("ab"), replicas=1, scheduler=workers(listed), retiring=retiring, calls=calls)
        assert deleted(decided) == (["b"] if goes else [])

    def test_an_answer_to_the_call_before_says_nothing_while_another_is_out(self) -> None:
        calls = RetireCalls(in_flight=addresses("b"), moved=addresses("b"))
        seen = snapshot(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=[entry("b", asked=-1)], calls=calls)
        assert not remembered(plan(seen, NOW))["b"].moved

    def test_an_answer_about_others_says_nothing(self) -> None:
        calls = RetireCalls(moved=addresses("c"))
        retiring = [entry("b", asked=-1, peers=peers("a")), entry("d", asked=-1, addresses=())]
        decided = decide(pods("abd"), replicas=1, scheduler=workers("abd"), retiring=retiring, calls=calls)
        assert not any(e.moved or e.refused for e in remembered(decided).values())

    def test_one_that_came_back_at_the_same_address_is_asked_for_again(self) -> None:
        """The container restarted after its data had moved: the process at that address is new, and so is its data."""
        back = entry("b", asked=-5, peers=peers("a"), moved=True)
        decided = decide(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=[back])
        assert deleted(decided) == []
        assert asked(decided) == addresses("b")
        assert not remembered(decided)["b"].moved, "what was said is about another process"


class TestAfterARestart:
    """A new process of the operator knows what the status says, and nothing of the calls of the old one."""

    def test_written_down_but_not_asked_for(self) -> None:
        decided = decide(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=[entry("b")])
        assert asked(decided) == addresses("b")

    def test_asked_for_and_still_there(self) -> None:
        """The old call may be at work in the scheduler: time to end before the next one."""
        retiring = [entry("b", asked=-44, peers=peers("a"))]
        seen = snapshot(pods("ab"), replicas=1, scheduler=workers("ab"), retiring=retiring)
        assert plan(seen, NOW).actions == ()
        assert asked(plan(seen, at(1))) == addresses("b")

    def test_asked_for_and_gone(self) -> None:
        decided = decide(pods("ab"), replicas=1, scheduler=workers("a"), retiring=[entry("b", asked=-4)])
        assert deleted(decided) == ["b"]

    def test_answered_and_gone_but_not_deleted(self) -> None:
        decided = decide(pods("ab"), replicas=1, scheduler=workers("a"), retiring=[entry("b", asked=-4, moved=True)])
        assert deleted(decided) == ["b"]


@pytest.mark.parametrize("moved", [False, True])
def test_with_the_scheduler_unreachable_an_entry_waits(*, moved: bool) -> None:
    """Also one whose data had moved: whether it came back with new data can't be seen."""
    retiring = [entry("b", asked=-600, moved=moved)]
    decided = decide(pods("ab"), replicas=1, scheduler=DOWN, retiring=retiring)
    assert decided.actions == ()
    assert remembered(decided) == {"b": retiring[0]}


def test_entries_stand_in_the_order_of_names() -> None:
    """The same state gives the same status, which is then not written again."""
    decided = decide(pods("cab"), replicas=0, scheduler=workers("abc"))
    assert list(remembered(decided)) == ["a", "b", "c"]


def test_a_second_look_at_the_same_state_changes_nothing() -> None:
    seen = snapshot(pods("abc"), replicas=1, scheduler=workers("abc"))
    first = plan(seen, NOW)
    second = plan(follow(seen, first, calls=RetireCalls(in_flight=asked(first))), at(1))
    assert (second.status, second.actions, created(second)) == (None, (), [])
