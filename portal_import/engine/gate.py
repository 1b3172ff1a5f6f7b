"""What an engine asks before it sends anything: the guards of the portal, which hold across runs and machines."""

from typing import Protocol


class PortalGate(Protocol):
    """The way to the portal for one account of a run. What a gate raises ends the visit."""

    async def wait_for_turn(self) -> None:
        """Return when one request may be sent. Raises VisitError when the portal is to be left alone for longer."""
        ...

    async def begin_sign_in(self) -> None:
        """Awaited once, right before the first request that carries the password.

        Notes the attempt for good, so that it is the account's only one in this run whatever happens to the process.
        Raises when the account must not be signed in to.
        """
        ...

    async def postpone(self, seconds: float) -> None:
        """The portal has asked (Retry-After) for no requests during that time."""
        ...
