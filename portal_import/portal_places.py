"""A run's places at its portal, which all runs on all machines share."""

import asyncio
from collections.abc import Callable

from portal_import.batches import Batches
from portal_import.ledger import PortalSlot, RunLedger

POLL_SECONDS = 0.25


class PortalPlaces:
    """Where a run's accounts get their places; once the run `is_ending`, they are not waited for any more.

    While another run may want them, each place is offered after each account; else asking anew would only cost time.
    """

    def __init__(self, ledger: RunLedger, portal_id: int, places: int, *, is_ending: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._portal_id = portal_id
        self._places = places
        self._is_ending = is_ending
        self.are_wanted = True
        self._wishes = Batches[None, PortalSlot | None](self._try_to_take)
        self._returns = Batches[PortalSlot, None](self._free)

    async def take(self) -> PortalSlot | None:
        """Wait until a place is free; None when the run is to end before."""
        while not self._is_ending():
            slot = await self._wishes.ask(None)
            if slot is not None:
                return slot
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def look_around(self) -> None:
        """Learn whether another run may want the places."""
        self.are_wanted = await self._ledger.in_thread(self._ledger.has_company, self._portal_id)

    async def give_back(self, slot: PortalSlot) -> None:
        """Let another account, or another run, have the place."""
        await self._returns.ask(slot)

    async def _try_to_take(self, wishes: list[None]) -> list[PortalSlot | None]:
        taken = await self._ledger.in_thread(self._ledger.try_slots, self._portal_id, self._places, len(wishes))
        return [*taken, *[None] * (len(wishes) - len(taken))]

    async def _free(self, slots: list[PortalSlot]) -> list[None]:
        await self._ledger.in_thread(self._ledger.free_slots, self._portal_id, slots)
        return [None] * len(slots)


class KeptPlace:
    """A place that is kept from account to account, unless others may want it."""

    def __init__(self, places: PortalPlaces) -> None:
        self._places = places
        self._slot: PortalSlot | None = None

    async def take(self) -> bool:
        """Wait for a place, unless one is held; False when the run is to end before there is one."""
        if self._slot is None:
            self._slot = await self._places.take()
        return self._slot is not None

    async def offer(self) -> None:
        """Let others have the place, if there may be any."""
        if self._places.are_wanted:
            await self.give_back()

    async def give_back(self) -> None:
        """Hold nothing any more."""
        slot, self._slot = self._slot, None
        if slot is not None:
            await self._places.give_back(slot)
