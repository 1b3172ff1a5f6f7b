"""What SIGKILL does to the work of Punctual and of its peers: their own failures, with the same counts, in one run.

Every job takes a while, which its figure tells, and then inserts one row; afterwards the rows are counted. Lost is what
was due and never executed, although the scheduler was started again and given time; doubled is what was executed once
too often.
Punctual's runs write their row as imports write results, under the lease (`bench.recording_scheduler`).
Needs the peers' packages at first use. `python -m bench.crash`.
"""

# ruff: noqa: T201

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Engine, text

from bench.figures import Figure, all_hold, print_figures
from bench.peer_environments import SCRIPTS, PeerUnavailableError, get_python, get_version
from bench.postgres import fresh_database, fresh_server
from settings import PROJECT_ROOT

LEASE_SECONDS = 5  # of everybody who has leases, so that nobody waits long for a dead worker's work
SHORT_JOB_SECONDS = 0.2
QUICK_JOB_SECONDS = 0.05  # of APScheduler 4, which takes minutes for a thousand longer ones
LONG_JOB_SECONDS = 2  # of the jobs that are all running when their worker is killed
POLL_SECONDS = 0.005
DEADLINE_SECONDS = 300
KILLED_AFTER = 0.4  # of the jobs were executed
SLOTS = 10  # as many as the threads of APScheduler 3

EFFECTS = "CREATE TABLE effects (job text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
FIRED = "SELECT count(*) FROM import_runs"
LIVE = "SELECT count(*) FROM import_runs WHERE status IN ('queued', 'running')"
RUNNING = "SELECT count(*) FROM import_runs WHERE status = 'running'"
DUE = "SELECT count(*) FROM import_sessions WHERE is_scheduled AND next_run <= now()"
APSCHEDULER3_FIRED = "SELECT count(*) FROM apscheduler_jobs WHERE next_run_time > extract(epoch FROM now())"
APSCHEDULER4_FIRED = "SELECT count(*) FROM schedules WHERE last_fire_time IS NOT NULL"
DOING = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
USER = "INSERT INTO users (id, username, name, password_hash) VALUES ('owner', 'owner', 'Owner', '!')"
SCHEDULED_JOBS = """
    INSERT INTO import_sessions (user_id, name, login_url, billing_url, is_scheduled, schedule_type, schedule_config,
            next_run, accounts_count, max_attempts, retry_delay_seconds)
        SELECT 'owner', 'Bills ' || n, 'https://portal.example', 'https://portal.example', true, 'daily',
               jsonb_build_object('hour', extract(hour FROM due)::int, 'minute', extract(minute FROM due)::int),
               due, 1, 20, 0
        FROM generate_series(1, :jobs) AS n, date_trunc('minute', now() - interval '1 minute', 'UTC') AS due
"""
QUEUED_JOBS = """
    INSERT INTO import_sessions (user_id, name, login_url, billing_url, status, accounts_count)
        SELECT 'owner', 'Bills ' || n, 'https://portal.example', 'https://portal.example', 'queued', 1
        FROM generate_series(1, :jobs) AS n;
    INSERT INTO import_runs (session_id, trigger, status, owner_id)
        SELECT id, 'manual', 'queued', user_id FROM import_sessions
"""


@dataclass(frozen=True)
class Outcome:
    """What became of the jobs that were due."""

    lost: int
    doubled: int


