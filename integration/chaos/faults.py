"""Does to the cluster what the plan says."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from integration.chaos import plan
from integration.chaos.processes import container_id, send
from integration.cluster.components import start_component, stop_component
from integration.dask_cluster import is_terminating
from integration.kube import OPERATOR_LABEL, KubectlError, TooLate

if TYPE_CHECKING:
    from integration.dask_cluster import DaskCluster
    from integration.kube import Kube, Manifest, Objects

_GONE_SECONDS = 60.0
_DRAIN_SECONDS = 60
_DRAIN_GAVE_UP = ("global timeout", "context deadline exceeded")
"""What `kubectl drain` says after its timeout: it was between two tries, or waiting for a pod to go."""

_OUTAGE_ENDS_SECONDS = 60.0
_TEMPLATE_ANNOTATION = "chaos"


class Faults:
    """One Cluster and its operators, to be disturbed.

    Attributes:
        replicas: the number of workers that is wanted now.
    """

    def __init__(self, cluster: DaskCluster, *, node: str, replicas: int) -> None:
        """Disturb a Cluster that runs on this one node."""
        self.replicas = replicas
        self._cluster = cluster
        self._kube: Kube = cluster.kube
        self._node = node
        self._pauses: list[threading.Thread] = []

    def do(self, fault: plan.Fault) -> str:
        """Do it, and say in words what was done.

        Returns when it is under way: nobody waits for what the operator makes of it.
        """
        match fault:
            case plan.Scale(replicas):
                return self._scale(replicas)
            case plan.Delete(victims):
                return self._delete(victims.among(self._workers()))
            case plan.Evict(victims):
                return self._evict(victims.among(self._workers()))
            case plan.EvictInTurn():
                return self._evict_in_turn()
            case plan.Drain(seconds):
                return self._drain(seconds)
            case plan.EndOperators(victims, how):
                return self._end_operators(victims, how)
            case plan.Pause(victims, seconds):
                return self._pause(victims, seconds)
            case plan.StopApiServer(seconds):
                return self._stop_api_server(seconds)
            case plan.ChangeTemplate(value):
                return self._change_template(value)

    @property
    def pausing(self) -> bool:
        """Whether a worker is paused: then whoever sends it data or reads from it waits."""
        return any(pause.is_alive() for pause in self._pauses)

    def calm(self) -> None:
        """Wait until all that goes on in the background is over."""
        for pause in self._pauses:
            pause.join()

    def _scale(self, replicas: int) -> str:
        before, self.replicas = self.replicas, replicas
        self._cluster.scale(replicas)
        return f"scale from {before} to {replicas}"

    def _delete(self, pods: list[str]) -> str:
        if pods:
            self._kube.run("delete", "pod", *pods, "--wait=false", "--ignore-not-found")
        return f"delete {_listed(pods)}"

    def _evict(self, pods: list[str]) -> str:
        answers = [(pod, self._evict_one(pod)) for pod in pods]
        return f"evict {_listed([f'{pod} ({answer})' if answer else pod for pod, answer in answers])}"

    def _evict_one(self, pod: str) -> str:
        """Evict a pod; gives why not, where that is one of the answers that `kubectl drain` deals with."""
        try:
            self._kube.evict(pod)
        except KubectlError as error:
            for answer in ("TooManyRequests", "NotFound"):  # a disruption budget says no, or it is gone already
                if answer in error.stderr:
                    return answer
            raise
        return ""

    def _evict_in_turn(self) -> str:
        done = []
        for pod in sorted(self._workers()):
            if answer := self._evict_one(pod):
                done.append(f"{pod} ({answer})")
                continue
            done.append(pod)
            try:
                self._kube.wait(f"{pod} is gone", partial(_is_gone, pod), timeout=_GONE_SECONDS)
            except TooLate:
                done.append(f"and no further: it was still there after {_GONE_SECONDS:g} s")
                break
        return f"evict one after the other {_listed(done)}"

    def _drain(self, seconds: float) -> str:
        selector = f"dask.charmtx.com/cluster={self._cluster.name},dask.charmtx.com/role=worker"
        names = _listed(self._workers())
        command = ["kubectl", "drain", self._node, f"--pod-selector={selector}", f"--timeout={_DRAIN_SECONDS}s"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as drain:
            try:
                time.sleep(seconds)
            finally:
                # Cordoned for ever, the node would take no replacement, and the last worker could hand over to nobody.
                self._kube.run("uncordon", self._node)
            said, _ = drain.communicate()
        if drain.returncode and not any(words in said for words in _DRAIN_GAVE_UP):
            raise KubectlError(command, said)
        return f"drain the node for {seconds:g} s, with {names}" + (" (drain gave up)" if drain.returncode else "")

    def _end_operators(self, victims: plan.Victims, how: str) -> str:
        pods = self._operators()
        names = victims.among(list(pods))
        if how == "delete":
            self._kube.run("delete", "pod", *names, "--wait=false", "--ignore-not-found")
            return f"delete the operator {_listed(names)}"
        running = {name: container for name in names if (container := container_id(pods[name]))}
        for container in running.values():
            send(container, signal.SIGKILL)
        return f"SIGKILL for the operator {_listed(list(running))}"

    def _pause(self, victims: plan.Victims, seconds: float) -> str:
        pods = {pod["metadata"]["name"]: pod for pod in self._cluster.workers()}
        running = {name: container for name, pod in pods.items() if (container := container_id(pod))}
        names = victims.among(list(running))
        for name in names:
            send(running[name], signal.SIGSTOP)
            pause = threading.Timer(seconds, send, (running[name], signal.SIGCONT))
            pause.start()
            self._pauses.append(pause)
        return f"pause {_listed(names)} for {seconds:g} s"

    def _stop_api_server(self, seconds: float) -> str:
        stop_component("apiserver")
        try:
            time.sleep(seconds)
        finally:
            start_component("apiserver")
        self._kube.wait_for("the API server answers again", self._api_answers, timeout=_OUTAGE_ENDS_SECONDS)
        return f"no API server for {seconds:g} s"

    def _change_template(self, value: int) -> str:
        change = {"metadata": {"annotations": {_TEMPLATE_ANNOTATION: str(value)}}}
        self._cluster.patch({"workers": {"template": change}})
        return f"change the workers' template: annotation {_TEMPLATE_ANNOTATION}={value}"

    def _api_answers(self) -> bool:
        try:
            return self._kube.run("get", "--raw", "/readyz") == "ok"
        except KubectlError:
            return False

    def _workers(self) -> list[str]:
        return [pod["metadata"]["name"] for pod in self._cluster.workers() if not is_terminating(pod)]

    def _operators(self) -> dict[str, Manifest]:
        pods = json.loads(self._kube.run("get", "pods", f"--selector={OPERATOR_LABEL}", "--output=json"))["items"]
        return {pod["metadata"]["name"]: pod for pod in pods if not is_terminating(pod)}


def _is_gone(pod: str, objects: Objects) -> bool:
    return objects.find("Pod", pod) is None


def _listed(names: list[str]) -> str:
    return f"{len(names)}: {', '.join(names)}" if names else "nobody"
