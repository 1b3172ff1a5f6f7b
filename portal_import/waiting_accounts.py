"""The accounts that a run has still to visit; a run of thousands holds only the next few in memory."""

import asyncio
from collections import deque
from collections.abc import Sequence

from db.models import Account
from portal_import.ledger import RunLedger

ACCOUNTS_AT_ONCE = 100


class WaitingAccounts:
    """The accounts that nobody has taken yet. One that was removed from the job meanwhile is passed over."""

    def __init__(self, ledger: RunLedger, account_ids: Sequence[int]) -> None:
        self._ledger = ledger
        self._ids = deque(account_ids)
        self._loaded = deque[Account]()
        self._loading = asyncio.Lock()

    async def take(self) -> Account | None:
        """The next account; None when all are taken."""
        async with self._loading:
            while self._ids and not self._loaded:
                next_ids = [self._ids.popleft() for _ in range(min(ACCOUNTS_AT_ONCE, len(self._ids)))]
                self._loaded.extend(await self._ledger.in_thread(self._ledger.load_accounts, next_ids))
        return self._loaded.popleft() if self._loaded else None
