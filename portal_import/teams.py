"""The processes that share a run's accounts, where a portal takes many at once: one process computes on one core.

The first of them leads: it begins and ends the run. The others visit accounts and record their outcomes, under the
same lease and the same gate. At the few places that a portal allows by default, a run stays one process.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from db.errors import LeaseLostError
from portal_import.child import EXIT_CUT_SHORT, EXIT_LEASE_LOST

ACCOUNTS_AT_ONCE_EACH = 32
CUT_SHORT_CODES = (EXIT_CUT_SHORT, -signal.SIGTERM)
LEAST_ACCOUNTS_EACH = 100  # fewer are done before another process would have paid for its start
MOST_PROCESSES = 4

T = TypeVar("T")

logger = logging.getLogger(__name__)


def count_processes(at_once: int, accounts: int) -> int:
    """How many processes so many accounts are worth, of which the portal takes `at_once`."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, at_once // ACCOUNTS_AT_ONCE_EACH, accounts // LEAST_ACCOUNTS_EACH, MOST_PROCESSES))


@dataclass(frozen=True)
class Team:
    """One process's view: its number among `size`. The leader, number 0, knows the process ids of the others."""

    number: int = 0
    size: int = 1
    others: list[int] = field(default_factory=list[int])

    @property
    def is_led_elsewhere(self) -> bool:
        """Whether this process only helps."""
        return self.number > 0

    def share_of(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part: every so-manyth, so that all come to the file's end together."""
        return items[self.number :: self.size]

    def share_of_places(self, places: int) -> int:
        """How many accounts this process visits at once."""
        return -(-places // self.size)

    def wind_up(self) -> None:
        """Have the others end when they have finished the accounts that they are at."""
        for pid in self.others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    async def wait_for_others(self) -> bool:
        """Whether all others have done their part; False when one was cut short.

        Raises LeaseLostError. When one dies, this process dies in the same way: its supervisor tells people how.
        """
        codes = await asyncio.gather(*map(self._wait_for, list(self.others)))
        for code in codes:
            if code == EXIT_LEASE_LOST:
                raise LeaseLostError
            if code not in (0, *CUT_SHORT_CODES):
                if code < 0:
                    os.kill(os.getpid(), -code)
                sys.exit(code)
        return not set(CUT_SHORT_CODES) & set(codes)

    async def _wait_for(self, pid: int) -> int:
        code = await asyncio.to_thread(_collect, pid)
        self.others.remove(pid)  # it may soon be another process's
        return code


def fork_team(size: int, help_along: Callable[[Team], int]) -> Team:
    """The leader's view. Each other process calls `help_along` with its own, and ends with the code that it returns.

    To be called before there is an event loop, a connection or a thread that holds a lock.
    """
    others: list[int] = []
    for number in range(1, size):
        pid = os.fork()
        if pid == 0:
            _end_with(lambda number=number: help_along(Team(number, size)))
        others.append(pid)
    return Team(0, size, others)


def _end_with(work: Callable[[], int]) -> None:
    """End the process with what `work` returns, whatever happens: nothing of the leader's is to run here."""
    code = 1
    try:
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        logger.exception("a process that helped with the run failed")
    finally:
        os._exit(code)


def _collect(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
