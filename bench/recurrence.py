"""How fast the next occurrence is found, against APScheduler, croniter and cronsim, in one run.

Peers are asked in the fastest way they have: parsed beforehand where that is possible, and cronsim, whose
parsing cannot be separated, by stepping on from its last answer as well. `python -m bench.recurrence`.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from time import perf_counter
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim

from bench.figures import Figure, all_hold, print_figures
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


def main() -> int:
    """Measure and print."""
    figures = measure()
    print_figures(figures)
    return 0 if all_hold(figures) else 1


def measure() -> list[Figure]:
    """The figures: medians over a year of instants, in microseconds a call."""
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
    target = f"< {MAX_MEDIAN:.0f} us"
    return [*figures, Figure("next occurrence, median of the rules", "us", overall, target, overall < MAX_MEDIAN)]


def _uncached(name: str, ours: float, peers: dict[str, float]) -> Figure:
    ratio = ours / min(peers.values())
    holds = ratio <= MAX_RATIO and ours < MAX_MEDIAN
    target = f"<= {MAX_RATIO:.0f}x the fastest, < {MAX_MEDIAN:.0f} us"
    return Figure(f"next occurrence, {name}", "us", ours, target, holds, peers, ratio)


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
    fastest = min(peers, key=lambda peer: peers[peer])
    ratio = peers[fastest] / ours
    target = f">= {MIN_BATCH_RATIO:.0f}x faster than the fastest"
    figure = f"{name}, a job of {BATCH:,} alike"
    return Figure(figure, "us", ours, target, ratio >= MIN_BATCH_RATIO, {fastest: peers[fastest]}, ratio)


def _peers(expression: str) -> dict[str, Ask]:
    trigger = CronTrigger.from_crontab(expression, timezone=ZONE)
    steps = croniter(expression, ASKED_FROM.astimezone(ZONE))

    def by_croniter(instant: datetime) -> object:
        return steps.get_next(datetime, start_time=instant.astimezone(ZONE))

    running: Iterator[datetime] = CronSim(expression, ASKED_FROM.astimezone(ZONE))
    return {
        f"APScheduler {version('apscheduler')}": lambda instant: trigger.get_next_fire_time(None, instant),
        f"croniter {version('croniter')}": by_croniter,
        f"cronsim {version('cronsim')}": lambda instant: next(CronSim(expression, instant.astimezone(ZONE))),
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


if __name__ == "__main__":
    sys.exit(main())
