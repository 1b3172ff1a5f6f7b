"""Who may do what, for every route; and no secret in any answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, select

from api.app import build_api
from db.engine import transaction
from db.models import Account, AuditEntry, Calendar, Job, Role, Run, UserSession
from tests.api.calendar_requests import ICS, post_calendar
from tests.api.conftest import SECRET_KEY
from tests.api.portal_story import CSV, SECRET, Person, Story, post_job, tell_story

READS = [
    ("GET", "/jobs/{job_id}"),
    ("GET", "/jobs/{job_id}/accounts"),
    ("GET", "/jobs/{job_id}/runs"),
    ("GET", "/jobs/{job_id}/ledger"),
    ("GET", "/jobs/{job_id}/statistics"),
    ("GET", "/runs/{run_id}"),
    ("GET", "/runs/{run_id}/results"),
    ("GET", "/runs/{run_id}/log"),
    ("GET", "/runs/{run_id}/bills"),
    ("GET", "/runs/{run_id}/bills.csv"),
    ("GET", "/runs/{run_id}/bills.xlsx"),
    ("GET", "/jobs/{job_id}/bills.csv"),
    ("GET", "/jobs/{job_id}/bills.xlsx"),
    ("GET", "/results/{result_id}/file"),
    ("GET", "/bills/{bill_id}/file"),
    ("GET", "/bills/{bill_id}/versions"),
    ("GET", "/bills/{bill_id}/versions/{version_id}/file"),
    ("GET", "/portals/{portal_id}"),
]
WRITES = [
    ("PATCH", "/jobs/{job_id}"),
    ("PUT", "/jobs/{job_id}/accounts"),
    ("POST", "/jobs/{job_id}/accounts/preview"),
    ("DELETE", "/jobs/{job_id}"),
    ("POST", "/jobs/{job_id}/run"),
    ("POST", "/jobs/{job_id}/stop"),
    ("POST", "/jobs/{job_id}/test-sign-in"),
    ("POST", "/jobs/{job_id}/pause"),
    ("POST", "/jobs/{job_id}/resume"),
    ("POST", "/runs/{run_id}/retry-failed"),
    ("POST", "/jobs/{job_id}/schedule/impact"),
    ("POST", "/jobs/bulk/reschedule"),
    ("POST", "/jobs/bulk/retries"),
    ("POST", "/jobs/bulk/pause"),
    ("POST", "/jobs/bulk/resume"),
    ("PATCH", "/portals/{portal_id}"),
    ("POST", "/portals/{portal_id}/close-breaker"),
]
CALENDAR_READS = [("GET", "/calendars/{calendar_id}")]  # everybody's to read, their owner's to change
CALENDAR_WRITES = [("PATCH", "/calendars/{calendar_id}"), ("DELETE", "/calendars/{calendar_id}")]
NEW_CALENDARS = [("POST", "/calendars"), ("POST", "/calendars/import")]
WITHOUT_OWNER = [
    ("GET", "/jobs"),
    ("POST", "/jobs"),
    ("POST", "/auth/logout"),
    ("POST", "/schedules/preview"),
    ("GET", "/calendars"),
    ("GET", "/calendars/countries"),
    ("GET", "/portals"),
    ("GET", "/evidence"),
    ("GET", "/statistics"),
    ("GET", "/metrics"),
]
SIGNED_IN = READS + WRITES + CALENDAR_READS + CALENDAR_WRITES + NEW_CALENDARS + WITHOUT_OWNER
MULTIPART = [
    ("POST", "/jobs"),
    ("PUT", "/jobs/{job_id}/accounts"),
    ("POST", "/jobs/{job_id}/accounts/preview"),
    ("POST", "/calendars/import"),
]
AT_FIVE: dict[str, Any] = {"schedule_type": "daily", "schedule_config": {"hour": 5, "minute": 0}}
ONE_RETRY: dict[str, Any] = {"max_attempts": 2, "retry_delay_seconds": 300}
# No run of the story is live, none failed for a passing reason, and its portal's breaker is not open.
NOTHING_TO_DO = ("/stop", "/retry-failed", "/close-breaker")
PUBLIC = [("GET", "/health"), ("POST", "/auth/login")]


def call(client: TestClient, route: tuple[str, str], story: Story) -> tuple[int, str]:
    method, path = route
    files = {"csv": ("accounts.csv", CSV, "text/csv")} if "/accounts" in path and method != "GET" else None
    answer = client.request(method, path.format(**vars(story)), json=body_of(route, story), files=files)
    return answer.status_code, answer.text


def body_of(route: tuple[str, str], story: Story) -> dict[str, Any] | None:
    """A good body of the call, where it takes JSON."""
    method, path = route
    if path.startswith("/jobs/bulk/"):
        values = {"reschedule": AT_FIVE, "retries": ONE_RETRY}
        return {"job_ids": [story.job_id]} | values.get(path.rpartition("/")[2], {})
    if path.endswith("/test-sign-in"):
        return {"account_id": story.account_id}
    if path.endswith("/impact"):
        return dict(AT_FIVE)
    if method != "PATCH":
        return None
    return {"engine": "browser"} if path.startswith("/portals/") else {"name": "x"}


@pytest.fixture
def story(engine: Engine, olive: Person, tmp_path: Path) -> Story:
    return tell_story(engine, olive.viewer, tmp_path)


def test_every_route_is_in_one_of_these_tables() -> None:
    paths = build_api().openapi()["paths"]
    routes = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert routes == {*SIGNED_IN, *PUBLIC}


@pytest.mark.parametrize("route", READS + WRITES, ids=" ".join)
def test_what_belongs_to_others_is_404(
    engine: Engine, story: Story, sign_in: Callable[..., Person], route: tuple[str, str]
) -> None:
    before = snapshot(engine)
    stranger = sign_in("mallory")
    status, text = call(stranger.client, route, story)
    assert status == 404, text
    assert "belongs to someone else" in text or "no such" in text
    assert snapshot(engine) == before


@pytest.mark.parametrize("route", READS + WRITES + CALENDAR_READS + CALENDAR_WRITES, ids=" ".join)
def test_what_does_not_exist_is_404(olive: Person, route: tuple[str, str]) -> None:
    nothing = Story("nothing", 999_999, "nothing", "nothing", *[999_999] * 5)
    assert call(olive.client, route, nothing)[0] == 404


@pytest.mark.parametrize("route", SIGNED_IN, ids=" ".join)
def test_nothing_works_without_a_token(
    engine: Engine, client: TestClient, story: Story, route: tuple[str, str]
) -> None:
    before = snapshot(engine)
    headers = {"Content-Type": "multipart/form-data; boundary=b"} if route in MULTIPART else {}
    answer = client.request(route[0], route[1].format(**vars(story)), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert snapshot(engine) == before


@pytest.mark.parametrize("route", [*WRITES, *CALENDAR_WRITES, *NEW_CALENDARS, ("POST", "/jobs")], ids=" ".join)
def test_viewers_may_not_change_their_own(
    engine: Engine, sign_in: Callable[..., Person], tmp_path: Path, route: tuple[str, str]
) -> None:
    viewer = sign_in("vera", Role.VIEWER)
    story = tell_story(engine, viewer.viewer, tmp_path)
    before = snapshot(engine)
    if route == ("POST", "/jobs"):
        answer = post_job(viewer, csv="not an accounts file")
        status, text = answer.status_code, answer.text
    elif route in NEW_CALENDARS:
        answer = create(viewer, route)
        status, text = answer.status_code, answer.text
    else:
        status, text = call(viewer.client, route, story)
    assert status == 403
    assert "Your role may look but not change anything." in text
    assert snapshot(engine) == before


@pytest.mark.parametrize("route", READS + CALENDAR_READS, ids=" ".join)
def test_viewers_read_their_own(
    engine: Engine, sign_in: Callable[..., Person], tmp_path: Path, route: tuple[str, str]
) -> None:
    viewer = sign_in("vera", Role.VIEWER)
    assert call(viewer.client, route, tell_story(engine, viewer.viewer, tmp_path))[0] == 200


@pytest.mark.parametrize("route", CALENDAR_READS, ids=" ".join)
@pytest.mark.parametrize("role", Role)
def test_everybody_reads_calendars(
    story: Story, sign_in: Callable[..., Person], role: Role, route: tuple[str, str]
) -> None:
    assert call(sign_in("mallory", role).client, route, story)[0] == 200


@pytest.mark.parametrize("route", CALENDAR_WRITES, ids=" ".join)
def test_calendars_of_others_stay_as_they_are(
    engine: Engine, story: Story, sign_in: Callable[..., Person], route: tuple[str, str]
) -> None:
    before = snapshot(engine)
    status, text = call(sign_in("mallory").client, route, story)
    assert (status, text) == (403, '{"error":"only its owner and admins may change this calendar"}')
    assert snapshot(engine) == before


@pytest.mark.parametrize("route", READS + WRITES + CALENDAR_WRITES, ids=" ".join)
def test_owners_read_and_change_their_own(story: Story, olive: Person, route: tuple[str, str]) -> None:
    status, text = call(olive.client, route, story)
    assert status in ((409,) if route[1].endswith(NOTHING_TO_DO) else (200, 202, 204)), text


@pytest.mark.parametrize("route", NEW_CALENDARS, ids=" ".join)
def test_operators_make_calendars(olive: Person, route: tuple[str, str]) -> None:
    assert create(olive, route).status_code == 201


@pytest.mark.parametrize("route", READS + WRITES + CALENDAR_WRITES, ids=" ".join)
def test_admins_read_and_change_everyones(story: Story, sign_in: Callable[..., Person], route: tuple[str, str]) -> None:
    admin = sign_in("ada", Role.ADMIN)
    status, text = call(admin.client, route, story)
    assert status in ((409,) if route[1].endswith(NOTHING_TO_DO) else (200, 202, 204)), text


def test_lists_hold_only_ones_own(story: Story, olive: Person, sign_in: Callable[..., Person]) -> None:
    assert len(olive.client.get("/jobs").json()["items"]) == 1
    assert sign_in("mallory").client.get("/jobs").json()["items"] == []
    assert len(sign_in("ada", Role.ADMIN).client.get("/jobs").json()["items"]) == 1


def test_metrics_are_for_admins(olive: Person) -> None:
    answer = olive.client.get("/metrics")
    assert (answer.status_code, answer.json()) == (403, {"error": "only admins may see this"})


def test_no_answer_holds_a_secret(
    api: FastAPI, engine: Engine, client: TestClient, olive: Person, sign_in: Callable[..., Person], tmp_path: Path
) -> None:
    admin = sign_in("ada", Role.ADMIN)
    created = post_job(olive)
    story = tell_story(engine, olive.viewer, tmp_path)
    texts = [
        created.text,
        client.get("/health").text,
        admin.client.get("/metrics").text,
        client.get("/openapi.json").text,
    ]
    texts += [olive.client.get("/jobs").text, admin.client.get("/jobs").text]
    texts += [
        call(person.client, route, story)[1] for person in (olive, admin) for route in READS if route[1][-4:] != "file"
    ]
    job_id = created.json()["id"]
    texts += [
        olive.client.request(m, p.format(**vars(story) | {"job_id": job_id}), json={"name": "x"}).text
        for m, p in WRITES
    ]
    for csv in (
        f"username,password\nann,{SECRET}\nann,{SECRET}\n",
        f"username,password\n,{SECRET}\n",
        f"ann,{SECRET}\nbob,{SECRET}\n",
        f"user name;{SECRET}\n",
        f"username,password,x\nann,{SECRET}\n",
        f'username,password\nann,"{SECRET}\n',
    ):
        refused = post_job(olive, csv=csv)
        assert refused.status_code == 422, refused.text
        texts.append(refused.text)
    texts += [olive.client.post("/jobs", files={"csv": (None, f"ann,{SECRET}")}).text]
    texts += [client.post("/auth/login", json={"username": "olive", "password": SECRET}).text]
    texts += [client.post("/auth/login", json={"username": "olive", "password": [SECRET], "x": 1}).text]
    with transaction(engine) as session:
        accounts = session.scalars(select(Account)).all()
        hashes = session.scalars(select(UserSession.token_hash)).all()
    assert accounts
    forbidden = [SECRET, SECRET_KEY, *hashes]
    forbidden += [text for a in accounts for text in (a.secret.decode(), a.fingerprint)]
    found = [word for word in forbidden for text in texts if word in text]
    assert found == []


def create(person: Person, route: tuple[str, str]) -> Any:
    """A new calendar by that route."""
    if route == ("POST", "/calendars"):
        return post_calendar(person, name="New")
    files = {"ics": ("closed.ics", ICS, "text/calendar")}
    return person.client.post("/calendars/import", data={"name": "New"}, files=files)


def snapshot(engine: Engine) -> list[object]:
    """Enough of the database to see that nothing changed."""
    with transaction(engine) as session:
        jobs = session.execute(select(Job.id, Job.name, Job.version, Job.status, Job.paused_at)).all()
        counts = [session.scalar(select(func.count()).select_from(t)) for t in (Run, Account, AuditEntry)]
        calendars = session.execute(select(Calendar.id, Calendar.name, Calendar.version)).all()
        return [*map(tuple, jobs), *map(tuple, calendars), *counts]
