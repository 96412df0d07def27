"""Which manifests of other projects the examples are checked against."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from integration.cluster import definitions
from integration.keda import installation

if TYPE_CHECKING:
    from pathlib import Path


def test_kedas_manifests_are_of_the_version_that_is_built() -> None:
    go_mod = (installation.MODULE / "go.mod").read_text()
    (built,) = re.findall(r"^(?:require |\t)github\.com/kedacore/keda/v2 (v\S+)", go_mod, re.MULTILINE)
    assert definitions.MODULES["keda"][0] == f"github.com/kedacore/keda/v2@{built}"


def test_what_is_there_is_not_downloaded_again(tmp_path: Path) -> None:
    definitions.folder(tmp_path).mkdir(parents=True)
    assert definitions.provide(tmp_path) == definitions.folder(tmp_path)
