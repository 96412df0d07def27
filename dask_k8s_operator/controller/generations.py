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
        self._told: dict[ClusterKey, tuple[str, int, str | None]] = {}

    def tell(self, key: ClusterKey, *, uid: str, generation: int, deleted: str | None) -> bool:
        """Take what an event says; gives whether the last one said something else.

        It counts even where that told of a later generation: a database that was restored goes back, too.

        Args:
            key: whom it is about.
            uid: of the Cluster.
            generation: of its spec.
            deleted: since when it is being deleted, if it is.
        """
        before, self._told[key] = self._told.get(key), (uid, generation, deleted)
        return before != self._told[key]

    def forget(self, key: ClusterKey) -> None:
        """The Cluster is gone."""
        self._told.pop(key, None)

    def newer_than(self, key: ClusterKey, *, uid: str, generation: int) -> int | None:
        """The generation that an event has told of, where that is later than one that was read; otherwise None."""
        told_uid, told, _ = self._told.get(key, (uid, generation, None))
        return told if told_uid == uid and told > generation else None
