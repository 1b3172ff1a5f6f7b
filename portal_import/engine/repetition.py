"""Asking a portal again for what may pass by itself, as politely as it asks for it (RFC 9110, 10.2.3)."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from db.models import LogLevel
from portal_import.engine.errors import PassingError, VisitError
from portal_import.outcomes import Limits

PASSING_STATUSES = frozenset({429, 502, 503, 504})
RESTING_STATUSES = frozenset({429, 503})
FIRST_RETRY_SECONDS = 1.0

T = TypeVar("T")
Report = Callable[[LogLevel, str], None]


class Repetition:
    """Repeats requests that change nothing. `attempts` counts the repetitions."""

    def __init__(self, limits: Limits, *, report: Report, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.attempts = 0
        self._limits = limits
        self._report = report
        self._sleep = sleep

    async def run(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` brings, which is called again after each PassingError until there were enough."""
        attempt = 0
        while True:
            try:
                return await ask()
            except PassingError as error:
                if attempt == self._limits.max_retries:
                    raise
                wait = self._seconds_before_retry(error, attempt)
                self._report(LogLevel.WARNING, f"{error}; trying again in {wait:.0f} seconds")
                await self._sleep(wait)
            attempt += 1
            self.attempts += 1

    def _seconds_before_retry(self, error: PassingError, attempt: int) -> float:
        limit = self._limits.max_retry_wait_seconds
        if error.wait_seconds is None:
            return min(FIRST_RETRY_SECONDS * 2**attempt, limit)
        if error.wait_seconds > limit:
            # Coming back sooner than asked would be impolite, and most likely in vain.
            message = f"{error} and asked to come back in {error.wait_seconds:.0f} seconds"
            raise VisitError(message, detail=error.detail, cause=error.cause) from error
        return error.wait_seconds


def read_retry_after(value: str, date: str) -> float | None:
    """A Retry-After header in seconds. Dates are read against the portal's own clock, its Date header."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    until = _parse_http_date(value)
    if until is None:
        return None
    now = _parse_http_date(date) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _parse_http_date(value: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
