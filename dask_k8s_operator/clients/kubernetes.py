"""The one module that speaks to the Kubernetes API server: plain JSON in and out, typed errors."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp

from dask_k8s_operator.clients.lease import lead
from dask_k8s_operator.clients.scheduler import Response, TransportError
from dask_k8s_operator.domain import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from kubernetes.aio import client

Manifest = dict[str, Any]

_ALL_CLUSTERS = f"/apis/{names.GROUP}/{names.VERSION}/{names.PLURAL}"
_CLUSTERS = f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{{namespace}}/{names.PLURAL}"
_COLLECTIONS = {
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Pod": "/api/v1/namespaces/{namespace}/pods",
    "Event": "/api/v1/namespaces/{namespace}/events",
}
_AUTOSCALERS = "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
_MERGE_PATCH, _JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
_APPLY = "application/apply-patch+yaml"
_UNFIT = "failed to create typed patch object"
"""So begins the answer to a server-side apply of something that doesn't fit the schema, with a status of 500.

https://github.com/kubernetes/kubernetes/blob/v1.35.4/staging/src/k8s.io/apimachinery/pkg/util/managedfields/internal/structuredmerge.go
"""

_TIMEOUT = 30.0
"""Seconds for one request. Longer than any healthy API server takes, shorter than a person's patience."""


class KubernetesError(Exception):
    """The API server did not do what it was asked."""


class ConfigurationError(KubernetesError):
    """No usable way to the API server is configured; the message says what to set."""


class Unavailable(KubernetesError):
    """No answer: the request may or may not have been carried out, so read before acting again."""


