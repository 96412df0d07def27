"""The preStop hook of worker pods: hand this pod's data to other workers before its processes are ended.

SIGTERM alone loses a worker's data. So the kubelet runs this first, whoever deletes the pod (`kubectl delete
pod`, a drain, an eviction, preemption), and ends it when the pod's grace period is over or when the worker
has exited, which a retired worker does by itself. It looks this pod's workers up, has the scheduler retire
them, and tries again until they are retired or gone from the list.

- Refused (nobody can take the data yet): again after a pause. The operator starts the replacement pod
  meanwhile, so even the last worker of a cluster finds somebody.
- Not registered: looks twice, since a worker may register between the first look and its SIGTERM.
- Retired: waits up to 20 s until the worker has closed its port. A SIGTERM in the middle of its closing starts a
  second one, and the process can hang then until the grace period ends.
- No connection or no such name, several times in a row: the scheduler is gone, as when the whole cluster is
  being deleted, and there is nobody to hand data to. It has to be several times: a Service without a ready
  scheduler refuses connections for a moment, too. (Workers whose scheduler is gone exit in seconds anyway.)
- Connected, but no answer: the scheduler is busy. Tries for as long as the kubelet lets it.

How this and the operator stay out of each other's way: the operator asks for no worker whose pod is being
deleted, and only then does this run; and `retire_workers` is called without a timeout, so that no call of
this hook overlaps another one of its own. What remains is a pod deleted while the operator's call for it is
under way. If both calls succeed, both list the worker. If both are refused, Dask may put the worker back into
the state that it had when the later call came: closing_gracefully, in which it takes no tasks. That suits a
worker that is about to be ended, and is no obstacle to the next try, which succeeds as soon as another worker
joins.

Runs as `python -c` with nothing but the standard library of Python 3.8 or later. What follows this docstring
is in the manifest of every worker pod; a change to it is a change of all of them.
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


def _attempt() -> str:
    try:
        with OPEN(API + "get_workers", timeout=5) as answer:
            workers = json.load(answer)["workers"]
        own = [w["address"] for w in workers if _own(str(w["name"]), w["address"])]
        if not own:
            return "not registered"
        body = json.dumps({"workers": own}).encode()
        with OPEN(Request(API + "retire_workers", body, {"Content-Type": "application/json"})) as answer:
            return "retired" if set(own) <= set(json.load(answer)) else "refused"
    except HTTPError as error:
        return {404: "API off", 502: "gone", 503: "gone", 504: "gone"}.get(error.code, "failed")
    except URLError:
        return "gone"  # no connection
    except (OSError, HTTPException, ValueError):
        return "busy"  # no answer


if __name__ == "__main__":
    seen = [_attempt()]
    while not ("retired" in seen or seen[-2:] == ["not registered"] * 2 or seen[-6:] == ["gone"] * 6):
        if "API off" in seen:
            sys.exit("no handover: the scheduler's HTTP API is off (distributed.scheduler.http.routes)")
        time.sleep(2)
        seen.append(_attempt())
    for _ in range(100 if seen[-1] in ("retired", "not registered") else 0):
        try:
            create_connection((IP, int(ENV("DASK_WORKER_PORT", ""))), 1).close()
        except (OSError, ValueError):
            break  # closed
        time.sleep(0.2)
