"""What a queued run waits for, as pages tell it: in the viewer's zone, as a sentence or in a few words."""

from datetime import datetime
from zoneinfo import ZoneInfo

from db.queue import Obstacle, Waiting, place_words, waiting_words
from ui.moments import exact


def describe_wait(waiting: Waiting, zone: ZoneInfo, now: datetime) -> str:
    """All of it, as "3rd in line; waits for a free slot (4 of 4 in use)"."""
    words = waiting_words(waiting, lambda at: exact(at, zone, now))
    return f"{words[:1].upper()}{words[1:]}"


def describe_place(waiting: Waiting, zone: ZoneInfo, now: datetime) -> str:
    """Its place in line alone, or what it waits for where it has none."""
    words = place_words(waiting)
    if words and waiting.obstacle == Obstacle.PORTAL:
        words += " for its portal"
    return f"{words[:1].upper()}{words[1:]}" if words else describe_wait(waiting, zone, now)
