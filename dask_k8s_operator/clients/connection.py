"""Where the API server is and who asks it, from a kubeconfig or from the pod that this runs in."""

from __future__ import annotations

import os
from pathlib import Path

from kubernetes.aio import client, config

from dask_k8s_operator.clients.kubernetes import ConfigurationError, KubernetesClient

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


async def connect(kubeconfig: Path | None) -> KubernetesClient:
    """Connect with a kubeconfig file, or as the pod's service account where this runs in a cluster.

    Args:
        kubeconfig: the file; None: the service account of this pod, or else KUBECONFIG or ~/.kube/config.

    Raises:
        ConfigurationError: there is none, or it can't be used.
    """
    settings = client.Configuration()
    try:
        if kubeconfig is None and in_cluster():
            config.load_incluster_config(client_configuration=settings)
        else:
            _check_exists(kubeconfig)
            path = str(kubeconfig) if kubeconfig else None
            await config.load_kube_config(config_file=path, client_configuration=settings)
        # Reads the certificates that the configuration names, so it can fail like the loading.
        return KubernetesClient(client.ApiClient(settings))
    except Exception as error:  # a broken file fails in as many ways as YAML, base64 and TLS have errors
        raise _unusable(kubeconfig, error) from error


def in_cluster() -> bool:
    """Whether this process runs in a pod with a service account."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def default_namespace(kubeconfig: Path | None) -> str:
    """The namespace of this pod, or else of the kubeconfig's current context.

    Raises:
        ConfigurationError: the kubeconfig can't be used.
    """
    if kubeconfig is None and in_cluster():
        return _POD_NAMESPACE.read_text().strip()
    try:
        _check_exists(kubeconfig)
        _, context = config.list_kube_config_contexts(config_file=str(kubeconfig) if kubeconfig else None)
    except Exception as error:  # see `connect`
        raise _unusable(kubeconfig, error) from error
    return str(context["context"].get("namespace", "default"))


def _check_exists(kubeconfig: Path | None) -> None:
    # The client only warns about a missing file, and then stumbles over what isn't in it.
    if not any(Path(path).expanduser().is_file() for path in _source(kubeconfig).split(os.pathsep)):
        raise FileNotFoundError("there is no such file")


def _source(kubeconfig: Path | None) -> str:
    return str(kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config")


def _unusable(kubeconfig: Path | None, error: Exception) -> ConfigurationError:
    # The client trips over a file of another shape, and YAML tells its errors over several lines.
    stumbled = isinstance(error, TypeError | AttributeError | KeyError)
    reason = "it is no kubeconfig" if stumbled else " ".join(str(error).split())
    return ConfigurationError(
        f"can't use the kubeconfig {_source(kubeconfig)}: {reason}. Name a working one with --kubeconfig "
        "or KUBECONFIG, or run inside a cluster with a service account"
    )
