"""The ledger over the API: what was expected, what became of it, and that a lost row shows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from sqlalchemy import Engine, delete, select

from db.engine import transaction
from db.models import Cause, Job, Outage, Role, Run, RunStatus, RunTrigger, SchedulePeriod, User
from tests.api.portal_story import Person, post_job
from tests.api.stored_rows import read_everything
from tests.factories import DAILY, make_job, make_run

FIRST = datetime(2025, 3, 1, 2, 0, tzinfo=UTC)
DAYS = 5
WHOLE = {"from": "2025-03-01", "to": "2025-03-06"}
FIELDS = [
    "from", "to", "expected", "accounted", "balances", "summary", "groups", "lost", "lost_count", "unexpected",
    "unexpected_count", "is_readable", "known_since", "kept_since", "retried_count",
]  # fmt: skip
ALLOWED = (
    "allowed: a date such as 2025-03-01, or an instant such as 2025-03-01T09:00:00Z or 2025-03-01T09:00:00+01:00 "
    "(in an address, + is written %2B)"
)


@pytest.fixture
def job_id(engine: Engine, olive: Person) -> str:
    """A daily job whose first five runs are known: three ran, one was missed and one skipped."""
    with transaction(engine) as session:
        schedule: dict[str, Any] = vars(DAILY)
        job = make_job(session, olive.viewer, is_scheduled=True, next_run=FIRST + timedelta(days=DAYS), **schedule)
        session.add(SchedulePeriod(session_id=job.id, starts_at=FIRST - timedelta(hours=1), **schedule))
        session.add(Outage(began_at=FIRST + timedelta(hours=23), ended_at=FIRST + timedelta(hours=26)))
        how = {
            1: {"status": RunStatus.MISSED, "cause": Cause.OUTAGE},
            3: {"status": RunStatus.SKIPPED, "cause": Cause.OVERLAP},
        }
        for day in range(DAYS):
            columns: dict[str, Any] = how.get(day, {"status": RunStatus.COMPLETED, "started_at": FIRST})
            make_run(session, job, trigger=RunTrigger.SCHEDULE, at=FIRST + timedelta(days=day), **columns)
        return job.id


def ledger(person: Person, job_id: str, **query: str) -> dict[str, Any]:
    answer = person.client.get(f"/jobs/{job_id}/ledger?{urlencode(query)}")
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == FIELDS
    return answer.json()


def test_ledger_accounts_for_every_occurrence(engine: Engine, olive: Person, job_id: str) -> None:
    before = read_everything(engine)
    assert ledger(olive, job_id, **WHOLE) == {
        "from": "2025-03-01T00:00:00Z",
        "to": "2025-03-06T00:00:00Z",
        "expected": 5,
        "accounted": 5,
        "balances": True,
        "summary": "5 expected, 5 accounted for: 3 ran, 1 missed (service down 2 Mar 01:00 to 04:00), "
        "1 skipped (overlap)",
        "groups": [
            {
                "account": "ran",
                "cause": None,
                "count": 3,
                "first": "2025-03-01T02:00:00Z",
                "last": "2025-03-05T02:00:00Z",
                "outages": [],
            },
            {
                "account": "missed",
                "cause": "outage",
                "count": 1,
                "first": "2025-03-02T02:00:00Z",
                "last": "2025-03-02T02:00:00Z",
                "outages": [{"began": "2025-03-02T01:00:00Z", "ended": "2025-03-02T04:00:00Z"}],
            },
            {
                "account": "skipped",
                "cause": "overlap",
                "count": 1,
                "first": "2025-03-04T02:00:00Z",
                "last": "2025-03-04T02:00:00Z",
                "outages": [],
            },
        ],
        "lost": [],
        "lost_count": 0,
        "unexpected": [],
        "unexpected_count": 0,
        "is_readable": True,
        "known_since": "2025-03-01T01:00:00Z",
        "kept_since": None,
        "retried_count": 0,
    }
    assert read_everything(engine) == before


def test_deleted_row_shows_as_lost(engine: Engine, olive: Person, job_id: str) -> None:
    lost = FIRST + timedelta(days=2)
    with transaction(engine) as session:
        session.execute(delete(Run).where(Run.scheduled_for == lost))
    body = ledger(olive, job_id, **WHOLE)
    assert (body["expected"], body["accounted"], body["balances"]) == (5, 4, False)
    assert (body["lost"], body["lost_count"]) == (["2025-03-03T02:00:00Z"], 1)
    assert body["summary"].endswith("; 1 left no trace")


def test_row_that_no_schedule_had_shows_as_unexpected(engine: Engine, olive: Person, job_id: str) -> None:
    at = FIRST + timedelta(minutes=1)
    with transaction(engine) as session:
        job = session.get_one(Job, job_id)
        run_id = make_run(session, job, trigger=RunTrigger.SCHEDULE, status=RunStatus.FAILED, at=at).id
    body = ledger(olive, job_id, **WHOLE)
    assert (body["balances"], body["unexpected_count"], body["lost_count"]) == (False, 1, 0)
    assert body["unexpected"] == [{"run_id": run_id, "scheduled_for": "2025-03-01T02:01:00Z", "status": "failed"}]


def test_instants_and_dates_bound_the_period(olive: Person, job_id: str) -> None:
    for bounds, expected in (
        ({"from": "2025-03-01T02:00:00Z", "to": "2025-03-05T02:00:00Z"}, 4),
        ({"from": "2025-03-01T02:00:01Z", "to": "2025-03-05T02:00:01Z"}, 4),
        ({"from": "2025-03-01T03:00:00+01:00", "to": "2025-03-02"}, 1),
        ({"from": "2025-03-02", "to": "2025-03-04"}, 2),
        ({"from": "2025-03-02", "to": "2025-03-04", "time_zone": "Asia/Tokyo"}, 2),
        ({"from": "2025-03-02", "to": "2025-03-03", "time_zone": "Pacific/Kiritimati"}, 1),
    ):
        assert ledger(olive, job_id, **bounds)["expected"] == expected, bounds


def test_dates_begin_at_midnight_of_the_zone(engine: Engine, olive: Person, job_id: str) -> None:
    assert ledger(olive, job_id, **WHOLE)["from"] == "2025-03-01T00:00:00Z"
    with transaction(engine) as session:
        session.get_one(User, olive.viewer.user_id).time_zone = "Asia/Tokyo"
    of_the_user = ledger(olive, job_id, **WHOLE)
    assert (of_the_user["from"], of_the_user["to"]) == ("2025-02-28T15:00:00Z", "2025-03-05T15:00:00Z")
    assert "service down 2 Mar 10:00 to 13:00" in of_the_user["summary"]
    as_asked = ledger(olive, job_id, **WHOLE, time_zone="America/Phoenix")
    assert (as_asked["from"], as_asked["to"]) == ("2025-03-01T07:00:00Z", "2025-03-06T07:00:00Z")


def test_midnight_that_the_clock_skips_is_right_after_the_gap(olive: Person, job_id: str) -> None:
    body = ledger(olive, job_id, time_zone="Africa/Cairo", **{"from": "2025-04-25", "to": "2025-04-26"})
    assert (body["from"], body["to"]) == ("2025-04-24T22:00:00Z", "2025-04-25T21:00:00Z")


def test_period_is_the_last_thirty_days_by_default(olive: Person, job_id: str) -> None:
    body = ledger(olive, job_id)
    ends_at = datetime.fromisoformat(body["to"])
    assert timedelta(0) <= datetime.now(UTC) - ends_at < timedelta(minutes=1)
    assert ends_at - datetime.fromisoformat(body["from"]) == timedelta(days=30)
    assert ledger(olive, job_id, to="2025-03-06")["from"] == "2025-02-04T00:00:00Z"


def test_job_that_runs_by_hand_expects_nothing(olive: Person) -> None:
    job = post_job(olive, **dict.fromkeys(("is_scheduled", "schedule_type", "schedule_config", "time_zone"))).json()
    body = ledger(olive, job["id"])
    assert (body["expected"], body["balances"], body["groups"], body["known_since"]) == (0, True, [], None)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=yesterday", f'from: found "yesterday"; {ALLOWED}'),
        ("from=2025-02-30", f'from: found "2025-02-30"; {ALLOWED}'),
        ("to=", f'to: found ""; {ALLOWED}'),
        ("from=2025-03-01T00:00:00+01:00", f'from: found "2025-03-01T00:00:00 01:00"; {ALLOWED}'),
        ("from=2025-03-01T09:00:00", f'from: "2025-03-01T09:00:00" does not say its offset from UTC; {ALLOWED}'),
        ("to=2025-03-01T09:00", f'to: "2025-03-01T09:00" does not say its offset from UTC; {ALLOWED}'),
        ("from=1969-12-31", 'from: found "1969-12-31"; allowed: years 1970 to 2999'),
        ("to=9999-12-31T23:59:59-12:00", 'to: found "9999-12-31T23:59:59-12:00"; allowed: years 1970 to 2999'),
        (
            "from=2025-03-02&to=2025-03-02",
            "the period ends at 2025-03-02T00:00:00+00:00, not after it starts",
        ),
        ("time_zone=Europe/Londn", 'unknown time zone "Europe/Londn"; did you mean "Europe/London"?'),
        ("time_zone=", "time zone is empty"),
        ("until=2025-03-02", 'unknown field "until"; allowed: from, to, time_zone'),
        ("from_=2025-03-02", 'unknown field "from_"; allowed: from, to, time_zone'),
    ],
)
def test_bad_period_is_explained(olive: Person, job_id: str, query: str, words: str) -> None:
    answer = olive.client.get(f"/jobs/{job_id}/ledger?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words)


def test_period_with_too_many_occurrences_is_refused(engine: Engine, olive: Person, job_id: str) -> None:
    with transaction(engine) as session:
        period = session.scalars(select(SchedulePeriod)).one()
        period.schedule_type, period.schedule_config = "custom", {"cron_expression": "* * * * *"}
    answer = olive.client.get(f"/jobs/{job_id}/ledger?from=2025-03-01&to=2025-06-01")
    assert answer.status_code == 422
    assert answer.json()["error"].endswith("occurrences are expected in this period; choose one of at most 100,000")


def test_viewers_read_the_ledgers_of_their_own(engine: Engine, sign_in: Callable[..., Person], job_id: str) -> None:
    vera = sign_in("vera", Role.VIEWER)
    assert vera.client.get(f"/jobs/{job_id}/ledger").status_code == 404
    with transaction(engine) as session:
        session.get_one(Job, job_id).user_id = vera.viewer.user_id
    assert ledger(vera, job_id, **WHOLE)["expected"] == 5
