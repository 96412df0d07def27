"""What the last events told of each Cluster's spec, against reads that are older."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_k8s_operator.controller.keys import ClusterKey


class Generations:
    """The generation of each Cluster that the last event told of.

    An API server's reads are consistent, but one that was cut off from its database, or a cache in between, may answer
    from the past. Whoever went by that would see nothing to do, and no further event would come.
    """

    def __init__(self) -> None:
        self._told: dict[ClusterKey, tuple[str, int]] = {}

    def tell(self, key: ClusterKey, *, uid: str, generation: int) -> None:
        """Take what an event says. What it says counts even where an earlier one told of a later generation.

        A database that was restored goes back, too.
        """
        self._told[key] = (uid, generation)

    def forget(self, key: ClusterKey) -> None:
        """The Cluster is gone."""
        self._told.pop(key, None)

    def newer_than(self, key: ClusterKey, *, uid: str, generation: int) -> int | None:
        """The generation that an event has told of, where that is later than one that was read; otherwise None."""
        told_uid, told = self._told.get(key, (uid, generation))
        return told if told_uid == uid and told > generation else None
