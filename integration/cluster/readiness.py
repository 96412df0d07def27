"""Waits until the local node can be used; a script with the standard library alone that runs in the node's network.

`readiness.py KUBECONFIG SECONDS CONDITION...` ends with status 0 once every condition holds, else with status 1 and, on
standard output, what is still missing.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import time
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

_TICK = 0.1
_DNS = "http://10.99.0.1:8181/ready"
_SERVICE = ("10.96.0.1", 443)


def main() -> None:
    """Poll, until all holds or the time is over."""
    kubeconfig, seconds, *conditions = sys.argv[1:]
    api = _Api(json.loads(Path(kubeconfig).read_text()))
    checks = {"api": api.ready, "node": api.node_ready, "account": api.account_ready, "dns": _dns, "proxy": _proxy}
    deadline = time.monotonic() + float(seconds)
    while missing := [name for name in conditions if not _holds(checks[name])]:
        if time.monotonic() > deadline:
            print(", ".join(missing))
            sys.exit(1)
        time.sleep(_TICK)


class _Api:
    """The API server, as the administrator sees it."""

    def __init__(self, config: Any) -> None:
        cluster = config["clusters"][0]["cluster"]
        self._server = cluster["server"]
        authority = b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)
        self._opener.addheaders = [("Authorization", f"Bearer {config['users'][0]['user']['token']}")]

    def ready(self) -> bool:
        return self._get("/readyz") == b"ok"

    def node_ready(self) -> bool:
        node = json.loads(self._get("/api/v1/nodes/node"))
        return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])

    def account_ready(self) -> bool:
        """Without its service account a namespace takes no pods."""
        return bool(self._get("/api/v1/namespaces/default/serviceaccounts/default"))

    def _get(self, path: str) -> bytes:
        with self._opener.open(self._server + path, timeout=5) as answer:
            return bytes(answer.read())


def _dns() -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(_DNS, timeout=2) as answer:
        return bool(answer.status == 200)


def _proxy() -> bool:
    with socket.create_connection(_SERVICE, timeout=1):
        return True


def _holds(check: Any) -> bool:
    try:
        return bool(check())
    except OSError:
        return False


if __name__ == "__main__":
    main()
