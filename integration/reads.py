"""Reads of the API server over one connection: what waits for a condition looks several times a second.

Starting a kubectl for each look takes processor time from the pods that are waited for.
"""

from __future__ import annotations

import json
import os
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from kubernetes import config
from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Manifest = dict[str, Any]

_SECONDS = 90.0


class ReadError(Exception):
    """What was to be read could not be; the message has the path and the answer."""


def list_objects(namespace: str, resource: str, *, group_version: str, kind: str) -> list[Manifest]:
    """Read all objects of a kind in a namespace, as `kubectl get --output=json` shows them.

    Args:
        namespace: where.
        resource: the plural, as in the URL.
        group_version: such as "apps/v1"; "v1" for the core group.
        kind: which the API server leaves out of the items of a list.

    Raises:
        ReadError: the API server refused it, doesn't know the resource, or gave no answer.
    """
    root = "apis" if "/" in group_version else "api"
    path = f"/{root}/{group_version}/namespaces/{namespace}/{resource}"
    client = _client(os.environ.get("KUBECONFIG"))
    method, url, headers, *_ = client.param_serialize("GET", path, auth_settings=["BearerToken"])
    try:
        answer = client.call_api(method, url, headers, _request_timeout=_SECONDS)
        content = answer.read()
    except (ApiException, HTTPError) as error:
        raise ReadError(f"GET {path}: {error}") from error
    if answer.status != HTTPStatus.OK:
        raise ReadError(f"GET {path}: {answer.status} {content.decode(errors='replace')}")
    items: list[Manifest] = json.loads(content)["items"]
    for item in items:
        item["metadata"].pop("managedFields", None)
    return [{"apiVersion": group_version, "kind": kind, **item} for item in items]


@cache
def _client(kubeconfig: str | None) -> ApiClient:
    return config.new_client_from_config(kubeconfig)
