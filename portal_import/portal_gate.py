"""The run's side of a portal's gate: what its accounts ask before they send anything.

The guards themselves are in the database and hold for all runs. This also knows how the portal stood a moment ago,
so that an account that may not go is not even begun, but whatever matters is asked there.
"""

import asyncio

from db.models import ResultCause, ResultStatus
from db.portal_gate import PortalState
from portal_import.batches import Batches
from portal_import.engine.errors import VisitError
from portal_import.ledger import RunLedger, RunPlan
from portal_import.outcomes import AccountOutcome

WITH_RETRY_AFTER = "429 or 503 with Retry-After"
SIGNED_IN_BEFORE = (
    "the run was interrupted after this account's sign-in had been sent, and a run signs in to an account only once;"
    " retry the failed accounts to collect its bills"
)


class SignInForbiddenError(Exception):
    """The account must not be signed in to; `outcome` says why."""

    def __init__(self, outcome: AccountOutcome) -> None:
        super().__init__(outcome.error)
        self.outcome = outcome


class RunGate:
    """One portal's gate, shared by the accounts of a run that are visited side by side.

    A rest that the portal asks for (Retry-After) is waited for, up to `max_rest_seconds`.
    """

    def __init__(self, ledger: RunLedger, plan: RunPlan, *, max_rest_seconds: float) -> None:
        self._ledger = ledger
        self._portal_id = plan.portal_id
        self._host = plan.portal_host
        self._has_spacing = plan.has_request_spacing
        self._max_rest_seconds = max_rest_seconds
        self._turns = Batches[None, float | None](self._reserve_turns)
        self._sign_ins = Batches[int, bool | None](self._begin_sign_ins)
        self._rests_until = 0.0
        self._note(plan.portal_state)

    async def refresh(self) -> None:
        """Learn what other runs have found out about the portal."""
        self._note(await self._ledger.in_thread(self._ledger.read_portal_state, self._portal_id))

    def refuse(self) -> AccountOutcome | None:
        """The outcome of an account that must not be visited now; None when it may."""
        if self._state.breaker_open_until is not None:
            until = f"{self._state.breaker_open_until:%d %b %H:%M} UTC"
            why = f"not tried: {self._host} is left alone until {until}, because {self._state.breaker_reason}"
            return AccountOutcome(ResultStatus.NOT_TRIED, why, cause=ResultCause.BREAKER)
        if self._rest_seconds() > self._max_rest_seconds:
            rest = self._describe_rest()
            return AccountOutcome(ResultStatus.PORTAL_ERROR, rest, WITH_RETRY_AFTER, cause=ResultCause.BUSY)
        return None

    async def wait_for_turn(self) -> None:
        """Return when one request may be sent. Raises VisitError when the portal wants to be left alone for longer."""
        await self._wait_for_end_of_rest()
        while self._has_spacing:
            wait = await self._turns.ask(None)
            if wait == 0:
                return
            await asyncio.sleep(wait or 0)
            await self.refresh()  # meanwhile the portal may have asked for a rest
            if wait is not None and not self._rest_seconds():
                return
            await self._wait_for_end_of_rest()

    async def begin_sign_in(self, account_id: int) -> None:
        """Note that the account's password is sent now.

        Raises SignInForbiddenError when it must not be, and VisitError as `wait_for_turn` does.
        """
        while (is_first := await self._sign_ins.ask(account_id)) is None:
            refusal = self.refuse()
            if refusal is not None and refusal.cause == ResultCause.BREAKER:
                raise SignInForbiddenError(refusal)
            await self._wait_for_end_of_rest()
        if not is_first:
            raise SignInForbiddenError(AccountOutcome(ResultStatus.FAILED, SIGNED_IN_BEFORE))

    async def postpone(self, seconds: float) -> None:
        """Keep all runs from sending anything for that long."""
        self._note(await self._ledger.in_thread(self._ledger.postpone_requests, self._portal_id, seconds))

    async def _wait_for_end_of_rest(self) -> None:
        while (rest := self._rest_seconds()) > 0:
            if rest > self._max_rest_seconds:
                raise VisitError(self._describe_rest(), detail=WITH_RETRY_AFTER, cause=ResultCause.BUSY)
            await asyncio.sleep(rest)
            await self.refresh()

    async def _reserve_turns(self, wanted: list[None]) -> list[float | None]:
        booked = await self._ledger.in_thread(self._ledger.reserve_requests, self._portal_id, len(wanted))
        return [None] * len(wanted) if booked is None else [*booked]

    async def _begin_sign_ins(self, account_ids: list[int]) -> list[bool | None]:
        state, noted = await self._ledger.in_thread(self._ledger.begin_sign_ins, self._portal_id, account_ids)
        self._note(state)
        return [None if noted is None else account_id in noted for account_id in account_ids]

    def _note(self, state: PortalState) -> None:
        self._state = state
        self._rests_until = asyncio.get_running_loop().time() + state.rest_seconds

    def _rest_seconds(self) -> float:
        return max(0.0, self._rests_until - asyncio.get_running_loop().time())

    def _describe_rest(self) -> str:
        until = f"{self._state.retry_after_at:%d %b %H:%M:%S} UTC"
        return f"{self._host} asked to be left alone until {until} (Retry-After)"


class AccountGate:
    """The gate as the engine sees it for one account: see `engine.gate.PortalGate`."""

    def __init__(self, gate: RunGate, account_id: int) -> None:
        self.wait_for_turn = gate.wait_for_turn
        self.postpone = gate.postpone
        self._gate = gate
        self._account_id = account_id

    async def begin_sign_in(self) -> None:
        await self._gate.begin_sign_in(self._account_id)