@dataclass
class Scene:
    """A database for one scenario of one scheduler, and the processes that play in it."""

    engine: Engine
    folder: Path
    job_seconds: float
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def prepare(self, *statements: str, **values: object) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement), values)

    def count(self, query: str) -> int:
        with self.engine.connect() as connection:
            return connection.execute(text(query)).scalar_one()

    def start(self, command: Sequence[str], **environment: object) -> "subprocess.Popen[bytes]":
        """A process of the scheduler under test; what it says goes to a file."""
        given = {name: str(value) for name, value in environment.items()}
        path = f"{PROJECT_ROOT}:{SCRIPTS}"
        with (self.folder / "output.log").open("ab") as output:
            process = subprocess.Popen(  # noqa: S603
                command,
                env=_clean_environment()
                | {"EFFECTS_URL": self.url, "PYTHONPATH": path, "JOB_SECONDS": str(self.job_seconds)}
                | given,
                cwd=PROJECT_ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def run(self, command: Sequence[str], **environment: object) -> None:
        """A process that prepares something, to its end."""
        if self.start(command, **environment).wait(DEADLINE_SECONDS) != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {self.read_output()[-2000:]}")

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {DEADLINE_SECONDS} s; output:\n{self.read_output()[-2000:]}")
            time.sleep(POLL_SECONDS)

    def wait_for_effects(self, at_least: float) -> None:
        self.wait_until(lambda: self.count("SELECT count(*) FROM effects") >= at_least)

    def wait_until_quiet(self, seconds: float) -> None:
        """Return when nothing was executed for that long."""
        last, since = -1, time.monotonic()
        while time.monotonic() < since + seconds:
            found = self.count("SELECT count(*) FROM effects")
            if found != last:
                last, since = found, time.monotonic()
            time.sleep(POLL_SECONDS * 20)

    def judge(self, jobs: int) -> Outcome:
        executed = self.count("SELECT count(*) FROM effects")
        distinct = self.count("SELECT count(DISTINCT job) FROM effects")
        return Outcome(lost=jobs - distinct, doubled=executed - distinct)

    def read_output(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")


@contextmanager
def open_scene(home: Path, name: str, job_seconds: float) -> Iterator[Scene]:
    with (
        tempfile.TemporaryDirectory(prefix="punctual-crash-") as folder,
        fresh_database(home, name) as engine,
    ):
        scene = Scene(engine, Path(folder), job_seconds)
        scene.prepare(EFFECTS)
        try:
            yield scene
        finally:
            for process in scene.processes:
                process.kill()
                process.wait()


def _clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("PUNCTUAL_", "DATABASE_URL", "STORAGE_URL"))}


# Punctual


def start_punctual(scene: Scene, *, slots: int = SLOTS) -> "subprocess.Popen[bytes]":
    return scene.start(
        [sys.executable, "-m", "bench.recording_scheduler"],
        DATABASE_URL=scene.url,
        PUNCTUAL_HOME=scene.folder,
        PUNCTUAL_SLOTS=slots,
        PUNCTUAL_LEASE_SECONDS=LEASE_SECONDS,
        PUNCTUAL_LOG_LEVEL="WARNING",
    )


def settle_punctual(scene: Scene) -> None:
    scene.wait_until(lambda: scene.count(LIVE) + scene.count(DUE) == 0)


def punctual_killed_firing(scene: Scene, jobs: int) -> Outcome:
    """Killed twice: as soon as the first batch is seen, and again when two in five of the runs took place."""
    scene.prepare(USER, SCHEDULED_JOBS, jobs=jobs)
    victim = start_punctual(scene)
    scene.wait_until(lambda: scene.count(FIRED) > 0)
    victim.kill()
    victim = start_punctual(scene)
    scene.wait_for_effects(jobs * KILLED_AFTER)
    victim.kill()
    start_punctual(scene)
    settle_punctual(scene)
    return scene.judge(jobs)


