"""The preStop hook of worker pods: hand this pod's data to other workers before its processes are ended.

SIGTERM alone loses a worker's data. So the kubelet runs this first, whoever deletes the pod (`kubectl delete
pod`, a drain, an eviction, preemption), and ends it when the pod's grace period is over or when the worker
has exited, which a retired worker does by itself. It looks this pod's workers up and waits until the scheduler
has let them go:

- The operator sees that the pod is being deleted and has the scheduler retire its workers, usually within a
  second. It asks for one thing after the other, and that matters: while one worker is about to leave, another
  call may have a second worker drop a copy that the first one has, too, and a key is lost (the text of
  `requests` in `domain/handover.py` says how). Hooks of several pods can't agree on an order.
- If the operator hasn't done it within its turn, because it doesn't run or has a long call under way, this asks
  the scheduler by itself; a second later for each worker that stands before it in the scheduler's list, so
  that hooks which were left alone together mostly ask one after the other.
- Refused (nobody can take the data yet): again after a pause. The operator starts the replacement pod
  meanwhile, so even the last worker of a cluster finds somebody.
- Not registered: done once the worker has closed its port, or doesn't listen yet at a second look. A retired
  worker closes by itself. A SIGTERM in the middle of that starts a second closing beside it, and the process can
  hang then until the grace period ends. One that listens is about to register, and may be given data at once. So
  this goes on looking, for up to 20 s.
- No connection or no such name, several times in a row: the scheduler is gone, as when the whole cluster is
  being deleted, and there is nobody to hand data to. It has to be several times: a Service without a ready
  scheduler refuses connections for a moment, too. (Workers whose scheduler is gone exit in seconds anyway.)
- Connected, but no answer: the scheduler is busy. Tries for as long as the kubelet lets it.
- The scheduler's HTTP API is off: the operator has another way, Dask's own port. So this waits until the worker has
  closed its port, and complains if that takes nine tenths of the grace period (of 300 s, if that is longer).

`retire_workers` is called without a timeout, so that no call of this hook overlaps another one of its own. If
it overlaps one of the operator's for the same worker and both are refused, Dask may put the worker back into
the state that it had when the later call came: closing_gracefully, in which it takes no tasks. That suits a
worker that is about to be ended, and is no obstacle to the next try, which succeeds as soon as another worker
joins.

Runs as `python -c` with nothing but the standard library of Python 3.8 or later; its argument is how long the
operator's turn is, in seconds. What follows this docstring is in the manifest of every worker pod; a change to
it is a change of all of them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from http.client import HTTPException
from socket import create_connection
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

ENV = os.environ.get
NAME, IP = ENV("DASK_WORKER_NAME", ""), ENV("DASK_WORKER_ADDRESS", "")
HOST = ENV("DASK_SCHEDULER_ADDRESS", "").split("://")[-1].rsplit(":", 1)[0]
API = (ENV("DASK_SCHEDULER_DASHBOARD") or f"http://{HOST}:8787").rstrip("/") + "/api/v1/"
OPEN = build_opener(ProxyHandler({})).open  # past any proxy


def _own(name: str, address: str) -> bool:
    if NAME and NAME in (name, name.rpartition("-")[0]):  # NAME-0, NAME-1 with --nworkers
        return True
    sibling = name.startswith(NAME.rpartition("-")[0] + "-")  # on this IP with hostNetwork
    return urlsplit(address).hostname == IP and not sibling


def _attempt(since_turn: float) -> str:
    try:
        with OPEN(API + "get_workers", timeout=5) as answer:
            workers = json.load(answer)["workers"]
        own = [w["address"] for w in workers if _own(str(w["name"]), w["address"])]
        if not own:
            return "not registered"
        if since_turn < min([w["address"] for w in workers].index(own[0]), 30):
            return "waiting"
        body = json.dumps({"workers": own}).encode()
        with OPEN(Request(API + "retire_workers", body, {"Content-Type": "application/json"})) as answer:
            return "retired" if set(own) <= set(json.load(answer)) else "refused"
    except HTTPError as error:
        return {404: "API off", 502: "gone", 503: "gone", 504: "gone"}.get(error.code, "failed")
    except URLError:
        return "gone"  # no connection
    except (OSError, HTTPException, ValueError):
        return "busy"  # no answer


def _listening() -> bool:
    try:
        create_connection((IP, int(ENV("DASK_WORKER_PORT", ""))), 1).close()
    except (OSError, ValueError):
        return False
    return True


def _over(seen: list[str]) -> bool:
    last = seen[-1]
    if last == "API off":
        return seen[-2:] == [last] * 2 and not _listening()
    if last == "retired" or (last == "not registered" and (seen[-2:] == [last] * 2 or "waiting" in seen)):
        return seen[-12:] == [last] * 12 or not _listening()
    return seen[-10:] == ["gone"] * 10


if __name__ == "__main__":
    operators_turn = float(sys.argv[1])
    begun, pause = time.monotonic(), 0.5
    turn = begun + operators_turn
    seen = [_attempt(-operators_turn)]
    while not _over(seen):
        if seen[-1] == "API off" and time.monotonic() > begun + 4.5 * operators_turn:
            sys.exit(
                "no handover: the scheduler's HTTP API is off (distributed.scheduler.http.routes), no operator helped"
            )
        time.sleep(pause)
        pause = min(pause * 1.2, 3)
        seen.append("retired" if "retired" in seen else _attempt(time.monotonic() - turn))
        if seen[-1] == "refused":
            turn = time.monotonic() + min(operators_turn, 10)
