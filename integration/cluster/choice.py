"""Chooses who provides the cluster."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from integration.cluster.existing import Existing
from integration.cluster.k3s import K3s
from integration.cluster.local import Local
from integration.cluster.paths import KUBECONFIG_VARIABLE, Paths
from integration.cluster.progress import say
from integration.cluster.provider import Provider, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def select(
    *,
    paths: Paths | None = None,
    kubeconfig: Path | None = None,
    confirm: Callable[[Sequence[str]], bool] = lambda _: True,
) -> Provider:
    """Choose an existing cluster where asked for, else what is up already, else k3s, else the local node.

    Says of each in one line why it was taken or not.

    Args:
        paths: the cluster's places; this checkout's where not given.
        kubeconfig: asks for the existing cluster that it leads to; so does the environment variable.
        confirm: is shown what is to be installed and built, and says whether to go ahead.

    Raises:
        ProviderError: none can be used here.
    """
    where = paths or Paths.here()
    asked = kubeconfig or asked_kubeconfig()
    local = Local(where, confirm=confirm)
    if asked is not None:
        return _first_usable([Existing(where, asked)])
    say(f"existing: not taken: neither --kubeconfig nor {KUBECONFIG_VARIABLE} asks for it")
    if local.present():
        # Where Docker came later, the node that is there already is still the one to use, and to take down.
        say("local: taken: its node is there already")
        return local
    return _first_usable([K3s(where), local])


def asked_kubeconfig() -> Path | None:
    """The existing cluster that the environment asks for."""
    value = os.environ.get(KUBECONFIG_VARIABLE, "")
    return Path(value) if value else None


def _first_usable(candidates: Sequence[Provider]) -> Provider:
    reasons = []
    for provider in candidates:
        verdict = provider.verdict()
        say(f"{provider.name}: {'taken' if verdict.usable else 'not taken'}: {verdict.reason}")
        if verdict.usable:
            return provider
        reasons.append(f"{provider.name}: {verdict.reason}")
    raise ProviderError("no cluster can be had here; " + "; ".join(reasons))
