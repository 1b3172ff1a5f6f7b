"""Wake-ups: heard at once, and again after the connection was lost."""

import threading
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg2
import pytest
from sqlalchemy import Engine, text

from db.engine import transaction
from db.wake import Wake, send_wake
from scheduler_service.listener import WakeListener
from scheduler_service.outages import describe_outage
from tests.waiting import wait_until

WAIT_SECONDS = 20


class Heard:
    """A listener and what it heard."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.counts: Counter[Wake] = Counter()
        self.listener = WakeListener(engine, self.note)
        self.listener.start()

    def note(self, what: Wake) -> None:
        self.counts[what] += 1

    def wait(self, **counts: int) -> None:
        wanted = Counter({Wake(name): count for name, count in counts.items()})
        wait_until(lambda: self.counts >= wanted, WAIT_SECONDS, f"{wanted} in {self.counts}")


@pytest.fixture
def heard(engine: Engine) -> Iterator[Heard]:
    heard = Heard(engine)
    heard.wait(fire=1, claim=1, stop=1)  # whatever was sent before
    yield heard
    heard.listener.stop()
    heard.listener.join(5)
    assert not heard.listener.is_alive()


def send(engine: Engine, *what: Wake) -> None:
    with transaction(engine) as session:
        for wake in what:
            send_wake(session, wake)


def end_listeners(engine: Engine) -> int:
    with engine.begin() as connection:
        return connection.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'punctual listener' AND datname = current_database()"
            )
        ).scalar_one()


def test_wake_up_is_heard_when_its_transaction_commits(engine: Engine, heard: Heard) -> None:
    with transaction(engine) as session:
        send_wake(session, Wake.CLAIM)
        send(engine, Wake.STOP)
        heard.wait(stop=2)
        assert heard.counts[Wake.CLAIM] == 1
    heard.wait(claim=2)
    assert heard.counts[Wake.FIRE] == 1


def test_wake_ups_of_a_transaction_that_failed_are_not_sent(engine: Engine, heard: Heard) -> None:
    with transaction(engine) as session:
        send_wake(session, Wake.FIRE)
        session.rollback()
    send(engine, Wake.STOP)
    heard.wait(stop=2)
    assert heard.counts[Wake.FIRE] == 1


def test_words_of_others_on_the_channel_are_ignored(engine: Engine, heard: Heard) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_notify('punctual', 'lunch'), pg_notify('punctual', '')"))
    send(engine, Wake.CLAIM)
    heard.wait(claim=2)


def test_lost_connection_is_made_again_and_missed_wake_ups_are_made_up_for(engine: Engine, heard: Heard) -> None:
    for n in range(2, 4):
        assert end_listeners(engine) == 1
        heard.wait(fire=n, claim=n, stop=n)
    send(engine, Wake.CLAIM)
    heard.wait(claim=4)
    assert heard.counts[Wake.FIRE] == 3


def test_listener_takes_no_connection_from_the_pool(engine: Engine, heard: Heard) -> None:
    assert engine.pool.status().startswith("Pool size: 5")
    send(engine, Wake.CLAIM)
    heard.wait(claim=2)
    assert " Current Checked out connections: 0" in engine.pool.status()


def test_listener_outlives_errors_without_a_message(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([psycopg2.OperationalError(), psycopg2.InterfaceError(""), OSError()])
    done = threading.Event()

    def fail() -> None:
        error = next(failures, None)
        if error is None:
            done.set()
            raise psycopg2.OperationalError
        raise error

    monkeypatch.setattr("scheduler_service.listener.FIRST_BACKOFF_SECONDS", 0.01)
    listener = WakeListener(SimpleNamespace(raw_connection=fail), lambda _: None)  # type: ignore[arg-type]
    listener.start()
    assert done.wait(WAIT_SECONDS)
    listener.stop()
    listener.join(15)
    assert not listener.is_alive()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg2.OperationalError("first\nsecond"), "first"),
        (psycopg2.OperationalError("\n \n"), "OperationalError"),
        (OSError(), "OSError"),
    ],
)
def test_outage_is_told_in_one_line(error: Exception, expected: str) -> None:
    assert describe_outage(error) == expected
