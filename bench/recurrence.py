"""How fast the next occurrence is found, against APScheduler, croniter and cronsim, in one run.

Peers are asked in the fastest way they have: parsed beforehand where that is possible, and cronsim, whose
parsing cannot be separated, by stepping on from its last answer as well. `python -m bench.recurrence`.
"""

# ruff: noqa: T201

import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from time import perf_counter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

from db.planning import find_due
from recurrence import Rule, next_occurrence, parse_rule

TIME_ZONE = "America/New_York"
ZONE = ZoneInfo(TIME_ZONE)
# Weekdays by name, because APScheduler counts them from Monday.
RULES = {
    "daily 02:00": "0 2 * * *",
    "Mondays 09:00": "0 9 * * mon",
    "Mon, Wed, Fri 12:00": "0 12 * * mon,wed,fri",
    "day 1, 06:00": "0 6 1 * *",
    "every 15 minutes": "*/15 * * * *",
    "every 5 minutes, working hours": "*/5 9-17 * * mon-fri",
}
ASKED = 400  # instants per rule, over a year and its two clock changes
# Never on the minute, where APScheduler answers with the instant itself.
ASKED_FROM, ASKED_EVERY = datetime(2026, 1, 1, 0, 0, 11, tzinfo=UTC), timedelta(hours=21, minutes=53, seconds=30)
WARM_UP = 50
BATCH = 10_000
BATCH_ROUNDS = 5

MAX_MEDIAN = 60.0  # microseconds
MAX_RATIO = 2.0
MIN_BATCH_RATIO = 20.0

OURS = "ours"

Ask = Callable[[datetime], object]


class Figure(NamedTuple):
    name: str
    ours: float  # microseconds a call
    peers: dict[str, float]
    ratio: float
    target: str
    holds: bool


def main() -> int:
    instants = [ASKED_FROM + number * ASKED_EVERY for number in range(ASKED)]
    figures: list[Figure] = []
    for name, expression in RULES.items():
        rule = parse_rule("custom", {"cron_expression": expression}, TIME_ZONE)
        _check_agreement(expression, rule, instants[:20])
        asks: dict[str, Ask] = {OURS: lambda instant, rule=rule: next_occurrence(rule, instant)}
        peers = _medians(asks | _peers(expression), instants)
        ours = peers.pop(OURS)
        figures.append(_uncached(name, ours, peers))
        figures.append(_batch(name, expression, instants[100], peers))
    overall = statistics.median(figure.ours for figure in figures[::2])
    figures.append(Figure("median of the rules", overall, {}, 0, f"< {MAX_MEDIAN:.0f} us", overall < MAX_MEDIAN))
    _print(figures)
    return 0 if all(figure.holds for figure in figures) else 1


def _uncached(name: str, ours: float, peers: dict[str, float]) -> Figure:
    ratio = ours / min(peers.values())
    holds = ratio <= MAX_RATIO and ours < MAX_MEDIAN
    return Figure(name, ours, peers, ratio, f"<= {MAX_RATIO:.0f}x fastest, < {MAX_MEDIAN:.0f} us", holds)


def _batch(name: str, expression: str, instant: datetime, peers: dict[str, float]) -> Figure:
    """What the fire step asks for each due job; every job has a rule object of its own, as it comes from its row."""
    rules = [parse_rule("custom", {"cron_expression": expression}, TIME_ZONE) for _ in range(BATCH)]
    due = next_occurrence(rules[0], instant)
    assert due is not None
    rounds: list[float] = []
    for _ in range(BATCH_ROUNDS):
        find_due.cache_clear()
        began = perf_counter()
        for rule in rules:
            find_due(rule, due, due)
        rounds.append((perf_counter() - began) * 1e6 / BATCH)
    ours = statistics.median(rounds)
    ratio = min(peers.values()) / ours
    target = f">= {MIN_BATCH_RATIO:.0f}x faster than fastest"
    return Figure(f"{name}, a job of {BATCH:,}", ours, peers, ratio, target, ratio >= MIN_BATCH_RATIO)


def _peers(expression: str) -> dict[str, Ask]:
    trigger = CronTrigger.from_crontab(expression, timezone=ZONE)
    steps = croniter(expression, ASKED_FROM.astimezone(ZONE))

    def by_croniter(instant: datetime) -> object:
        return steps.get_next(datetime, start_time=instant.astimezone(ZONE))

    running: Iterator[datetime] = CronSim(expression, ASKED_FROM.astimezone(ZONE))
    return {
        "APScheduler": lambda instant: trigger.get_next_fire_time(None, instant),
        "croniter": by_croniter,
        "cronsim": lambda instant: next(CronSim(expression, instant.astimezone(ZONE))),
        "cronsim, stepping": lambda _: next(running),
    }


def _medians(asks: dict[str, Ask], instants: list[datetime]) -> dict[str, float]:
    """Microseconds of one call of each, asked in turn, so that a busy moment of the machine meets all alike."""
    took: dict[str, list[float]] = {name: [] for name in asks}
    for instant in instants[:WARM_UP]:
        for ask in asks.values():
            ask(instant)
    for instant in instants:
        for name, ask in asks.items():
            began = perf_counter()
            ask(instant)
            took[name].append(perf_counter() - began)
    return {name: statistics.median(times) * 1e6 for name, times in took.items()}


def _check_agreement(expression: str, rule: Rule, instants: list[datetime]) -> None:
    """A fast wrong answer is no figure; away from clock changes all four must say the same."""
    for instant in instants:
        expected = next_occurrence(rule, instant)
        for peer, ask in _peers(expression).items():
            if peer != "cronsim, stepping" and ask(instant) != expected:
                raise AssertionError(f"{peer} differs on {expression} after {instant}: {ask(instant)}, not {expected}")


def _print(figures: list[Figure]) -> None:
    names = list(figures[0].peers)
    print(
        f"Microseconds a call, medians. Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("apscheduler", "croniter", "cronsim", "tzdata"))
    )
    print(f"{'':46}{'ours':>8}" + "".join(f"{name:>19}" for name in names) + f"{'ratio':>8}  {'target':34}holds")
    for figure in figures:
        peers = "".join(f"{figure.peers[name]:19.1f}" if figure.peers else f"{'':19}" for name in names)
        ratio = f"{figure.ratio:8.2f}" if figure.peers else f"{'':8}"
        print(f"{figure.name:46}{figure.ours:8.2f}{peers}{ratio}  {figure.target:34}{'yes' if figure.holds else 'NO'}")


if __name__ == "__main__":
    sys.exit(main())
