"""What a local node offers to the tests that run on it."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from integration.cluster.components import components, start_component, stop_component
from integration.cluster.images import Builder, dask_image
from integration.cluster.node_plan import PAUSE_IMAGE

if TYPE_CHECKING:
    from integration.cluster_lifecycle.conftest import Cluster

SECONDS = "--timeout=120s"


def apply(cluster: Cluster, manifest: dict[str, Any], tmp_name: str, *more: str, check: bool = True) -> str:
    file = cluster.paths.node / f"{tmp_name}.json"
    file.write_text(json.dumps(manifest))
    return cluster.kubectl("apply", f"--filename={file}", *more, check=check)


@pytest.fixture(scope="module")
def dask(shared: Cluster) -> str:
    """The Dask image, loaded."""
    builder = Builder.here(shared.paths.cache)
    archive = builder.build(dask_image())
    shared.provider.load(str(archive.file))
    return archive.reference


@pytest.fixture(scope="module")
def server(shared: Cluster, dask: str) -> str:
    """A pod of this name with a read-only root file system, that serves files behind the Service `files`."""
    name, labels = "server", {"app": "server"}
    container = {
        "name": "server",
        "image": dask,
        "command": ["python", "-m", "http.server", "8000"],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "resources": {"limits": {"memory": "128Mi", "cpu": "500m"}},
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "files"},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    apply(shared, {"apiVersion": "v1", "kind": "List", "items": [pod, service]}, name)
    shared.kubectl("wait", f"pod/{name}", "--for=condition=Ready", SECONDS)
    # A Service follows its pods a moment later: that it does is what is waited for, not what is tested.
    tries = """\
import time, urllib.request
while True:
    try: urllib.request.urlopen('http://files.default', timeout=5); break
    except OSError: time.sleep(0.1)
"""
    assert shared.command("run", "timeout", "30", "python3", "-c", tries).wait() == 0
    return name


def in_pod(cluster: Cluster, pod: str, code: str) -> str:
    return cluster.kubectl("exec", pod, "--", "python", "-c", code).strip()


FETCH = "import urllib.request; print(urllib.request.urlopen('http://{}', timeout=20).status)"


def test_a_pod_reaches_itself_by_its_services_name(shared: Cluster, server: str) -> None:
    assert in_pod(shared, server, FETCH.format("files")) == "200"


def test_commands_reach_services_by_name_and_pods_by_address(shared: Cluster, server: str) -> None:
    address = shared.kubectl("get", "pod", server, "--output=jsonpath={.status.podIP}")
    for target in ("files.default", "files.default.svc.cluster.local", f"{address}:8000"):
        process = shared.command("run", "python3", "-c", FETCH.format(target))
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "200\n"), errors


def test_a_services_port_is_brought_to_this_machine(shared: Cluster, server: str) -> None:
    """To where this test runs, from which nothing else leads into that node's network."""
    del server
    process = shared.command("forward", "files", "80")
    assert process.stderr is not None
    url = next(line.split()[0] for line in process.stderr if " leads to files in default" in line)
    try:
        assert urllib.request.urlopen(url, timeout=20).status == 200  # noqa: S310 (the one printed)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_logs_are_to_be_had(shared: Cluster, server: str) -> None:
    in_pod(shared, server, FETCH.format("files"))
    assert '"GET / HTTP/1.1" 200' in shared.kubectl("logs", server)


def test_what_the_dask_image_is_for_can_be_imported(shared: Cluster, server: str) -> None:
    modules = "distributed, numpy, pandas, prometheus_client, bokeh"
    assert in_pod(shared, server, f"import os, {modules}; print(os.getuid())") == "1000"


@pytest.mark.parametrize("where", ["pod", "command"])
def test_nothing_leaves_the_node_and_that_is_said_at_once(shared: Cluster, server: str, where: str) -> None:
    # An address that is reserved for documentation, and a name that is reserved for being unknown.
    code = (
        "import socket, time; started = time.monotonic()\n"
        "for place in ('192.0.2.1', 'name.invalid'):\n"
        "    try: socket.create_connection((place, 80), timeout=30)\n"
        "    except OSError: print('refused', end=' ')\n"
        "print(time.monotonic() - started < 5)"
    )
    if where == "pod":
        output = in_pod(shared, server, code)
    else:
        output = shared.command("run", "python3", "-c", code).communicate(timeout=60)[0].strip()
    assert output == "refused refused True"


def test_autoscalers_may_scale_to_zero(shared: Cluster) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "any"}
    metric = {"describedObject": target, "metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "zero"},
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": 0,
            "maxReplicas": 1,
            "metrics": [{"type": "Object", "object": metric}],
        },
    }
    assert "created" in apply(shared, autoscaler, "autoscaler", "--dry-run=server")


def test_rights_are_checked(shared: Cluster) -> None:
    someone = "--as=system:serviceaccount:default:default"
    assert "Forbidden" in shared.kubectl("get", "pods", someone, check=False)
    assert "yes" in shared.kubectl("auth", "can-i", "get", "pods")


def test_pod_security_standards_are_enforced(shared: Cluster) -> None:
    shared.kubectl("create", "namespace", "strict")
    shared.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=restricted")
    refused = shared.kubectl("run", "pod", f"--image={PAUSE_IMAGE}", "--namespace=strict", check=False)
    assert 'violates PodSecurity "restricted' in refused


def test_a_dead_component_is_started_again_and_status_tells(shared: Cluster) -> None:
    before = components(shared.paths)["scheduler"].starts
    stop_component("scheduler", paths=shared.paths)
    assert "scheduler: stopped" in shared.command("status").communicate(timeout=60)[0]
    start_component("scheduler", paths=shared.paths)
    output = shared.command("status").communicate(timeout=60)[0]
    assert f"scheduler: running, started {before + 1} times, last ended: killed by SIGKILL" in output


def test_the_api_server_can_be_away_for_a_while(shared: Cluster, server: str) -> None:
    stop_component("apiserver", paths=shared.paths)
    assert not shared.provider.running()
    assert "refused" in shared.kubectl("get", "pods", check=False)
    start_component("apiserver", paths=shared.paths)
    shared.provider.up()
    assert server in shared.kubectl("get", "pods")


def test_up_lets_stopped_components_run_again(shared: Cluster) -> None:
    stop_component("proxy", paths=shared.paths)
    shared.provider.up()
    assert components(shared.paths)["proxy"].state == "running"


def test_a_commands_exit_status_and_signals_are_its_own(shared: Cluster) -> None:
    process = shared.command("run", "sh", "-c", "echo to out; echo to err >&2; exit 7")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (7, "to out\n")
    assert "to err" in errors
    trap = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
print("ready", flush=True)
time.sleep(60)
"""
    process = shared.command("run", "python3", "-c", trap)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 9
    assert time.monotonic() - started < 10
