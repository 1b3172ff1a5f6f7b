"""A ledger in a sentence: "31 expected, 31 accounted for: 29 ran, 1 missed (service down 02:00 to 04:10)"."""

from datetime import datetime
from zoneinfo import ZoneInfo

from db.ledger import Account, Ledger, LedgerGroup
from db.models import Cause

ACCOUNT_WORDS = {
    Account.RAN: "ran",
    Account.LIVE: "queued or running",
    Account.STOPPED: "stopped before the start",
    Account.MISSED: "missed",
    Account.SKIPPED: "skipped",
    Account.DUE: "about to start",
}
CAUSE_WORDS = {
    Cause.OUTAGE: "service down",
    Cause.LATE: "too late to start",
    Cause.EDITED: "schedule changed or paused before a scheduler came to it",
    Cause.OVERLAP: "overlap",
    Cause.BREAKER: "portal left alone after refused sign-ins",
    Cause.HOLIDAY: "holiday",
    Cause.UNREADABLE: "schedule cannot be read",
    Cause.SUPERSEDED: "another run did its work",
}
MAX_SPANS = 3


def describe_ledger(ledger: Ledger, zone: ZoneInfo) -> str:
    """One sentence, times in the zone; a difference is told at its end."""
    if not ledger.expected and not ledger.unexpected_count:
        if not ledger.is_readable:
            return "nothing can be expected of a schedule that cannot be read"
        return "0 expected: the schedule has no run in this period"
    words = f"{ledger.expected:,} expected, {ledger.accounted:,} accounted for"
    if ledger.groups:
        words += ": " + ", ".join(_describe_group(group, zone) for group in ledger.groups)
    if ledger.retried_count:
        words += f"; failed accounts of {ledger.retried_count:,} tried again"
    if ledger.lost_count:
        words += f"; {ledger.lost_count:,} left no trace"
    if ledger.unexpected_count:
        words += f"; {ledger.unexpected_count:,} at a time that no schedule had"
    if not ledger.is_readable:
        words += "; a schedule of this period cannot be read"
    return words


def _describe_group(group: LedgerGroup, zone: ZoneInfo) -> str:
    words = f"{group.count:,} {ACCOUNT_WORDS[group.account]}"
    if group.cause is None:
        return words
    cause = CAUSE_WORDS[group.cause]
    if group.outages:
        spans = [_span(began, ended, zone) for began, ended in group.outages[:MAX_SPANS]]
        more = len(group.outages) - len(spans)
        cause += " " + ", ".join(spans) + (f" and {_times(more)} more" if more else "")
    return f"{words} ({cause})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def _span(began: datetime, ended: datetime, zone: ZoneInfo) -> str:
    """Hours and minutes; the date too, since a period may hold many days."""
    first, last = began.astimezone(zone), ended.astimezone(zone)
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last.day} {last:%b} {last:%H:%M}"
    return f"{first.day} {first:%b} {first:%H:%M} to {end}"
