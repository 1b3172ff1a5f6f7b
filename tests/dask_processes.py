"""A Dask cluster on loopback, of real `dask scheduler` and `dask worker` processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from settings import PROJECT_ROOT
from tests.waiting import wait_until

START_SECONDS = 60
END_SECONDS = 60
THREADS = 2


@dataclass
class DaskProcess:
    """One of the cluster's processes, in a process group of its own."""

    process: "subprocess.Popen[bytes]"
    log: Path
    address: str = ""

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def read_log(self) -> str:
        return self.log.read_text()

    def end(self) -> None:
        """SIGKILL; what it started notices by itself."""
        if self.is_alive():
            self.process.kill()
        self.process.wait(END_SECONDS)


@dataclass
class DaskCluster:
    """A scheduler and its workers. `environment` is what every worker gets."""

    folder: Path
    environment: Mapping[str, str]
    port: int = 0
    scheduler: DaskProcess | None = None
    workers: list[DaskProcess] = field(default_factory=list)
    started: int = 0

    @property
    def address(self) -> str:
        assert self.scheduler is not None
        return self.scheduler.address

    def start_scheduler(self, *, knows_punctual: bool = True) -> None:
        file = self.folder / f"scheduler-{self.started}.json"
        command = ["scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", "127.0.0.1:0"]
        path = {"PYTHONPATH": str(PROJECT_ROOT) if knows_punctual else ""}
        process = self._start("scheduler", [*command, "--scheduler-file", str(file)], path)
        process.address = wait_until(lambda: _read_address(file, process), START_SECONDS, "Dask's scheduler")
        self.scheduler = process

    def start_worker(self, *options: str, environment: Mapping[str, str] | None = None) -> DaskProcess:
        """A worker with two threads and no nanny, unless told otherwise; it may need a moment to join."""
        file = self.folder / f"worker-{self.started}"
        command = ["worker", self.address, "--nthreads", str(THREADS), "--host", "127.0.0.1"]
        given = self.environment if environment is None else environment
        worker = self._start("worker", [*command, *(options or ("--no-nanny",)), "--local-directory", str(file)], given)
        self.workers.append(worker)
        return worker

    def ensure_workers(self, count: int) -> None:
        """That many workers, whatever an earlier test did to them."""
        self.workers = [w for w in self.workers if w.is_alive()]
        while len(self.workers) > count:
            self.workers.pop().end()
        while len(self.workers) < count:
            self.start_worker("--no-nanny", "--preload", "tests.dask_stubs")

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                process.end()

    def _start(self, kind: str, command: list[str], environment: Mapping[str, str]) -> DaskProcess:
        self.started += 1
        log = self.folder / f"{kind}-{self.started}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUNCTUAL_", "DASK_"))}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(Path(sys.executable).with_name("dask")), *command],
                env=kept | {"PYTHONPATH": str(PROJECT_ROOT), **environment},
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return DaskProcess(process, log)


def _read_address(file: Path, process: DaskProcess) -> str | None:
    assert process.is_alive(), process.read_log()
    try:
        return str(json.loads(file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None