def punctual_by_two(scene: Scene, jobs: int) -> Outcome:
    scene.prepare(USER, SCHEDULED_JOBS, jobs=jobs)
    start_punctual(scene, slots=SLOTS // 2)
    start_punctual(scene, slots=SLOTS // 2)
    scene.wait_until(lambda: scene.count(FIRED) > 0)
    settle_punctual(scene)
    return scene.judge(jobs)


def punctual_killed_running(scene: Scene, jobs: int) -> Outcome:
    scene.prepare(USER, QUEUED_JOBS, jobs=jobs)
    victim = start_punctual(scene, slots=jobs)
    scene.wait_until(lambda: scene.count(RUNNING) == jobs)
    victim.kill()
    start_punctual(scene, slots=jobs)
    settle_punctual(scene)
    return scene.judge(jobs)


# Peers


def apscheduler3_killed(scene: Scene, jobs: int) -> Outcome:
    command = [sys.executable, str(SCRIPTS / "apscheduler3_store.py")]
    return _kill_half_way(scene, command, jobs, APSCHEDULER3_FIRED, quiet_seconds=4)


def apscheduler3_by_two(scene: Scene, jobs: int) -> Outcome:
    command = [sys.executable, str(SCRIPTS / "apscheduler3_store.py")]
    scene.run([*command, "setup", str(jobs)])
    for _ in range(2):
        scene.start([*command, "run"])
    scene.wait_for_effects(1)
    scene.wait_until_quiet(4)
    return scene.judge(jobs)


def apscheduler4_killed(scene: Scene, jobs: int) -> Outcome:
    command = [get_python("apscheduler4"), str(SCRIPTS / "apscheduler4_store.py")]
    return _kill_half_way(scene, command, jobs, APSCHEDULER4_FIRED, quiet_seconds=3 * LEASE_SECONDS)


def celery_beat_killed(scene: Scene, jobs: int) -> Outcome:
    command = [get_python("celery"), str(SCRIPTS / "celery_beat.py")]
    folder = scene.folder / "broker"
    scene.run([*command, "setup", str(jobs)], BROKER_FOLDER=folder)
    scene.start([*command, "worker"], BROKER_FOLDER=folder)
    victim = scene.start([*command, "run"], BROKER_FOLDER=folder)
    scene.wait_for_effects(jobs * KILLED_AFTER)
    victim.kill()
    scene.start([*command, "run"], BROKER_FOLDER=folder)
    scene.wait_until_quiet(8)
    return scene.judge(jobs)


def procrastinate_killed(scene: Scene, jobs: int) -> Outcome:
    """Given longer than the 30 s after which it counts a worker as stalled."""
    command = [get_python("procrastinate"), str(SCRIPTS / "procrastinate_worker.py")]
    scene.run([*command, "setup", str(jobs)])
    victim = scene.start([*command, "run", str(jobs)])
    scene.wait_until(lambda: scene.count(DOING) == jobs)
    victim.kill()
    scene.start([*command, "run", str(jobs)])
    scene.wait_until_quiet(40)
    return scene.judge(jobs)


def _kill_half_way(scene: Scene, command: Sequence[str], jobs: int, fired: str, *, quiet_seconds: float) -> Outcome:
    """Killed when the peer's own store says that half of the schedules have fired."""
    scene.run([*command, "setup", str(jobs)], LEASE_SECONDS=LEASE_SECONDS)
    victim = scene.start([*command, "run"], LEASE_SECONDS=LEASE_SECONDS)
    scene.wait_until(lambda: scene.count(fired) >= jobs / 2)
    victim.kill()
    scene.start([*command, "run"], LEASE_SECONDS=LEASE_SECONDS)
    scene.wait_until_quiet(quiet_seconds)
    return scene.judge(jobs)


@dataclass(frozen=True)
class Scenario:
    """One failure of one peer, and the same for Punctual."""

    name: str
    jobs: int
    job_seconds: float
    ours: Callable[[Scene, int], Outcome]
    peer_name: str
    peer: Callable[[Scene, int], Outcome]


def list_scenarios() -> list[Scenario]:
    apscheduler3 = f"APScheduler {version('apscheduler')} SQL store"
    apscheduler4 = f"APScheduler {get_version('apscheduler4', 'apscheduler')}"
    beat = f"django-celery-beat {get_version('celery', 'django-celery-beat')}"
    procrastinate = f"Procrastinate {get_version('procrastinate', 'procrastinate')}"
    return [
        Scenario(
            "due, killed firing", 2000, SHORT_JOB_SECONDS, punctual_killed_firing, apscheduler3, apscheduler3_killed
        ),
        Scenario("due, two schedulers", 2000, SHORT_JOB_SECONDS, punctual_by_two, apscheduler3, apscheduler3_by_two),
        Scenario(
            "due, killed firing", 1000, QUICK_JOB_SECONDS, punctual_killed_firing, apscheduler4, apscheduler4_killed
        ),
        Scenario("due, killed firing", 500, SHORT_JOB_SECONDS, punctual_killed_firing, beat, celery_beat_killed),
        Scenario("running, killed", 20, LONG_JOB_SECONDS, punctual_killed_running, procrastinate, procrastinate_killed),
    ]


def measure() -> list[Figure]:
    """Two figures a scenario: how many jobs were lost, and how many executions were one too many."""
    figures: list[Figure] = []
    with fresh_server() as home:
        for number, scenario in enumerate(list_scenarios()):
            with open_scene(home, f"ours{number}", scenario.job_seconds) as scene:
                ours = scenario.ours(scene, scenario.jobs)
            peer = _play_peer(home, number, scenario)
            for what in ("lost", "doubled"):
                count: int = getattr(ours, what)
                theirs: int | None = None if peer is None else getattr(peer, what)
                name = f"{scenario.jobs:,} jobs of {scenario.job_seconds} s {scenario.name}: {what}"
                figures.append(Figure(name, "", count, "0", count == 0, {scenario.peer_name: theirs}))
    return figures


def _play_peer(home: Path, number: int, scenario: Scenario) -> Outcome | None:
    """What became of the peer's jobs; None when it could not be installed, or came to no end."""
    try:
        with open_scene(home, f"peer{number}", scenario.job_seconds) as scene:
            return scenario.peer(scene, scenario.jobs)
    except (PeerUnavailableError, TimeoutError, RuntimeError) as error:
        print(f"{scenario.peer_name} gives no figure: {error}", file=sys.stderr)
        return None


def main() -> int:
    """Measure and print."""
    figures = measure()
    print_figures(figures)
    return 0 if all_hold(figures) else 1


if __name__ == "__main__":
    sys.exit(main())
