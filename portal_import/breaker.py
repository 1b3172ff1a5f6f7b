"""The portal breaker: stops a run before refused sign-ins add up to harm."""

from collections import deque

MAX_REFUSED_IN_A_ROW = 5
WINDOW = 10


class Breaker:
    """Watches the sign-ins of a run; opens after five refusals in a row or over half of the last ten.

    Once open it stays open, whatever sign-ins that were under way still bring.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._last: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0

    def record(self, *, refused: bool) -> None:
        """Note one sign-in that the portal answered; `reason` says from then on why no other may be tried."""
        self._last.append(refused)
        self._in_a_row = self._in_a_row + 1 if refused else 0
        self.reason = self.reason or self._judge()

    def _judge(self) -> str | None:
        if self._in_a_row >= MAX_REFUSED_IN_A_ROW:
            return f"the portal refused {self._in_a_row} sign-ins in a row"
        refused = sum(self._last)
        if len(self._last) == WINDOW and refused > WINDOW // 2:
            return f"the portal refused {refused} of the last {WINDOW} sign-ins"
        return None
