"""The results of a run in a sentence: "1 account that failed on this side, 3 accounts with wrong credentials"."""

from collections.abc import Mapping

from db.models import SUCCEEDED_RESULTS, ResultStatus

FAILURE_WORDS = {
    ResultStatus.WRONG_CREDENTIALS: "with wrong credentials",
    ResultStatus.NEEDS_ATTENTION: "in need of attention",
    ResultStatus.PORTAL_ERROR: "with a portal error",
    ResultStatus.PORTAL_CHANGED: "where the portal looks changed",
    ResultStatus.NOT_TRIED: "not tried",
    ResultStatus.FAILED: "that failed on this side",
}


def describe_failures(counts: Mapping[ResultStatus, int], our_fault: str | None = None) -> str:
    """How many accounts failed and how, with what failed on this side where that is known; empty when none did."""
    failures = sorted((status, n) for status, n in counts.items() if status not in SUCCEEDED_RESULTS)
    words = FAILURE_WORDS
    if our_fault is not None:
        words = words | {ResultStatus.FAILED: f"{words[ResultStatus.FAILED]} ({our_fault})"}
    return ", ".join(f"{count_accounts(n)} {words[status]}" for status, n in failures)


def count_accounts(count: int) -> str:
    """ "1 account", "3 accounts"."""
    return f"{count:,} account" + ("" if count == 1 else "s")
