"""Serves `custom.metrics.k8s.io` by the rules of a prometheus-adapter, for tests.

It stands in for the adapter itself, whose Go module can't be had, and takes the same rules:
https://github.com/kubernetes-sigs/prometheus-adapter/blob/master/docs/config.md. Of these it knows what our example
uses, and refuses anything else. Every request is answered from Prometheus afresh.
"""

from __future__ import annotations

import json
import re
import ssl
import threading
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from integration.cluster import node_plan
from integration.cluster.command import call

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from integration.kube import Kube, Manifest
    from integration.prometheus import Prometheus

API = "custom.metrics.k8s.io"
VERSION = "v1beta2"
_SERVICE = "metrics-adapter"
_OBJECT = re.compile(rf"/apis/{API}/{VERSION}/namespaces/([^/?]+)/([^/?]+)/([^/?]+)/([^/?]+)")
_TEMPLATE = {"Series", "LabelMatchers", "GroupBy"}


@dataclass(frozen=True)
class Rule:
    """One rule of the adapter's configuration.

    Attributes:
        series_query: finds the series that it is about.
        matches: a pattern for the names of those series.
        name: the metric's name, with `${1}` for the pattern's groups.
        labels: the series' labels by the resource that they name, as in `clusters.dask.charmtx.com`.
        metrics_query: the template of the query for a value.
    """

    series_query: str
    matches: str
    name: str
    labels: Mapping[str, str]
    metrics_query: str

    @classmethod
    def read(cls, rule: Manifest, plurals: Mapping[tuple[str, str], str]) -> Rule:
        """Read a rule as it is written.

        Args:
            rule: the rule.
            plurals: the names that resources have in paths by group and singular name.

        Raises:
            ValueError: it has a field or a template variable that isn't known here.
        """
        unknown = {*rule} - {"seriesQuery", "name", "resources", "metricsQuery"}
        unknown |= {*rule["resources"]} - {"overrides"} | {*rule["name"]} - {"matches", "as"}
        unknown |= {*re.findall(r"<<\.?(.*?)>>", rule["metricsQuery"])} - _TEMPLATE
        if unknown:
            raise ValueError(f"not known to this adapter: {', '.join(sorted(unknown))}")
        overrides = rule["resources"]["overrides"].items()
        return cls(
            series_query=rule["seriesQuery"],
            matches=rule["name"]["matches"],
            name=re.sub(r"\$\{(\d+)\}", r"\\g<\1>", rule["name"]["as"]),
            labels={plurals[one.get("group", ""), one["resource"]]: label for label, one in overrides},
            metrics_query=rule["metricsQuery"],
        )

    def metric(self, series: str) -> str | None:
        """The name of the metric that a series becomes; None where the rule isn't about it."""
        return re.sub(self.matches, self.name, series) if re.search(self.matches, series) else None

    def promql(self, series: str, *, resource: str, namespace: str, name: str) -> str:
        """The query for the value of one object, whose series has this name."""
        matchers = {self.labels["namespaces"]: namespace, self.labels[resource]: name}
        values = {
            "Series": series,
            "LabelMatchers": ",".join(f'{label}="{value}"' for label, value in matchers.items()),
            "GroupBy": self.labels[resource],
        }
        return re.sub(r"<<\.(.*?)>>", lambda found: values[found[1]], self.metrics_query)


