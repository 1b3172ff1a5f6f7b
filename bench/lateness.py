"""How late runs begin, how fast their processes start, and what a scheduler costs that has nothing to do.

Real processes throughout: scheduler_service with 8 slots, the web, and imports from a small portal on loopback. When a
run began is what the first line of its process noted. Beside it, in the same conditions: APScheduler 3.11 with its jobs
in memory, and a loop that asks the same Postgres once a second. `python -m bench.lateness`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor as ThreadPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
from apscheduler.events import EVENT_JOB_EXECUTED
from apscheduler.executors.base import BaseExecutor
from apscheduler.executors.pool import ProcessPoolExecutor, ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import Engine, text, update

from bench.figures import Figure, all_hold, print_figures
from bench.portal import small_portal
from bench.postgres import fresh_database, fresh_server
from bench.processes import SECRET_KEY, listening_service, punctual_process, wait_until
from db.accounts import NewAccount
from db.encryption import SecretBox
from db.engine import transaction
from db.instances import register_instance
from db.jobs import JobDraft, create_job
from db.models import Job, Portal, Role, Run
from db.schedules import Schedule
from db.users import create_user
from db.viewers import Viewer
from db.wake import Wake, send_wake
from settings import PROJECT_ROOT, VERSION

JOBS = 200
APART = timedelta(milliseconds=150)
AHEAD = timedelta(seconds=2)
ASKED = 30  # runs by hand, one after the other
IDLE_JOBS = 10_000
IDLE_SECONDS = 30.0
FRESH_STARTS = 5
SLOTS = 8
POLL_SECONDS = 1.0

MAX_MEDIAN, MAX_P99 = 20.0, 100.0  # milliseconds
MAX_BY_HAND = 50.0
MAX_START = 15.0
MAX_CPU = 1.0  # per cent of a core
MAX_MEMORY = 120.0  # MB

USERNAME, PASSWORD = "bench", "a long Made-up pass phrase 1"
DAILY = Schedule("daily", {"hour": 2, "minute": 0}, "UTC")


def main() -> int:
    """Measure and print."""
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, the embedded Postgres with fsync on")  # noqa: T201
    figures = measure()
    print_figures(figures)
    return 0 if all_hold(figures) else 1


def measure() -> list[Figure]:
    """Lateness by schedule and by hand, the start of a process, and the cost of idling."""
    with fresh_server() as home:
        with small_portal() as portal, fresh_database(home, "lateness") as engine:
            jobs = _add_jobs(engine, portal)
            with listening_service(engine, home, slots=SLOTS):
                late = _time_schedules(engine, jobs)
                by_hand = _time_by_hand(engine, home, jobs)
        with fresh_database(home, "idle") as engine:
            _add_idle_jobs(engine)
            # The peers meanwhile, which use little and disturb nobody: the service's own CPU time is what counts.
            with listening_service(engine, home, slots=SLOTS) as service, ThreadPool(1) as pool:
                peers_late = pool.submit(_time_peers, engine)
                idle = _watch_idle(service)
                peers = peers_late.result()
    starts, fresh = _time_starts(), _time_fresh_starts()
    return [
        _late("due to first line of the import, median", late, peers, 0.5, MAX_MEDIAN),
        _late("due to first line of the import, p99", late, peers, 0.99, MAX_P99),
        _milliseconds("run by hand over the API to first line, median", statistics.median(by_hand), MAX_BY_HAND),
        _milliseconds(
            "process asked for to its first line, median",
            statistics.median(starts),
            MAX_START,
            {"a fresh interpreter, imports included": statistics.median(fresh)},
        ),
        _at_most(f"idle with {IDLE_JOBS:,} jobs: CPU, % of a core", "%", idle.cpu_percent, MAX_CPU),
        _at_most(f"idle with {IDLE_JOBS:,} jobs: memory", "MB", idle.memory_mb, MAX_MEMORY),
    ]


# By schedule and by hand


def _add_jobs(engine: Engine, portal: str) -> list[str]:
    """Scheduled jobs of one account each, none of them due."""
    box, now = SecretBox((SECRET_KEY,)), datetime.now(UTC)
    with transaction(engine) as session:
        user = create_user(session, username=USERNAME, password=PASSWORD, role=Role.OPERATOR)
        viewer = Viewer(user.id, user.username, user.name, Role.OPERATOR)
        draft = JobDraft(
            name="Bills",
            login_url=f"http://{portal}/login",
            billing_url=f"http://{portal}/billing",
            portal_host=portal,
            schedule=DAILY,
            accounts=[NewAccount(2, "ann", "secret", {})],
        )
        jobs = [create_job(session, viewer, draft, box, authorised=True, now=now).id for _ in range(JOBS)]
        session.execute(update(Job).values(next_run=now + timedelta(days=365)))
        # As many as there are slots: a run that waits for its portal's turn is late on purpose.
        session.execute(update(Portal).values(min_seconds_between_requests=0, max_concurrent_accounts=SLOTS))
    return jobs


def _time_schedules(engine: Engine, jobs: Sequence[str]) -> list[float]:
    first = datetime.now(UTC) + AHEAD
    with transaction(engine) as session:
        for number, job_id in enumerate(jobs):
            session.execute(update(Job).where(Job.id == job_id).values(next_run=first + number * APART))
        send_wake(session, Wake.FIRE)
    wait_until(lambda: _count_ended(engine) == len(jobs), "the scheduled runs")
    with transaction(engine) as session:
        runs = session.execute(text("SELECT status, lateness_seconds FROM import_runs")).all()
    assert {status for status, _ in runs} == {"completed"}, runs
    return [lateness * 1000 for _, lateness in runs]


def _time_by_hand(engine: Engine, home: Path, jobs: Sequence[str]) -> list[float]:
    """From sending the request to the first line of the run that it asks for."""
    took: list[float] = []
    with _web(engine, home) as web:
        for number, job_id in enumerate(jobs[:ASKED]):
            sent_at = time.time()
            answer = web.post(f"/api/jobs/{job_id}/run")
            assert answer.status_code == 202, answer.text
            run_id = answer.json()["id"]
            wait_until(lambda wanted=JOBS + number + 1: _count_ended(engine) == wanted, "a run by hand")
            with transaction(engine) as session:
                run = session.get_one(Run, run_id)
            assert run.status == "completed"
            assert run.lateness_seconds is not None
            took.append((run.queued_at.timestamp() + run.lateness_seconds - sent_at) * 1000)
    return took


def _count_ended(engine: Engine) -> int:
    with engine.connect() as connection:
        query = text("SELECT count(*) FROM import_runs WHERE finished_at IS NOT NULL")
        return connection.execute(query).scalar_one()


# Processes


@contextmanager
def _web(engine: Engine, home: Path) -> Generator[httpx.Client]:
    """The web as it is run, and somebody who is signed in."""
    port = 18_000 + os.getpid() % 1000
    with (
        punctual_process(
            engine, home, "-m", "uvicorn", "web.app:app", "--port", str(port), "--log-level", "warning", slots=SLOTS
        ),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):

        def answers() -> bool:
            try:
                return client.get("/api/health").status_code < 600
            except httpx.TransportError:
                return False

        wait_until(answers, "the web")
        token = client.post("/api/auth/login", json={"username": USERNAME, "password": PASSWORD}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


# The start of a process


def _time_starts() -> list[float]:
    code = "from bench.first_line import main; main()"
    told = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, check=True)  # noqa: S603
    return json.loads(told.stdout)


def _time_fresh_starts() -> list[float]:
    took: list[float] = []
    for _ in range(FRESH_STARTS):
        began = time.monotonic()
        code = "import portal_import.run, time; print(time.monotonic())"
        told = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, check=True)  # noqa: S603
        took.append((float(told.stdout) - began) * 1000)
    return took


# Peers


def _time_peers(engine: Engine) -> dict[str, list[float]]:
    """All at once, as they do next to nothing: when their function starts, in milliseconds after it was due.

    Their function is a line in a pool that is there already; ours is a process of its own that starts.
    """
    first = time.time() + AHEAD.total_seconds()
    due = [first + number * APART.total_seconds() for number in range(JOBS)]
    late: dict[str, list[float]] = {}
    peers = {
        "APScheduler, in memory, threads": lambda: _time_apscheduler(ThreadPoolExecutor(SLOTS), due),
        "APScheduler, in memory, processes": lambda: _time_apscheduler(ProcessPoolExecutor(SLOTS), due),
        "Postgres asked once a second": lambda: _time_poller(engine, due),
    }
    threads = [threading.Thread(target=lambda n=n, p=p: late.update({n: p()})) for n, p in peers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return late


def _time_apscheduler(executor: BaseExecutor, due: Sequence[float]) -> list[float]:
    late: list[float] = []
    scheduler = BackgroundScheduler(
        timezone=UTC, executors={"default": executor}, job_defaults={"misfire_grace_time": None}
    )
    scheduler.add_listener(lambda event: late.append(event.retval), EVENT_JOB_EXECUTED)
    for instant in due:
        scheduler.add_job(_tell_lateness, "date", run_date=datetime.fromtimestamp(instant, UTC), args=[instant])
    scheduler.start()
    wait_until(lambda: len(late) == len(due), "APScheduler")
    scheduler.shutdown()
    return late


def _tell_lateness(due_at: float) -> float:
    return (time.time() - due_at) * 1000


def _time_poller(engine: Engine, due: Sequence[float]) -> list[float]:
    late: list[float] = []
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE polled (due_at float PRIMARY KEY)"))
        connection.execute(text("INSERT INTO polled SELECT unnest(:due)"), {"due": list(due)})
    while len(late) < len(due):
        with engine.begin() as connection:
            taken = connection.execute(
                text("DELETE FROM polled WHERE due_at <= :now RETURNING due_at"), {"now": time.time()}
            ).scalars()
            late += [_tell_lateness(due_at) for due_at in taken]
        time.sleep(POLL_SECONDS)
    return late


# Idling


@dataclass(frozen=True)
class Idle:
    cpu_percent: float
    memory_mb: float


def _add_idle_jobs(engine: Engine) -> None:
    with transaction(engine) as session:  # as where it ran before: the first start ever aims every schedule anew
        register_instance(session, host="bench", pid=0, version=VERSION, slots=0, now=datetime.now(UTC))
    with engine.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO users (id, username, name, password_hash) VALUES ('u', 'u', 'User', '!');
                INSERT INTO import_sessions (user_id, name, login_url, billing_url, is_scheduled, schedule_type,
                        schedule_config, time_zone, accounts_count, next_run)
                    SELECT 'u', 'Bills ' || n, 'https://portal.example/login', 'https://portal.example/bills', true,
                           'daily', '{"hour": 2, "minute": 0}', 'UTC', 3, now() + n * interval '1 hour'
                    FROM generate_series(1, :jobs) AS n
            """),
            {"jobs": IDLE_JOBS},
        )


