"""A Kubernetes API server in the test process: kmock, and the little more that the operator needs of one."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp.web import json_response
from kmock import KubernetesEmulator, KubernetesError, Request, action, method, resource

from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from tests.wire.dask import FakeDask

Where = Callable[[Request], bool]
"""Which requests are meant."""

NAMESPACE = "science"
PATIENCE_SECONDS = 20.0
BY_ITSELF = {"Connection": "close"}
"""For requests of the test's own. A connection that is kept doesn't survive an operator that ends in this process: kopf
cancels all tasks that began after it, also those that serve here, and the next request would wait for ever."""
CLUSTERS = resource(names.GROUP, names.VERSION, names.PLURAL)
PODS, SERVICES, DEPLOYMENTS = resource("v1/pods"), resource("v1/services"), resource("apps/v1/deployments")
EVENTS = resource("v1/events")
AUTOSCALERS = resource("autoscaling/v2/horizontalpodautoscalers")
LEASES = resource("coordination.k8s.io/v1/leases")
KINDS = {
    CLUSTERS: "Cluster",
    PODS: "Pod",
    SERVICES: "Service",
    DEPLOYMENTS: "Deployment",
    EVENTS: "Event",
    AUTOSCALERS: "HorizontalPodAutoscaler",
    LEASES: "Lease",
    resource("v1/namespaces"): "Namespace",  # kopf waits until it has found it, and then doesn't use it
}

_PROXY = re.compile(r"/api/v1/namespaces/([^/]+)/services/http:([^/]+)-scheduler:http-dashboard/proxy(/.*)")
_VERBS = {"get", "list", "watch", "create", "patch", "delete"}


@dataclass
class Fault:
    """What goes wrong with some requests.

    Attributes:
        where: with which.
        carried_out: whether they are carried out all the same.
        error: what they are answered; None: nothing, the connection breaks.
        times: with how many of them.
        past: what they are answered instead of how it is.
        met: how many it went wrong with.
    """

    where: Where
    carried_out: bool
    error: KubernetesError | None
    times: float
    past: Mapping[str, Any] | None = None
    met: int = 0


def of(verb: action, kind: resource) -> Where:
    """The operator's own requests of one sort, dry runs left out."""
    return lambda request: (
        request.action == verb and request.resource == kind and not from_test(request) and not is_dry_run(request)
    )


STATUS = of(action.UPDATE, CLUSTERS)
"""The operator's writes of a Cluster's status."""


def by_kopf(verb: action, kind: resource) -> Where:
    """The watcher's requests of one sort."""
    return lambda request: of(verb, kind)(request) and "kopf" in request.headers["User-Agent"]


def dry_run_of(kind: resource, role: str) -> Where:
    """The operator's questions about objects of a kind and a role."""
    return lambda request: (
        is_dry_run(request)
        and request.resource == kind
        and request_body(request)["metadata"]["labels"][names.LABEL_ROLE] == role
    )


def is_dry_run(request: Request) -> bool:
    """Whether nothing comes of it."""
    return "dryRun" in request.params


def request_body(request: Request) -> dict[str, Any]:
    """What was sent, before it was stamped."""
    body: dict[str, Any] = json.loads(request.body)
    return body


def from_test(request: Request) -> bool:
    """Whether the test made this request, as kubelet, user or controller."""
    return "kmock" in request.headers.get("User-Agent", "")


