"""What a period of daily figures comes to, and as rows for charts. Pure: no page is drawn here."""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pandas as pd

from db.daily_figures import DayFigures

MAX_DAILY_BARS = 120  # thinner ones nobody can tell apart
DAYS_A_WEEK = 7
OUTCOME_GROUPS: dict[str, tuple[str, ...]] = {
    "Completed": ("completed",),
    "Partly done": ("partial",),
    "Failed or lost": ("failed", "timed_out", "lost"),
    "Missed": ("missed",),
    "Left out": ("stopped", "skipped"),
}


def sum_up(days: Sequence[DayFigures]) -> DayFigures:
    """The days together, as of the first of them."""
    sums: dict[str, Any] = {
        f.name: sum(getattr(day, f.name) for day in days) for f in fields(DayFigures) if f.name != "day"
    }
    sums["lateness_max_seconds"] = max(day.lateness_max_seconds for day in days)
    return DayFigures(days[0].day, **sums)


def days_in_a_bar(days: int) -> int:
    """A bar a day; in a long period a bar a week."""
    return 1 if days <= MAX_DAILY_BARS else DAYS_A_WEEK


def in_bars(days: Sequence[DayFigures], days_a_bar: int) -> Sequence[DayFigures]:
    """The days as they are, or by week, as of its Monday."""
    if days_a_bar == 1:
        return days
    weeks: dict[date, list[DayFigures]] = {}
    for day in days:
        weeks.setdefault(day.day - timedelta(days=day.day.weekday()), []).append(day)
    return [replace(sum_up(week), day=monday) for monday, week in weeks.items()]


def outcomes_frame(bars: Sequence[DayFigures]) -> pd.DataFrame:
    """`day`, `what` and `count` of each outcome that occurs at all."""
    rows = [
        (bar.day, label, sum(getattr(bar, outcome) for outcome in outcomes))
        for label, outcomes in OUTCOME_GROUPS.items()
        for bar in bars
    ]
    return _frame(rows)


def accounts_frame(bars: Sequence[DayFigures]) -> pd.DataFrame:
    """`day`, `what` and `count` of accounts that succeeded and that did not."""
    rows = [(bar.day, "Succeeded", bar.accounts_succeeded) for bar in bars]
    return _frame(rows + [(bar.day, "Did not succeed", bar.accounts_failed) for bar in bars])


def bills_frame(bars: Sequence[DayFigures]) -> pd.DataFrame:
    """`day`, `what` and `count` of new bills."""
    return _frame([(bar.day, "New bills", bar.bills_new) for bar in bars])


def lateness_frame(bars: Sequence[DayFigures]) -> pd.DataFrame:
    """`day`, `what` and `count` in seconds: the mean and the worst of the days on which runs began."""
    known = [bar for bar in bars if bar.started]
    rows = [(bar.day, "Worst", bar.lateness_max_seconds) for bar in known]
    return _frame(rows + [(bar.day, "Average", bar.lateness_seconds / bar.started) for bar in known])


def _frame(rows: Sequence[tuple[date, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["day", "what", "count"])
    frame["day"] = pd.to_datetime(frame["day"])
    return frame