class Adapter:
    """Answers requests for metrics by rules."""

    def __init__(self, rules: Sequence[Rule], prometheus: Prometheus) -> None:
        self._rules = rules
        self._prometheus = prometheus

    def answer(self, path: str) -> Manifest | None:
        """The answer to a GET; None where there is nothing."""
        if path.partition("?")[0] == f"/apis/{API}/{VERSION}":
            return self._resources()
        if found := _OBJECT.match(path):
            return self._value(*found.groups())
        return None

    def _resources(self) -> Manifest:
        offered = sorted(
            f"{resource}/{metric}"
            for rule in self._rules
            for _, metric in self._series(rule)
            for resource in rule.labels
            if resource != "namespaces"
        )
        one = {"singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{API}/{VERSION}",
            "resources": [{"name": name, **one} for name in offered],
        }

    def _value(self, namespace: str, resource: str, name: str, metric: str) -> Manifest | None:
        for rule in self._rules:
            for series, offered in self._series(rule):
                if offered == metric and resource in rule.labels:
                    query = rule.promql(series, resource=resource, namespace=namespace, name=name)
                    for labels, value in self._prometheus.query(query):
                        if labels.get(rule.labels[resource]) == name:
                            return _metric_value(namespace, resource, name, metric, value)
        return None

    def _series(self, rule: Rule) -> set[tuple[str, str]]:
        """The series that there are now for a rule, and the metrics that they become."""
        names = {labels["__name__"] for labels in self._prometheus.series(rule.series_query)}
        return {(name, metric) for name in names if (metric := rule.metric(name)) is not None}


def _metric_value(namespace: str, resource: str, name: str, metric: str, value: float) -> Manifest:
    item = {
        "describedObject": {"kind": resource.partition(".")[0], "namespace": namespace, "name": name},
        "metric": {"name": metric},
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "value": f"{round(value * 1000)}m",
    }
    return {"kind": "MetricValueList", "apiVersion": f"{API}/{VERSION}", "metadata": {}, "items": [item]}


@contextmanager
def serving(kube: Kube, rules: Sequence[Manifest], prometheus: Prometheus, folder: Path) -> Iterator[None]:
    """Serve metrics to the API server of the local node, whose autoscalers then see them.

    Args:
        kube: the namespace for the Service.
        rules: as they are written.
        prometheus: where the values come from.
        folder: for the server's key.
    """
    adapter = Adapter([Rule.read(rule, _plurals(kube, rule)) for rule in rules], prometheus)
    host = f"{_SERVICE}.{kube.namespace}.svc"
    key, certificate = folder / "adapter.key", folder / "adapter.crt"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=metrics-adapter"]
    call([*request, "-addext", f"subjectAltName=DNS:{host}", "-keyout", key, "-out", certificate])
    server = ThreadingHTTPServer((node_plan.ADDRESS, 0), _handler(adapter))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        *objects, service = _registration(kube.namespace, server.server_port, certificate.read_bytes())
        kube.apply(*objects, service)
        kube.run("wait", "--for=condition=Available", f"apiservice/{service['metadata']['name']}", "--timeout=60s")
        yield
    finally:
        # As long as it is registered and doesn't answer, no namespace can be deleted.
        kube.delete("apiservice", f"{VERSION}.{API}", "--ignore-not-found")
        server.shutdown()
        server.server_close()


def _plurals(kube: Kube, rule: Manifest) -> dict[tuple[str, str], str]:
    """The names in paths of the resources that a rule names, as the API server tells them."""
    plurals = {("", "namespace"): "namespaces"}
    for override in rule["resources"]["overrides"].values():
        if group := override.get("group", ""):
            found = json.loads(kube.run("get", "--raw", f"/apis/{group}"))["preferredVersion"]["groupVersion"]
            for resource in json.loads(kube.run("get", "--raw", f"/apis/{found}"))["resources"]:
                plurals[group, resource["singularName"]] = f"{resource['name']}.{group}"
    return plurals


def _handler(adapter: Adapter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer: Any = adapter.answer(self.path)
            status = 200 if answer is not None else 404
            if answer is None:
                message = f"there is no {self.path}"
                answer = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}
                answer |= {"reason": "NotFound", "message": message}
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """The API server asks every few seconds."""

    return Handler


def _registration(namespace: str, port: int, certificate: bytes) -> list[Manifest]:
    """A Service that leads to the node, and the APIService for it."""
    metadata = {"name": _SERVICE, "namespace": namespace}
    labels = {"kubernetes.io/service-name": _SERVICE}
    ports = [{"name": "", "port": port, "protocol": "TCP"}]
    endpoints = [{"addresses": [node_plan.ADDRESS], "conditions": {"ready": True}}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 443}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": ports,
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.{API}"},
            "spec": {
                "group": API,
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": b64encode(certificate).decode(),
                "service": metadata,
            },
        },
    ]
