"""The line about the scheduler at the left of every page."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from db.instances import SchedulerHealth
from tests.factories import NOW
from ui.shell import scheduler_words

LATELY = NOW - timedelta(seconds=5)


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (SchedulerHealth(True, 1, LATELY, 0, True), "firing on time, last pass just now"),
        (SchedulerHealth(True, 1, LATELY, 0, False), "firing on time, but no slots: runs wait in the queue"),
        (SchedulerHealth(False, 1, LATELY, 3, True), "behind, schedules overdue: 3"),
        (SchedulerHealth(False, 0, None, 0, False), "not running, nothing will start by itself"),
        (SchedulerHealth(False, 0, LATELY, 0, False), "not running since"),
    ],
)
def test_line_says_what_a_person_should_know(health: SchedulerHealth, words: str) -> None:
    assert words in scheduler_words(health, ZoneInfo("UTC"), NOW)
