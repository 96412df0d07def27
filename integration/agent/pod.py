"""The pod that an agent runs in, and the way to it."""

from __future__ import annotations

from typing import Any

from integration.agent.client import source

NAME = "agent"
_PORT = 8765


def manifest(image: str) -> dict[str, Any]:
    """The agent's pod, within the `restricted` Pod Security Standard.

    Args:
        image: the Dask image of the cluster that it is to connect to.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME},
        "spec": {
            "restartPolicy": "Never",  # what it held would be gone, and a test must notice that
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": NAME,
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-u", "-c", source("program"), str(_PORT)],
                    "workingDir": "/tmp",
                    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def relay(namespace: str) -> list[str]:
    """The command that joins standard input and output to the agent in a namespace."""
    return [
        "kubectl",
        f"--namespace={namespace}",
        "exec",
        "--stdin",
        NAME,
        "--",
        "python3",
        "-u",
        "-c",
        source("relay"),
        str(_PORT),
    ]
