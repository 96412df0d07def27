"""The long form leaves no request and no fault out; the short one no kind of either."""

from __future__ import annotations

from collections import Counter

from integration.crash_sweep.incidents import (
    ALL,
    CLUSTERS,
    PODS,
    Fault,
    LateEvents,
    LostEvents,
    StaleReads,
    Struck,
    all_incidents,
    sample,
    stale_reads,
    strikes,
    watch_troubles,
)
from integration.crash_sweep.kinds import Request

READ_POD, WRITE = Request("LIST pods", 1), Request("PATCH clusters/status", 1)
LOOK, RETIRE, TELL = Request("GET get_workers", 1), Request("POST retire_workers", 1), Request("POST events", 1)
CALM = [
    Request("GET clusters", 1),
    Request("GET deployments", 1),
    Request("GET services", 1),
    READ_POD,
    LOOK,
    WRITE,
    TELL,
    RETIRE,
    Request("LIST pods", 2),
    Request("PATCH clusters/status", 2),
    Request("DELETE pods", 1),
    Request("DELETE pods", 2),
]


def test_each_request_meets_each_fault_but_a_scheduler_knows_no_conflict() -> None:
    assert strikes([READ_POD, RETIRE]) == [
        *(Struck(READ_POD, fault) for fault in Fault),
        *(Struck(RETIRE, fault) for fault in Fault if fault is not Fault.CONFLICT),
    ]


def test_reads_are_stale_from_each_change_on() -> None:
    assert {found.since for found in stale_reads(CALM)} == {
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
    assert set(found) == {*strikes(CALM), *stale_reads(CALM), *watch_troubles()}
    assert len(found) == len(set(found)) == len({str(incident) for incident in found})


def test_the_sample_is_small_and_has_every_kind_of_everything() -> None:
    chosen = sample(CALM)
    struck = [incident for incident in chosen if isinstance(incident, Struck)]
    assert len(chosen) <= 25
    assert {incident.request.kind for incident in struck} == {request.kind for request in CALM}
    assert {incident.fault for incident in struck} == set(Fault)
    assert {type(incident) for incident in chosen} == {Struck, StaleReads, LateEvents, LostEvents}
    for request in (WRITE, RETIRE, Request("DELETE pods", 1)):
        assert {Fault.KILLED_BEFORE, Fault.KILLED_AFTER} < {i.fault for i in struck if i.request == request}
    assert set(chosen) <= set(all_incidents(CALM))