@attrs.define(kw_only=True)
class ApiServer(KubernetesEmulator):
    """What kmock does, with the metadata that API servers fill in, services/proxy, and requests that fail."""

    dask: FakeDask | None = None
    _faults: list[Fault] = attrs.field(factory=list, init=False)
    _versions: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1), init=False)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        """Serve the kinds that the operator uses."""
        super().__attrs_post_init__()
        for kind, name in KINDS.items():
            self.resources[kind] = {
                "kind": name,
                "singular": name.lower(),
                "namespaced": True,
                "verbs": _VERBS,
                "shortnames": [],
                "categories": [],
                "subresources": [],
            }

    # What a test does to it.

    def refuse(self, where: Where, status: int, message: str = "no", *, times: float = 1) -> Fault:
        """Answer the next of these requests with an error, and don't carry them out."""
        return self._have(
            Fault(where, carried_out=False, error=KubernetesError(status, "Refused", message), times=times)
        )

    def lose_answer(self, where: Where, *, times: float = 1) -> Fault:
        """Carry the next of these requests out, and break the connection instead of answering."""
        return self._have(Fault(where, carried_out=True, error=None, times=times))

    def hang_up(self, where: Where, *, times: float = 1) -> Fault:
        """Break the connection at the next of these requests, which are not carried out."""
        return self._have(Fault(where, carried_out=False, error=None, times=times))

    def tell_of_past(self, kind: resource, name: str, *, times: float = 1) -> Fault:
        """Answer the next of the operator's reads of an object with how it is now, whatever will have changed."""
        past = copy.deepcopy(self.one(kind, name))

        def where(request: Request) -> bool:
            return of(action.FETCH, kind)(request) and request.name == name

        return self._have(Fault(where, carried_out=False, error=None, times=times, past=past))

    def recover(self) -> None:
        """Have nothing go wrong any more."""
        self._faults.clear()

    def add(self, kind: resource, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Have an object before anybody watches."""
        whole: dict[str, Any] = json.loads(json.dumps(manifest))
        self._stamp(whole)
        self._objects[kind, NAMESPACE, whole["metadata"]["name"]] = whole
        return whole

    async def change(self, kind: resource, name: str, change: Mapping[str, Any]) -> None:
        """Change an object as somebody else: the kubelet, a controller, a user."""
        async with self.patch(self.path_of(kind, name), json=change, headers=BY_ITSELF) as answer:
            answer.raise_for_status()

    def path_of(self, kind: resource, name: str) -> str:
        """Where an object is."""
        group = f"/apis/{kind.group}" if kind.group else "/api"
        return f"{group}/{kind.version}/namespaces/{NAMESPACE}/{kind.plural}/{name}"

    async def drop_watches(self, kind: resource) -> None:
        """Tell all who watch that they have missed too much: list again."""
        gone = {"kind": "Status", "code": 410, "metadata": {"namespace": NAMESPACE}}
        await self._buses[kind].put({"type": "ERROR", "object": gone})

    # What a test sees of it.

    def all(self, kind: resource) -> list[dict[str, Any]]:
        """The objects of a kind that are there."""
        return [found.raw for (what, _, _), found in self.objects.items() if what == kind and not found.deleted]

    def one(self, kind: resource, name: str) -> dict[str, Any]:
        """One object."""
        return self.objects[kind, NAMESPACE, name].raw

    def asked(self, verb: action | None = None, kind: resource | None = None) -> list[Request]:
        """The operator's own requests, dry runs left out."""
        return [
            request
            for request in self
            if not from_test(request)
            and not is_dry_run(request)
            and (verb is None or request.action == verb)
            and (kind is None or request.resource == kind)
        ]

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until something holds, looking again after each request.

        Raises:
            AssertionError: it still doesn't, after a time that is long even for a machine that is busy.
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not condition():
            await self.next_request()
            assert asyncio.get_running_loop().time() < deadline, f"still not so: {what}"

    async def next_request(self) -> None:
        """Wait for the next request, but for no longer than a moment: what is waited for may come without one."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), 0.1)

    # What it does.

    async def _handle(self, request: Request) -> web.StreamResponse:
        try:
            fault = next((f for f in self._faults if f.met < f.times and f.where(request)), None)
            if fault is None:
                return await self._carry_out(request)
            fault.met += 1
            if fault.past is not None:
                return json_response(fault.past)
            if fault.carried_out:
                await self._carry_out(request)
            if fault.error is None:
                _break_connection(request)
            raise fault.error or KubernetesError(500, "Nobody", "reads this")
        finally:
            self._news.set()

    async def _carry_out(self, request: Request) -> web.StreamResponse:
        proxied = _PROXY.fullmatch(request.url.path)
        if proxied is not None:
            assert self.dask is not None, "there is no scheduler behind this Service"
            return await self.dask.respond(request.method.value, proxied[3], request.body)
        if is_dry_run(request):
            return json_response(request_body(request), status=201)
        if request.resource == LEASES and request.method == method.PUT:  # which kmock doesn't know
            return json_response(self.add(LEASES, request_body(request)))
        if request.subresource == "scale":
            self._translate_scale(request)
        if request.action == action.UPDATE and isinstance(request.data, list):
            return self._keep_managed_fields(request)
        if request.action in {action.CREATE, action.UPDATE}:
            self._stamp(request.data)
        try:
            return await super()._handle(request)
        except KubernetesError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            raise KubernetesError(error.status, "AlreadyExists", error.message) from error

    def _translate_scale(self, request: Request) -> None:
        """Turn what is written to the scale subresource of a Cluster into a change of the Cluster."""
        metadata = self.one(CLUSTERS, str(request.name))["metadata"]
        if request.data["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise KubernetesError(409, "Conflict", "the object has been modified")
        replicas = request.data["spec"]["replicas"]
        request.data.update(
            metadata={"generation": metadata["generation"] + 1}, spec={"workers": {"replicas": replicas}}
        )

    def _keep_managed_fields(self, request: Request) -> web.StreamResponse:
        """The one JSON patch that there is: it says who has set what of an object that is as it was read."""
        assert request.resource is not None
        fields, version = request.data
        found = self.one(request.resource, str(request.name))
        assert (fields["path"], version["path"]) == ("/metadata/managedFields", "/metadata/resourceVersion")
        if version["value"] != found["metadata"]["resourceVersion"]:
            raise KubernetesError(409, "Conflict", "the object has been modified")
        metadata = {**found["metadata"], "managedFields": fields["value"]}
        return json_response(self.add(request.resource, {**found, "metadata": metadata}))

    def _have(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def _stamp(self, manifest: dict[str, Any]) -> None:
        metadata = manifest.setdefault("metadata", {})
        version = str(next(self._versions))
        metadata["resourceVersion"] = version
        if "name" in metadata:
            metadata.setdefault("uid", f"uid-{version}")
            metadata.setdefault("namespace", NAMESPACE)
            metadata.setdefault("generation", 1)
            metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _break_connection(request: Request) -> None:
    raw = request._raw_request
    if raw is not None and raw.transport is not None:
        raw.transport.abort()
