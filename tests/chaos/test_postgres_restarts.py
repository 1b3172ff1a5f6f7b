"""Postgres goes away and comes back, in fast and in immediate mode: nobody crashes, nobody spins, people are told.

Four restarts here, ten in `make chaos`. On a server of the module's own.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.postgres import fresh_database, fresh_server
from db.models import Role, RunStatus
from tests.chaos.own_postgres import FAST, OwnPostgres
from tests.chaos.portal import running_portal
from tests.chaos.scenarios import restart_postgres_again_and_again
from tests.chaos.stage import Stage
from tests.waiting import wait_until
from tests.web.site import running_site
from ui.failures import DATABASE_AWAY

SOON = 90
SLOTS = 2
KNOCKS = 40
MAX_KNOCKS_PER_SECOND = 15.0  # seven steps, a listener and two children that try again every half second or two
MAX_SHARE_OF_A_CORE = 0.5
MAX_LINES = 60


@pytest.fixture(scope="module")
def server_home() -> Iterator[Path]:
    with fresh_server() as home:
        yield home


@pytest.fixture
def own_stage(server_home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    with (
        fresh_database(server_home, request.node.name) as engine,
        running_portal(tmp_path / "portal") as portal,
    ):
        stage = Stage(engine, portal, tmp_path)
        stage.prepare()
        yield stage
        OwnPostgres(server_home).start()  # where a test failed while it was down
        stage.close()


def test_restarts_during_firing_and_running(server_home: Path, own_stage: Stage) -> None:
    findings = restart_postgres_again_and_again(own_stage, OwnPostgres(server_home), restarts=4)
    assert findings.ended == 40


def test_outage_is_waited_for_in_peace_and_told_in_words(server_home: Path, own_stage: Stage) -> None:
    """Scheduler, running import, API, sign-in page and an open page of the browser, all through one outage."""
    postgres = OwnPostgres(server_home)
    own_stage.portal.hold()
    scheduler = own_stage.start(slots=SLOTS, lease_seconds=600)
    jobs = own_stage.run_now(SLOTS)
    wait_until(lambda: own_stage.portal.count_billing_pages() == SLOTS, SOON, "imports in the middle")
    url = own_stage.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with running_site(url, own_stage.home, app="web.app:app") as site:
        token = site.start_session(site.add_user(Role.ADMIN))
        client = site.client(token)
        wait_until(lambda: client.get("/api/health").json()["status"] == "ok", SOON, "health")
        with site.socket(token) as page:
            assert DATABASE_AWAY not in page.texts()
            postgres.stop(FAST)
            with postgres.counting_doorman() as doorman:
                lines, cpu = count_lines(scheduler.read_log()), cpu_seconds(scheduler.pid)
                health = client.get("/api/health")
                assert health.status_code == 503
                assert health.json()["database"] == "unreachable"
                assert health.json()["error"] == "the database is not reachable at the moment"
                opened = client.get("/", headers={"Accept": "text/html"})
                assert opened.status_code == 503
                assert "The database cannot be reached at the moment. Nothing is lost" in opened.text
                sign_in = client.get("/account/login")
                assert "the database cannot be reached" in sign_in.text
                assert DATABASE_AWAY in page.texts()

                began = time.monotonic()
                before = doorman.knocks
                own_stage.portal.release()  # what the imports bring now, they have to keep until it can be stored
                wait_until(lambda: doorman.knocks >= before + KNOCKS, SOON, "further attempts")
                waited = time.monotonic() - began
                assert KNOCKS / waited < MAX_KNOCKS_PER_SECOND
                assert cpu_seconds(scheduler.pid) - cpu < MAX_SHARE_OF_A_CORE * (time.monotonic() - doorman.began)
                assert count_lines(scheduler.read_log()) - lines < MAX_LINES
                assert "Traceback" not in scheduler.read_log()
            postgres.start()
            wait_until(lambda: client.get("/api/health").json()["status"] == "ok", SOON, "health")
            assert DATABASE_AWAY not in page.texts()
    for job_id in jobs:
        own_stage.wait_for_status(job_id, RunStatus.COMPLETED, seconds=SOON)
    assert scheduler.process.poll() is None
    findings = own_stage.check()
    assert (findings.interrupted, findings.repeated_sign_ins) == (0, 0)


def count_lines(log: str) -> int:
    return len(log.splitlines())


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
