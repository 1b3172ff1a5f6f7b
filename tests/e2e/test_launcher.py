"""`make run`'s launcher: starts everything, stops everything, and says in one sentence why it cannot."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.installation import PROJECT_ROOT, free_port
from tests.waiting import wait_until

READY = "Punctual is ready"
PROCESSES = ("uvicorn web.app:app", "-m scheduler_service", "-m demo", "postgres -D")


class Launch:
    """One home and its ports, launched as often as a test likes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.demo_port = free_port()
        self.launches = 0
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, **extra: str) -> subprocess.Popen[bytes]:
        """Launch in a session of its own, printing to a log of its own."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUNCTUAL_", "DATABASE_URL", "STORAGE_URL"))}
        environment = kept | {
            "PUNCTUAL_HOME": str(self.home),
            "PUNCTUAL_PORT": str(self.port),
            "PUNCTUAL_DEMO_PORT": str(self.demo_port),
        }
        self.launches += 1
        with self.log_path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "launcher.py"],
                cwd=PROJECT_ROOT,
                env=environment | extra,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    @property
    def log_path(self) -> Path:
        """What the last launch printed."""
        return self.home.parent / f"launcher-{self.launches}.log"

    def wait_until_ready(self) -> None:
        """Until it says where to go."""
        wait_until(lambda: READY in self.log_path.read_text(), 90, "the launcher to be ready")

    def running(self) -> list[str]:
        """The command lines of what runs from this home."""
        found: list[str] = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                belongs = str(self.home) in words or process.environ().get("PUNCTUAL_HOME") == str(self.home)
            except psutil.Error:
                continue
            if belongs and any(p in words for p in PROCESSES):
                found.append(words)
        return found

    def refuse(self, **extra: str) -> str:
        """Launch what cannot start; returns the one line that it says."""
        process = self.start(**extra)
        assert process.wait(60) == 1
        lines = [line for line in self.log_path.read_text().splitlines() if "Starting Postgres" not in line]
        assert len(lines) == 1, lines
        return lines[0]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Everything that it started is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="punctual-launch-") as folder:
        made = Launch(Path(folder) / "home")
        try:
            yield made
        finally:
            for process in made.started:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    process.wait(60)


def test_launcher_starts_all_and_an_interrupt_stops_all(launch: Launch) -> None:
    process = launch.start()
    launch.wait_until_ready()
    said = launch.log_path.read_text()
    assert "Sign in as admin with the password" in said
    assert {p for p in PROCESSES if not any(p in words for words in launch.running())} == set()

    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 0
    assert launch.running() == []
    assert not (launch.home / "postgres" / "postmaster.pid").exists()


def test_launcher_cleans_up_after_a_killed_run_and_makes_no_second_admin(launch: Launch) -> None:
    first = launch.start()
    launch.wait_until_ready()
    first.kill()
    first.wait()
    assert launch.running()

    launch.start()
    launch.wait_until_ready()

    said = launch.log_path.read_text()
    assert "stopping what it left behind" in said
    assert "with the password" not in said
    assert sum("uvicorn" in words and "sh -c" not in words for words in launch.running()) == 1


def test_second_launch_from_the_same_home_is_refused(launch: Launch) -> None:
    launch.start()
    launch.wait_until_ready()
    assert "already running" in launch.refuse()


def test_taken_port_is_one_sentence(launch: Launch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", launch.port))
        taken.listen()
        said = launch.refuse()
    assert f"127.0.0.1:{launch.port} cannot be used (address already in use)" in said
    assert "PUNCTUAL_PORT" in said


def test_unreachable_database_is_one_sentence_without_the_password(launch: Launch) -> None:
    said = launch.refuse(DATABASE_URL=f"postgresql://bob:hunter2@127.0.0.1:{free_port()}/x")
    assert "is Postgres running there?" in said
    assert "hunter2" not in said


def test_invalid_setting_is_one_sentence(launch: Launch) -> None:
    assert launch.refuse(PUNCTUAL_SLOTS="many").startswith('Punctual cannot start: PUNCTUAL_SLOTS: found "many"')


def test_make_refuses_an_old_python_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    # answers the version check as Python 3.10 would
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10); exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "run", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "Punctual needs Python 3.11 or newer" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "venv").exists()