class Refused(KubernetesError):
    """The server answered no; the message is the server's own.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotFound(Refused):
    """There is no such object."""


class Conflict(Refused):
    """Something is not, or no longer, as the request expects: a resourceVersion, a uid, what a quota has counted."""


class AlreadyExists(Conflict):
    """There is an object of that name."""


class Invalid(Refused):
    """The object itself is at fault: 400 or 422."""


_ERRORS: Mapping[int, type[Refused]] = {400: Invalid, 404: NotFound, 409: Conflict, 422: Invalid}


class KubernetesClient:
    """The requests that the operator makes, and no others.

    Every method raises `Unavailable` when no answer came and a kind of `Refused` when the answer was no.
    Reads name no resourceVersion, which makes them consistent: what was written before is seen.
    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def version(self) -> str:
        """The server's version, for a check that it answers."""
        answer = await self._request("GET", "/version")
        return str(answer["gitVersion"])

    async def check_clusters(self, namespace: str | None) -> None:
        """Check that the Clusters of a namespace (None: of all) can be read.

        Raises:
            ConfigurationError: the CustomResourceDefinition is missing, or a permission; says what to apply.
        """
        path = _ALL_CLUSTERS if namespace is None else _CLUSTERS.format(namespace=namespace)
        try:
            await self._request("GET", path, query={"limit": "1"})
        except NotFound as error:
            crd = f"the CustomResourceDefinition {names.PLURAL}.{names.GROUP} is not installed"
            raise ConfigurationError(f"{crd}: kubectl apply -k deploy/") from error
        except Refused as error:
            if error.status == HTTPStatus.UNAUTHORIZED:
                raise ConfigurationError(f"the API server doesn't take the credentials: {error}") from error
            raise ConfigurationError(f"can't read Clusters, apply the RBAC of deploy/: {error}") from error

    async def get_cluster(self, namespace: str, name: str) -> Manifest | None:
        """Read a Cluster; None where there is none."""
        return await self._get(f"{_CLUSTERS.format(namespace=namespace)}/{name}")

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Read a Deployment or Service; None where there is none."""
        return await self._get(f"{_COLLECTIONS[kind].format(namespace=namespace)}/{name}")

    async def list_pods(self, namespace: str, label_selector: str) -> list[Manifest]:
        """Read all pods that the selector picks."""
        path = _COLLECTIONS["Pod"].format(namespace=namespace)
        answer = await self._request("GET", path, query={"labelSelector": label_selector})
        return list(answer["items"])

    async def create(self, manifest: Mapping[str, Any]) -> None:
        """Create a Deployment, Service, Pod or Event; unknown fields are refused instead of dropped in silence."""
        query = {"fieldValidation": "Strict", "fieldManager": names.FIELD_MANAGER}
        await self._request("POST", _collection(manifest), body=manifest, query=query)

    async def try_out(self, manifest: Mapping[str, Any], *, change: bool) -> None:
        """Ask whether an object would be taken, by a strict dry run: nothing comes of it.

        Args:
            manifest: a Deployment, Service or Pod.
            change: the object is there, and this is what it is to become (by server-side apply).
        """
        query = {"dryRun": "All"}
        if change:
            await self._apply(manifest, query)
        else:
            query |= {"fieldValidation": "Strict"}
            await self._request("POST", _collection(manifest), body=manifest, query=query)

    async def apply(self, manifest: Mapping[str, Any]) -> None:
        """Make a Deployment or Service that is there what the manifest says, by server-side apply.

        What only others have set stays; what they have set otherwise doesn't; what was applied before and isn't any
        more goes. With a uid and a resourceVersion in the manifest, it is this object as it was read or a `Conflict`.
        """
        await self._apply(manifest, {})

    async def merge(self, kind: str, namespace: str, name: str, patch: Mapping[str, Any]) -> None:
        """Change the fields of a Deployment or Service that a patch names; uid and resourceVersion as for `apply`."""
        path = f"{_COLLECTIONS[kind].format(namespace=namespace)}/{name}"
        query = {"fieldManager": names.FIELD_MANAGER}
        await self._request("PATCH", path, body=patch, query=query, content_type=_MERGE_PATCH)

    async def set_managed_fields(
        self, kind: str, namespace: str, name: str, entries: Sequence[Mapping[str, Any]], *, resource_version: str
    ) -> None:
        """Say who has set which fields of a Deployment or Service that is still as it was read."""
        path = f"{_COLLECTIONS[kind].format(namespace=namespace)}/{name}"
        body = [
            {"op": "replace", "path": "/metadata/managedFields", "value": entries},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
        ]
        await self._request("PATCH", path, body=body, content_type=_JSON_PATCH)

    async def delete_pod(
        self, namespace: str, name: str, *, uid: str, resource_version: str, grace_seconds: int | None = None
    ) -> None:
        """Delete this very pod, in the state in which it was read; its own grace period counts where none is given."""
        path = f"{_COLLECTIONS['Pod'].format(namespace=namespace)}/{name}"
        conditions = {"uid": uid, "resourceVersion": resource_version}
        grace = {} if grace_seconds is None else {"gracePeriodSeconds": grace_seconds}
        await self._request("DELETE", path, body={"preconditions": conditions, **grace})

    async def patch_cluster_status(
        self, namespace: str, name: str, *, resource_version: str, status: Mapping[str, Any]
    ) -> Manifest:
        """Write the status of a Cluster that is still as it was read."""
        path = f"{_CLUSTERS.format(namespace=namespace)}/{name}/status"
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        return await self._request("PATCH", path, body=body, content_type=_MERGE_PATCH)

    async def scale_cluster(self, namespace: str, name: str, *, replicas: int, resource_version: str) -> None:
        """Set the number of workers of a Cluster that is still as it was read, as autoscalers do."""
        path = f"{_CLUSTERS.format(namespace=namespace)}/{name}/scale"
        body = {"metadata": {"resourceVersion": resource_version}, "spec": {"replicas": replicas}}
        await self._request("PATCH", path, body=body, content_type=_MERGE_PATCH)

    async def delete_cluster(self, namespace: str, name: str, *, uid: str, resource_version: str) -> None:
        """Delete this very Cluster, in the state in which it was read; the garbage collector deletes what it owns."""
        path = f"{_CLUSTERS.format(namespace=namespace)}/{name}"
        conditions = {"uid": uid, "resourceVersion": resource_version}
        await self._request("DELETE", path, body={"preconditions": conditions, "propagationPolicy": "Background"})

    async def list_autoscalers(self, namespace: str) -> list[Manifest]:
        """Read all HorizontalPodAutoscalers."""
        answer = await self._request("GET", _AUTOSCALERS.format(namespace=namespace))
        return list(answer["items"])

    async def count_event(self, namespace: str, name: str, *, count: int, last: str) -> None:
        """Say of an Event that is there that the same happened again."""
        path = f"{_COLLECTIONS['Event'].format(namespace=namespace)}/{name}"
        body = {"count": count, "lastTimestamp": last}
        await self._request("PATCH", path, body=body, content_type=_MERGE_PATCH)

    async def lead(self, namespace: str, lease: str, work: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader, then work; see `clients.lease.lead`."""
        await lead(self._api, namespace=namespace, name=lease, work=work)

    def scheduler_proxy(self, namespace: str, cluster: str) -> ServiceProxy:
        """The way to a scheduler's HTTP API through the API server."""
        service = f"http:{names.scheduler_name(cluster)}:{names.PORT_DASHBOARD[0]}"
        return ServiceProxy(self, f"/api/v1/namespaces/{namespace}/services/{service}/proxy")

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: float = _TIMEOUT,  # noqa: ASYNC109 (the client's own, which closes the connection)
    ) -> tuple[int, bytes]:
        """Send one request; gives the HTTP status and the body whatever the status is."""
        request = await self._api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._api.call_api(*request, _request_timeout=timeout)
            return int(answer.status), bytes(await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer from the API server to {method} {path}: {error!r}") from error

    async def _apply(self, manifest: Mapping[str, Any], query: Mapping[str, str]) -> None:
        how = {**query, "fieldValidation": "Strict", "fieldManager": names.FIELD_MANAGER, "force": "true"}
        path = f"{_collection(manifest)}/{manifest['metadata']['name']}"
        await self._request("PATCH", path, body=manifest, query=how, content_type=_APPLY)

    async def _get(self, path: str) -> Manifest | None:
        try:
            return await self._request("GET", path)
        except NotFound:
            return None

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        status, content = await self.send(method, path, body=body, query=query, content_type=content_type)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR and _message(content).startswith(_UNFIT):
            raise Invalid(_message(content), HTTPStatus.UNPROCESSABLE_ENTITY)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Unavailable(f"{method} {path}: {status} {_message(content)}")
        if status >= HTTPStatus.BAD_REQUEST:
            kind = AlreadyExists if _reason(content) == "AlreadyExists" else _ERRORS.get(status, Refused)
            raise kind(_message(content), status)
        answer: Manifest = json.loads(content)
        return answer


class ServiceProxy:
    """Reaches a scheduler's HTTP API through the API server; a transport for `SchedulerClient`."""

    def __init__(self, kubernetes: KubernetesClient, path: str) -> None:
        self._kubernetes = kubernetes
        self._path = path

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None,
        timeout: float,  # noqa: ASYNC109 (the transport's own, see `Transport`)
    ) -> Response:
        """Send one request to the scheduler."""
        content = json.loads(body) if body is not None else None
        try:
            status, answer = await self._kubernetes.send(method, self._path + path, body=content, timeout=timeout)
        except Unavailable as error:
            raise TransportError(str(error)) from error
        if status >= HTTPStatus.BAD_REQUEST and _is_status(answer):
            # The API server itself answered: no such Service, no endpoints, no permission for services/proxy.
            raise TransportError(f"the API server could not pass it on: {_message(answer)}")
        return Response(status=status, body=answer)


def _collection(manifest: Mapping[str, Any]) -> str:
    return _COLLECTIONS[manifest["kind"]].format(namespace=manifest["metadata"]["namespace"])


def _is_status(content: bytes) -> bool:
    try:
        return bool(json.loads(content)["kind"] == "Status")
    except (ValueError, KeyError, TypeError):
        return False


def _reason(content: bytes) -> str | None:
    """What a Status gives programs; 409 alone says too little.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
    """
    try:
        return str(json.loads(content)["reason"])
    except (ValueError, KeyError, TypeError):
        return None


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content[:500].decode(errors="replace")
