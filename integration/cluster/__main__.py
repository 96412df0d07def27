"""`python -m integration.cluster`."""

from __future__ import annotations

from integration.cluster.cli import main

main(prog_name="python -m integration.cluster")
