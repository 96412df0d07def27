"""The long form leaves no request and no fault out; the short one no kind of either."""

from __future__ import annotations

from collections import Counter

from integration.crash_sweep.incidents import (
    ALL,
    CLUSTERS,
    FROZEN,
    HOLDING,
    MINUTES,
    PODS,
    Calm,
    Fault,
    HeldOpen,
    LateEvents,
    LostEvents,
    StaleReads,
    Start,
    Struck,
    StruckAtStart,
    all_incidents,
    delay,
    held_open,
    lags_of_minutes,
    sample,
    sample_of_scheduler,
    stale_reads,
    strikes,
    strikes_at_start,
    watch_troubles,
)
from integration.crash_sweep.kinds import Request, asks_scheduler

READ_POD, WRITE = Request("LIST pods", 1), Request("PATCH clusters/status", 1)
LOOK, RETIRE, TELL = Request("GET get_workers", 1), Request("POST retire_workers", 1), Request("POST events", 1)
DRAIN, WATCH, LEASE = Request("RPC retire_workers", 1), Request("WATCH pods", 1), Request("GET leases", 1)
REQUESTS = (
    Request("GET clusters", 1),
    Request("GET deployments", 1),
    Request("GET services", 1),
    READ_POD,
    LOOK,
    DRAIN,
    Request("RPC retire_workers", 2),
    WRITE,
    TELL,
    RETIRE,
    Request("LIST pods", 2),
    Request("PATCH clusters/status", 2),
    Request("DELETE pods", 1),
    Request("DELETE pods", 2),
)
CALM = Calm(REQUESTS, starting=(LEASE, WATCH, READ_POD, Request("LIST pods", 2), WRITE))
AT_ONCE = [fault for fault in Fault if fault not in HOLDING]


def test_each_request_meets_each_fault_but_a_scheduler_knows_no_conflict() -> None:
    assert strikes([READ_POD, RETIRE]) == [
        *(Struck(READ_POD, fault) for fault in AT_ONCE),
        *(Struck(RETIRE, fault) for fault in AT_ONCE if fault is not Fault.CONFLICT),
    ]


def test_what_is_asked_only_at_the_start_is_struck_there_and_so_are_the_first_reads() -> None:
    found = strikes_at_start(CALM)
    assert {incident.request for incident in found} == {LEASE, WATCH, READ_POD}
    assert {incident.fault for incident in found} == set(AT_ONCE)
    assert not set(found) & {*strikes(CALM.starting)}, "a run that begins otherwise is another incident"


def test_the_first_request_of_each_kind_that_has_workers_go_is_lost_while_it_is_held_open() -> None:
    assert {(found.request, found.fault, found.frozen) for found in held_open(REQUESTS)} == {
        (request, fault, frozen) for request in (DRAIN, RETIRE) for fault in HOLDING for frozen in FROZEN
    }


def test_some_lags_last_for_minutes_and_say_so() -> None:
    found = lags_of_minutes(REQUESTS)
    assert {type(incident) for incident in found} == {StaleReads, LateEvents}
    assert {incident.seconds for incident in found} == {MINUTES}
    assert all(delay(incident) >= MINUTES for incident in found)
    assert delay(LateEvents(PODS)) < MINUTES < delay(StaleReads(WRITE, PODS, from_start=True)), "until it looks anyway"
    assert delay(Start()) == delay(None) == 0


def test_reads_are_stale_from_each_change_on() -> None:
    assert {found.since for found in stale_reads(REQUESTS)} == {
        DRAIN,
        Request("RPC retire_workers", 2),
        WRITE,
        RETIRE,
        Request("PATCH clusters/status", 2),
        Request("DELETE pods", 1),
        Request("DELETE pods", 2),
    }
    assert Counter((found.resources, found.from_start) for found in stale_reads([WRITE])) == {
        (resources, from_start): 1 for resources in (ALL, PODS, CLUSTERS) for from_start in (False, True)
    }


def test_the_event_of_the_scale_down_itself_is_never_lost() -> None:
    for trouble in watch_troubles():
        assert not isinstance(trouble, LostEvents) or "clusters" not in trouble.resources or trouble.first_seen


def test_the_long_form_has_it_all_and_nothing_twice() -> None:
    found = all_incidents(CALM)
    assert set(found) == {
        *strikes(REQUESTS),
        *strikes_at_start(CALM),
        *held_open(REQUESTS),
        *stale_reads(REQUESTS),
        *lags_of_minutes(REQUESTS),
        *watch_troubles(),
    }
    assert all(delay(incident) for incident in found[: len(stale_reads(REQUESTS))]), "what takes longest comes first"
    assert len(found) == len(set(found)) == len({str(incident) for incident in found})


def test_the_sample_is_small_and_has_every_kind_of_everything() -> None:
    chosen = sample(CALM)
    struck = [incident for incident in chosen if type(incident) is Struck]
    assert len(chosen) <= 24
    assert {incident.request.kind for incident in struck} == {request.kind for request in REQUESTS}
    assert {incident.fault for incident in struck} == set(AT_ONCE)
    assert {incident.fault for incident in chosen if isinstance(incident, HeldOpen)} == set(HOLDING)
    kinds = {Struck, StruckAtStart, HeldOpen, StaleReads, LateEvents, LostEvents}
    assert {type(incident) for incident in chosen} == kinds
    assert not set(chosen) & set(lags_of_minutes(REQUESTS))
    for request in (WRITE, RETIRE, DRAIN, Request("DELETE pods", 1)):
        assert {Fault.KILLED_AFTER} < {i.fault for i in struck if i.request == request}
    assert set(chosen) <= set(all_incidents(CALM))


def test_a_part_of_the_sample_is_about_schedulers_alone() -> None:
    chosen = sample_of_scheduler(CALM)
    assert {type(incident) for incident in chosen} == {Struck, HeldOpen}
    assert set(chosen) < set(sample(CALM))
    assert all(asks_scheduler(incident.request.kind) for incident in chosen if isinstance(incident, Struck | HeldOpen))
