"""Health by progress, and metrics."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from db.engine import transaction
from db.instances import record_fire_pass, register_instance
from db.models import JobStatus, Role, RunStatus
from settings import VERSION
from tests.api.portal_story import Person
from tests.factories import DAILY, make_job, make_run


def start_scheduler(engine: Engine, *, fired: timedelta) -> None:
    now = datetime.now(UTC)
    with transaction(engine) as session:
        instance = register_instance(session, host="h", pid=1, version=VERSION, slots=4, now=now)
        record_fire_pass(session, instance, now - fired)


def test_health_is_503_without_a_scheduler(client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "failing",
        "scheduler": {"firing": False, "can_execute": False, "instances": 0, "last_fire_at": None, "overdue_jobs": 0},
        "database": "ok",
        "version": VERSION,
        "error": "no scheduler_service is running",
    }


def test_health_is_200_while_schedules_are_fired(engine: Engine, client: TestClient) -> None:
    start_scheduler(engine, fired=timedelta(seconds=1))
    answer = client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["database"], body["error"]) == ("ok", "ok", None)
    assert body["scheduler"]["firing"] is True
    assert body["scheduler"]["can_execute"] is True
    assert body["scheduler"]["last_fire_at"].endswith("Z")
    assert client.head("/health").status_code == 200


def test_health_is_503_when_a_job_is_overdue(engine: Engine, client: TestClient, olive: Person) -> None:
    start_scheduler(engine, fired=timedelta(seconds=1))
    with transaction(engine) as session:
        make_job(session, olive.viewer, schedule=DAILY, next_run=datetime.now(UTC) - timedelta(minutes=5))
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["error"] == "jobs that should have fired and did not: 1"


def test_health_is_503_when_no_pass_ends(engine: Engine, client: TestClient) -> None:
    start_scheduler(engine, fired=timedelta(hours=1))
    with transaction(engine) as session:
        register_instance(session, host="h", pid=2, version=VERSION, slots=4, now=datetime.now(UTC))
    answer = client.get("/health")
    assert answer.status_code == 503
    assert "fire pass" in answer.json()["error"]


def test_metrics_count_jobs_and_runs(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    start_scheduler(engine, fired=timedelta(seconds=1))
    with transaction(engine) as session:
        make_run(session, make_job(session, olive.viewer), status=RunStatus.RUNNING)
        make_job(session, olive.viewer, status=JobStatus.FAILED)
    answer = sign_in("ada", Role.ADMIN).client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert 'punctual_jobs{status="failed"} 1' in lines
    assert 'punctual_jobs{status="running"} 1' in lines
    assert 'punctual_jobs{status="idle"} 0' in lines
    assert 'punctual_live_runs{status="running"} 1' in lines
    assert "punctual_scheduler_firing 1" in lines
    assert not [line for line in lines if line.startswith("punctual_last_lateness_seconds")]
    age = next(line for line in lines if line.startswith("punctual_last_fire_age_seconds"))
    assert 1 <= float(age.split()[1]) < 60


def test_metrics_tell_how_late_runs_began(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    with transaction(engine) as session:
        job = make_job(session, olive.viewer)
        for seconds in (59, 61, 600, 0.25, None):
            make_run(session, job, status=RunStatus.COMPLETED, lateness_seconds=seconds)
    lines = sign_in("ada", Role.ADMIN).client.get("/metrics").text.splitlines()
    assert "punctual_recent_runs_started 4" in lines
    assert "punctual_recent_runs_late 2" in lines
    assert "punctual_last_lateness_seconds 0.25" in lines
