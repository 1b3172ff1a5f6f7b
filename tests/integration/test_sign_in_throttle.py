"""The throttle: how many wrong sign-ins are borne, and how long one waits then."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, func, select

from db.engine import transaction
from db.models import SignInAttempt
from db.sign_in_throttle import (
    FAILURES_PER_ADDRESS,
    FAILURES_PER_USERNAME,
    WINDOW,
    TooManyAttemptsError,
    check_sign_in_allowed,
    clear_sign_in_failures,
    purge_sign_in_attempts,
    record_sign_in_failure,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def fail(engine: Engine, times: int, username: str = "bob", ip: str = "192.0.2.7", at: datetime = NOW) -> None:
    with transaction(engine) as session:
        for _ in range(times):
            record_sign_in_failure(session, username, ip, at)


def wait(engine: Engine, username: str = "bob", ip: str = "192.0.2.7", at: datetime = NOW) -> int:
    """Seconds to wait; 0 when a sign-in may be tried."""
    with transaction(engine) as session:
        try:
            check_sign_in_allowed(session, username, ip, at)
        except TooManyAttemptsError as refusal:
            return refusal.retry_after_seconds
    return 0


def test_username_may_fail_five_times_then_waits_from_any_address(engine: Engine) -> None:
    fail(engine, FAILURES_PER_USERNAME - 1)
    assert wait(engine) == 0
    fail(engine, 1)
    assert wait(engine) == 30
    assert wait(engine, username=" BOB ") == 30
    assert wait(engine, ip="198.51.100.1") == 30
    assert wait(engine, username="carol") == 0


def test_wait_is_over_to_the_second_and_doubles_with_each_further_failure(engine: Engine) -> None:
    fail(engine, FAILURES_PER_USERNAME)
    assert wait(engine, at=NOW + 29 * SECOND) == 1
    assert wait(engine, at=NOW + 30 * SECOND) == 0
    fail(engine, 1)
    assert wait(engine) == 60
    fail(engine, 2)
    assert wait(engine) == 240


def test_wait_never_exceeds_the_window_however_many_failures(engine: Engine) -> None:
    fail(engine, 40)
    assert wait(engine) == WINDOW.total_seconds()
    assert wait(engine, at=NOW + WINDOW) == 0


def test_failures_count_for_fifteen_minutes(engine: Engine) -> None:
    fail(engine, FAILURES_PER_USERNAME - 1, at=NOW - WINDOW)
    fail(engine, 1)
    assert wait(engine) == 0


def test_address_may_fail_fifty_times_over_all_usernames(engine: Engine) -> None:
    for number in range(FAILURES_PER_ADDRESS - 1):
        fail(engine, 1, username=f"user{number}")
    assert wait(engine, username="carol") == 0
    fail(engine, 1, username="one-more")
    assert wait(engine, username="carol") == 30
    assert wait(engine, username="carol", ip="198.51.100.1") == 0


def test_success_clears_the_username_but_not_the_address(engine: Engine) -> None:
    fail(engine, FAILURES_PER_ADDRESS)
    with transaction(engine) as session:
        clear_sign_in_failures(session, "Bob")
    assert wait(engine) == 0
    fail(engine, FAILURES_PER_ADDRESS, username="carol")
    with transaction(engine) as session:
        clear_sign_in_failures(session, "bob")
    assert wait(engine) > 0


def test_names_that_postgres_cannot_hold_are_counted_too(engine: Engine) -> None:
    fail(engine, FAILURES_PER_USERNAME, username="nul\x00\ud800" + "x" * 1000)
    assert wait(engine, username="nul\x00\ud800" + "x" * 1000) == 30


def test_purge_deletes_what_no_longer_counts(engine: Engine) -> None:
    fail(engine, 3, at=NOW - WINDOW)
    fail(engine, 2)
    with transaction(engine) as session:
        assert purge_sign_in_attempts(session, NOW) == 3
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(SignInAttempt)) == 2
