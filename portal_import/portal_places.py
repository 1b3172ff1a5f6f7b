"""A run's places at its portal, which all runs on all machines share."""

import asyncio
from collections.abc import Callable

from portal_import.batches import Batches
from portal_import.ledger import PortalSlot, RunLedger, RunPlan

POLL_SECONDS = 0.25
KEPT_SECONDS = 1.0  # asking anew for each account would cost two trips to the database


class PortalPlaces:
    """Where a run's accounts get their places; once the run `is_ending`, they are not waited for any more."""

    def __init__(self, ledger: RunLedger, plan: RunPlan, *, is_ending: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._portal_id = plan.portal_id
        self._places = plan.max_concurrent_accounts
        self._is_ending = is_ending
        self._wishes = Batches[None, PortalSlot | None](self._try_to_take)

    async def take(self) -> PortalSlot | None:
        """Wait until a place is free; None when the run is to end before."""
        while not self._is_ending():
            slot = await self._wishes.ask(None)
            if slot is not None:
                return slot
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def give_back(self, slot: PortalSlot) -> None:
        """Let another account, or another run, have the place."""
        await self._ledger.in_thread(self._ledger.free_slot, self._portal_id, slot)

    async def _try_to_take(self, wishes: list[None]) -> list[PortalSlot | None]:
        taken = await self._ledger.in_thread(self._ledger.try_slots, self._portal_id, self._places, len(wishes))
        return [*taken, *[None] * (len(wishes) - len(taken))]


class KeptPlace:
    """A place that is kept from account to account for a moment, and then offered to others."""

    def __init__(self, places: PortalPlaces) -> None:
        self._places = places
        self._slot: PortalSlot | None = None
        self._taken_at = 0.0

    async def take(self) -> bool:
        """Wait for a place, unless one is held; False when the run is to end before there is one."""
        if self._slot is None:
            self._slot = await self._places.take()
            self._taken_at = asyncio.get_running_loop().time()
        return self._slot is not None

    async def offer(self) -> None:
        """Give the place back when it was held for long enough."""
        if asyncio.get_running_loop().time() - self._taken_at >= KEPT_SECONDS:
            await self.give_back()

    async def give_back(self) -> None:
        """Hold nothing any more."""
        slot, self._slot = self._slot, None
        if slot is not None:
            await self._places.give_back(slot)
