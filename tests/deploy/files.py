"""The files of `deploy/` and `example/`, and what stands where in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "base"
EXAMPLE = ROOT / "example" / "base"

Json = dict[str, Any]
"""An object of Kubernetes, or a part of one."""


def documents(path: Path) -> list[Json]:
    """All objects of a file."""
    return list(yaml.safe_load_all(path.read_text()))


def of_kind(path: Path, kind: str) -> Json:
    """The first of the kind, which is the main one."""
    return next(document for document in documents(path) if document["kind"] == kind)


def find(document: Any, path: str) -> Any:
    r"""What a kustomize field path (`\/` stands for a slash in a name) or a JSON pointer leads to, or None."""
    for part in path.replace(r"\/", "\0").strip("/").split("/"):
        name = part.replace("\0", "/")
        if isinstance(document, list):
            document = document[int(name)] if int(name) < len(document) else None
        else:
            document = (document or {}).get(name)
    return document
