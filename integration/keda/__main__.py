"""`python -m integration.keda`: install KEDA on this checkout's cluster, which is up."""

from __future__ import annotations

from integration.cluster.choice import select
from integration.cluster.paths import Paths
from integration.keda.installation import install

if __name__ == "__main__":
    install(select(), Paths.here().cache)