def _watch_idle(service: psutil.Process) -> Idle:
    time.sleep(3)  # its first polls are over
    began, before = time.monotonic(), service.cpu_times()
    time.sleep(IDLE_SECONDS)
    after, seconds = service.cpu_times(), time.monotonic() - began
    used = after.user + after.system - before.user - before.system
    return Idle(100 * used / seconds, service.memory_info().rss / 1024**2)


# Figures


def _late(name: str, ours: list[float], peers: dict[str, list[float]], share: float, most: float) -> Figure:
    figures = {peer: _quantile(late, share) for peer, late in peers.items()}
    return _milliseconds(f"{name} of {JOBS}", _quantile(ours, share), most, figures)


def _milliseconds(name: str, ours: float, most: float, peers: dict[str, float] | None = None) -> Figure:
    peers = peers or {}
    return Figure(
        name=name,
        unit="ms",
        ours=ours,
        target=f"< {most:.0f} ms",
        holds=ours < most,
        peers=peers,
        ratio=ours / min(peers.values()) if peers else None,
    )


def _at_most(name: str, unit: str, ours: float, most: float) -> Figure:
    return Figure(name=name, unit=unit, ours=ours, target=f"< {most:.0f} {unit}", holds=ours < most)


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


if __name__ == "__main__":
    sys.exit(main())
