"""Compare the product with the readings, case by case, and count honestly who decided."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from recurrence import occurrences
from tests.recurrence_full.cases import Case, cron_cases, simple_cases
from tests.recurrence_full.readings import by_calendar, by_cronsim, by_walk, is_cronsim_sound

COMPARED = 60  # occurrences per case
# The product looks 50 years ahead; a year less, so that the last leap day is not in dispute.
NOTHING_FOUND_WITHIN = timedelta(days=49 * 365)

FIXED = "fixed times: cronsim"
BOTH = "rules with a star: cronsim and the walk"
WALK_ONLY = "rules with a star where cronsim is not sound: the walk alone"
CALENDAR = "daily, weekly, monthly: plain dates"


@dataclass(slots=True)
class Tally:
    cases: Counter[str] = field(default_factory=Counter)
    instants: int = 0
    differences: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.cases += other.cases
        self.instants += other.instants
        self.differences += other.differences

    def record(self, case: Case, reading: str, found: list[datetime], expected: list[datetime]) -> None:
        self.instants += len(expected)
        if found == expected:
            return
        position = next((i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
        position = min(len(found), len(expected)) if position is None else position
        ours, theirs = (str(times[position]) if position < len(times) else "nothing" for times in (found, expected))
        self.differences.append(
            f"{case.schedule_type} {case.config} {case.rule.time_zone} after {case.start}: "
            f"number {position + 1} is {ours}, {reading} has {theirs}"
        )


def compare_cron(seed: str, count: int) -> Tally:
    tally = Tally()
    for case in cron_cases(seed, count):
        found = [occurrence.at for occurrence in occurrences(case.rule, case.start, limit=COMPARED)]
        until = found[-1] if found else case.start
        if len(found) < COMPARED:
            until += NOTHING_FOUND_WITHIN
        is_sound = is_cronsim_sound(case, until)
        tally.cases[FIXED if case.is_fixed_time else BOTH if is_sound else WALK_ONLY] += 1
        if is_sound:
            tally.record(case, "cronsim", found, by_cronsim(case, COMPARED))
        if not case.is_fixed_time:
            tally.record(case, "the walk", found, by_walk(case, until))
    return tally


def compare_simple(seed: str, count: int) -> Tally:
    tally = Tally()
    for case in simple_cases(seed, count):
        found = [occurrence.at for occurrence in occurrences(case.rule, case.start, limit=COMPARED)]
        tally.cases[CALENDAR] += 1
        tally.record(case, "the calendar", found, by_calendar(case, COMPARED))
    return tally
