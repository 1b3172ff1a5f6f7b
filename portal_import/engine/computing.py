"""Bounds the computing that one step of a visit may take, so that no page can hold up the other accounts of a run.

All accounts of a run share one event loop. What a portal sends is read between two waits, and while that lasts
nobody else is served, nor does any timeout strike; and whatever is read there, there may always be a page for which
reading it takes the square of its size. The limit counts the process's computing, not time: a busy machine trips none.
"""

import asyncio
import signal
from collections.abc import Coroutine, Generator
from types import FrameType, coroutine
from typing import Any, TypeVar

from portal_import.engine.errors import VisitError

# A signal that came while an exception could not be raised, as in a destructor, comes again.
_REPEAT_SECONDS = 0.5

T = TypeVar("T")

_limit_of_step: float | None = None


@coroutine
def limit_steps(work: Coroutine[Any, Any, T], seconds: float) -> Generator[asyncio.Future[Any] | None, Any, T]:
    """Await `work`; a VisitError is raised inside it where it computes for longer than that between two waits.

    Only for the main thread, where Python handles signals.
    """
    global _limit_of_step
    signal.signal(signal.SIGVTALRM, _interrupt)
    answer: Any = None
    failure: BaseException | None = None
    while True:
        _limit_of_step = seconds
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds, _REPEAT_SECONDS)
        try:
            waits_for = work.send(answer) if failure is None else work.throw(failure)
        except StopIteration as stop:
            return stop.value
        finally:
            _limit_of_step = None
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        answer = failure = None
        try:
            answer = yield waits_for
        except BaseException as error:  # noqa: BLE001 (a cancellation too is the work's own to handle)
            failure = error


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Python runs this between two instructions and in the middle of a regular expression, but not in lxml's C."""
    if _limit_of_step is not None:
        raise VisitError(
            f"reading what the portal sent took more than {_limit_of_step:g} seconds of computing, so it was given up"
        )
