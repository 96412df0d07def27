"""The incident befalls the request it is meant for, once, and the calm run none."""

from __future__ import annotations

from integration.crash_sweep.incidents import (
    ALL,
    CLUSTERS,
    MINUTES,
    PODS,
    SHORT,
    Fault,
    HeldOpen,
    Incident,
    LateEvents,
    LostEvents,
    StaleReads,
    Start,
    Struck,
)
from integration.crash_sweep.kinds import Request
from integration.crash_sweep.run import Answer, Run

READ = "/api/v1/namespaces/a/pods?labelSelector=x"
OLD, NEW = Answer(200, {}, b"old"), Answer(200, {}, b"new")


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _run(incident: Incident | None, clock: Clock | None = None) -> Run:
    return Run(incident, past={READ: OLD}, clock=clock or Clock())


def test_a_calm_run_counts_by_kind_and_has_no_incident() -> None:
    clock = Clock()
    run = _run(None, clock)
    assert run.arrives("LIST pods", {}) is None
    clock.seconds += 2
    assert run.arrives("GET clusters", {}) is None
    assert run.arrives("LIST pods", {}) is None
    assert [(seen.seconds, str(seen.request)) for seen in run.seen] == [
        (0, "LIST pods #1"),
        (2, "GET clusters #1"),
        (2, "LIST pods #2"),
    ]
    assert run.stale_answer("pods", READ) is None
    assert run.event_delay("pods", "7") == 0
    assert not run.loses_event("pods", "MODIFIED")
    assert not _met(run)


def test_the_very_request_is_struck_and_no_other() -> None:
    run = _run(Struck(Request("LIST pods", 2), Fault.CONFLICT))
    assert run.arrives("LIST pods", {}) is None
    assert run.arrives("GET clusters", {}) is None
    assert not _met(run)
    assert run.arrives("LIST pods", {}) is Fault.CONFLICT
    assert _met(run)
    assert run.arrives("LIST pods", {}) is None


def test_reads_tell_of_the_time_before_the_scale_down_for_a_while() -> None:
    clock = Clock()
    run = _run(StaleReads(Request("DELETE pods", 1), PODS, from_start=True), clock)
    run.arrives("LIST pods", {READ: NEW})
    assert run.stale_answer("pods", READ) is None
    assert run.arrives("DELETE pods", {READ: NEW}) is None
    assert not _met(run)
    assert run.stale_answer("clusters", READ) is None
    assert run.stale_answer("pods", "/never/read") is None
    assert run.stale_answer("pods", READ) is OLD
    assert _met(run)
    run.arrives("DELETE pods", {READ: NEW})
    clock.seconds += SHORT + 1
    assert run.stale_answer("pods", READ) is None


def test_events_tell_of_nothing_that_reads_do_not_show_yet() -> None:
    clock = Clock()
    run = _run(StaleReads(Request("DELETE pods", 1), PODS, from_start=True), clock)
    assert run.event_delay("pods", "7") == 0
    run.arrives("DELETE pods", {})
    clock.seconds += 2
    assert run.event_delay("pods", "7") == SHORT - 2
    assert run.event_delay("clusters", "7") == 0
    clock.seconds += SHORT
    assert run.event_delay("pods", "7") == 0


def test_reads_tell_of_the_moment_before_the_change() -> None:
    run = _run(StaleReads(Request("DELETE pods", 1), ALL, from_start=False))
    latest = {READ: NEW}
    run.arrives("DELETE pods", latest)
    latest[READ] = Answer(200, {}, b"newer")
    assert run.stale_answer("pods", READ) is NEW


def test_reads_can_tell_of_the_past_for_minutes() -> None:
    clock = Clock()
    run = _run(StaleReads(Request("DELETE pods", 1), PODS, from_start=True, seconds=MINUTES), clock)
    run.arrives("DELETE pods", {})
    clock.seconds += MINUTES - 1
    assert run.stale_answer("pods", READ) is OLD
    assert run.event_delay("pods", "7") == 1
    clock.seconds += 2
    assert run.stale_answer("pods", READ) is None


def test_a_request_that_is_held_open_counts_once_the_operator_has_lost_it() -> None:
    run = _run(HeldOpen(Request("RPC retire_workers", 1), Fault.CUT_OFF, frozen=0))
    assert run.arrives("LIST pods", {}) is None
    assert run.arrives("RPC retire_workers", {}) is Fault.CUT_OFF
    assert not _met(run)
    run.lost_while_held()
    assert _met(run)


def test_a_start_has_come_about_when_it_begins() -> None:
    assert _met(_run(Start()))


def test_events_are_late() -> None:
    clock = Clock()
    run = _run(LateEvents(PODS), clock)
    assert run.event_delay("clusters", "7") == 0
    assert not _met(run)
    assert run.event_delay("pods", "7") == SHORT
    clock.seconds += 2
    assert run.event_delay("pods", "7") == SHORT - 2, "told of it again"
    assert run.event_delay("pods", "8") == SHORT
    clock.seconds += SHORT
    assert run.event_delay("pods", "7") == 0
    assert _met(run)


def test_events_are_lost_after_the_first_of_each_resource() -> None:
    run = _run(LostEvents(PODS | CLUSTERS, frozenset({"MODIFIED"}), first_seen=1))
    assert not run.loses_event("pods", "MODIFIED")
    assert not run.loses_event("clusters", "MODIFIED")
    assert not run.loses_event("services", "MODIFIED")
    assert not _met(run)
    assert not run.loses_event("pods", "DELETED")
    assert run.loses_event("pods", "MODIFIED")
    assert run.loses_event("clusters", "MODIFIED")
    assert not run.loses_event("services", "MODIFIED")
    assert _met(run)


def _met(run: Run) -> bool:
    return run.met
