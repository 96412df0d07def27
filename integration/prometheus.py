"""A real Prometheus that scrapes what ServiceMonitors say, as the Prometheus Operator would have it do."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from integration.cluster import host, node_plan
from integration.cluster.paths import Paths
from integration.kube import TooLate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.kube import Kube, Manifest

_START_SECONDS = 30.0
_POLL_SECONDS = 0.1
_ENDPOINT_FIELDS = {"port", "interval"}
_SPEC_FIELDS = {"selector", "jobLabel", "endpoints"}
# What the Prometheus Operator adds to every series of a ServiceMonitor.
_LABELS = {
    "namespace": "__meta_kubernetes_namespace",
    "service": "__meta_kubernetes_service_name",
    "pod": "__meta_kubernetes_pod_name",
}


def scrape_config(monitor: Manifest, targets: list[Manifest]) -> Manifest:
    """What a ServiceMonitor means, in Prometheus' own terms.

    https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor has the fields'
    meaning. Only those that our examples use are translated.

    Args:
        monitor: the ServiceMonitor.
        targets: what service discovery finds in its namespace, whether it's selected or not.

    Raises:
        ValueError: the ServiceMonitor has another field.
    """
    spec, metadata = monitor["spec"], monitor["metadata"]
    (endpoint,) = spec["endpoints"]
    unknown = {*spec} - _SPEC_FIELDS | {*endpoint} - _ENDPOINT_FIELDS | {*spec["selector"]} - {"matchLabels"}
    if unknown:
        raise ValueError(f"fields of a ServiceMonitor that are not translated: {', '.join(sorted(unknown))}")
    kept = {_service_label(key): value for key, value in spec["selector"]["matchLabels"].items()}
    kept["__meta_kubernetes_endpoint_port_name"] = endpoint["port"]
    return {
        "job_name": f"serviceMonitor/{metadata['namespace']}/{metadata['name']}/0",
        "scrape_interval": endpoint["interval"],
        "static_configs": targets,
        "relabel_configs": [
            *({"action": "keep", "source_labels": [label], "regex": re.escape(v)} for label, v in kept.items()),
            *({"source_labels": [source], "target_label": label} for label, source in _LABELS.items()),
            {"target_label": "job", "source_labels": [_service_label(spec["jobLabel"])], "regex": "(.+)"},
        ],
    }


def discover(kube: Kube) -> list[Manifest]:
    """What a Prometheus would find in a namespace now, labelled as by its `kubernetes_sd_configs`, role `endpoints`.

    Debian's is built without that, so targets that come later are not found.
    """
    found = json.loads(kube.run("get", "services,endpointslices.discovery.k8s.io", "--output=json"))["items"]
    services = {one["metadata"]["name"]: one["metadata"] for one in found if one["kind"] == "Service"}
    targets = []
    for endpoints in (one for one in found if one["kind"] == "EndpointSlice"):
        service = services[endpoints["metadata"]["labels"]["kubernetes.io/service-name"]]
        for endpoint in endpoints["endpoints"]:
            for port in endpoints["ports"]:
                labels = {
                    "__meta_kubernetes_namespace": kube.namespace,
                    "__meta_kubernetes_service_name": service["name"],
                    "__meta_kubernetes_endpoint_port_name": port["name"],
                    "__meta_kubernetes_pod_name": endpoint["targetRef"]["name"],
                }
                labels |= {_service_label(key): value for key, value in service.get("labels", {}).items()}
                targets.append({"targets": [f"{endpoint['addresses'][0]}:{port['port']}"], "labels": labels})
    return targets


def _service_label(key: str) -> str:
    return "__meta_kubernetes_service_label_" + re.sub(r"[^a-zA-Z0-9_]", "_", key)


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs.

    Attributes:
        url: where it is, for pods too.
    """

    url: str

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression now: each series' labels and value."""
        found = self._get("query", query=expression)["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]

    def history(self, expression: str, *, start: float) -> dict[float, float]:
        """The values of an expression that is one series, second by second since `start` (Unix time)."""
        now = time.time()
        found = self._get("query_range", query=expression, start=str(start), end=str(now), step="1")["result"]
        (one,) = found or [{"values": []}]
        return {at: float(value) for at, value in one["values"]}

    def series(self, selector: str) -> list[dict[str, str]]:
        """The labels of the series that a selector finds, of the last minute."""
        found: list[dict[str, str]] = self._get("series", **{"match[]": selector, "start": str(time.time() - 60)})
        return found

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10.0)
        answer.raise_for_status()
        return answer.json()["data"]


@contextmanager
def running(kube: Kube, folder: Path) -> Iterator[Prometheus]:
    """Prometheus on the local node, scraping what the ServiceMonitors of a namespace say of the Services there are now.

    Args:
        kube: the namespace.
        folder: for its data, configuration and log.
    """
    monitors = json.loads(kube.run("get", "servicemonitors", "--output=json"))["items"]
    targets = discover(kube)
    configuration = {"scrape_configs": [scrape_config(monitor, targets) for monitor in monitors]}
    (folder / "prometheus.yaml").write_text(json.dumps(configuration))  # JSON is YAML, too
    listening = f"{node_plan.ADDRESS}:{_free_port()}"
    command = [
        str(host.inspect(Paths.here().cache).program("prometheus")),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={listening}",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
    try:
        prometheus = Prometheus(f"http://{listening}")
        _await_ready(prometheus, process, log)
        yield prometheus
    finally:
        process.kill()
        process.wait()
        print(f"log of Prometheus:\n{log.read_text()}")  # pytest shows it where the test failed


def _await_ready(prometheus: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(prometheus.url):
        if process.poll() is not None or time.monotonic() > deadline:
            state = f"exit status {process.poll()}"
            raise TooLate(f"Prometheus is not ready within {_START_SECONDS:g} s ({state}):\n{log.read_text()}")
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready", timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.create_server((node_plan.ADDRESS, 0)) as server:
        port: int = server.getsockname()[1]
        return port
