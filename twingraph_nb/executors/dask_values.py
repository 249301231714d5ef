"""Results that stay on a Dask cluster, and what stands for them among inputs."""

from __future__ import annotations

from typing import Protocol

from distributed import Future

from twingraph_nb.executors.base import RemoteValue

__all__ = ["DaskValue", "Hole"]


class Place(Protocol):
    """The cluster that a value is on."""

    address: str

    async def fetch(self, value: DaskValue) -> object: ...


class Hole(bytearray):
    """Stands for a remote value among the frames of a job's inputs."""

    value: DaskValue


class DaskValue(RemoteValue):
    """A result that stays on the cluster."""

    __slots__ = ("future", "link", "tag")

    def __init__(self, link: Place, future: Future, tag: int, size: int) -> None:
        super().__init__(f"Dask at {link.address}", f"{size:,} bytes on Dask at {link.address}")
        self.link, self.future, self.tag = link, future, tag

    async def fetch(self) -> object:
        return await self.link.fetch(self)
