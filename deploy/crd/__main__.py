"""`python -m deploy.crd` writes `deploy/base/crd.yaml` after a change of `deploy/crd/source.yaml`."""

from __future__ import annotations

from deploy.crd import write

write()
