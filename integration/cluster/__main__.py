"""`python -m integration.cluster`."""

from __future__ import annotations

from integration.cluster import hints
from integration.cluster.cli import main

main(prog_name=f"{hints.cluster()} --")
