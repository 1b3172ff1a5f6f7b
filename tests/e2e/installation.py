"""A whole Punctual of a test's own: real processes on free ports, with a home of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

PROJECT_ROOT = Path(__file__).resolve().parents[2]
ADMIN_PASSWORD = "a long Made-up pass phrase 1"


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Installation:
    """Starts, watches and ends the processes of one installation."""

    home: Path
    port: int = field(default_factory=free_port)
    demo_port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the web answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def portal(self) -> str:
        """Where the demo portal answers."""
        return f"http://127.0.0.1:{self.demo_port}"

    @property
    def environment(self) -> dict[str, str]:
        """What each process gets."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PUNCTUAL_", "DATABASE_URL", "STORAGE_URL"))}
        return kept | {
            "PUNCTUAL_HOME": str(self.home),
            "PUNCTUAL_PORT": str(self.port),
            "PUNCTUAL_DEMO_PORT": str(self.demo_port),
            "PUNCTUAL_ADMIN_PASSWORD": ADMIN_PASSWORD,
            "PUNCTUAL_LEASE_SECONDS": "4",
            "PUNCTUAL_DRAIN_SECONDS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def prepare(self) -> None:
        """Migrate and make the admin, as a script would."""
        self._check("-m", "db", "upgrade")
        self._check("-m", "db", "create-user", "admin", "--role", "admin")

    def start_demo(self, *options: str) -> None:
        """Start the demo portal with its request log."""
        self._start("demo", "-m", "demo", "--port", str(self.demo_port), "--inspect", *options)
        wait_until(lambda: _answers(f"{self.portal}/login"), seconds=30, what="the demo portal")

    def start_web(self) -> None:
        """Start pages and API."""
        self._start("web", "-m", "uvicorn", "web.app:app", "--port", str(self.port), "--log-level", "warning")
        wait_until(lambda: _answers(f"{self.url}/account/login"), seconds=60, what="the web")

    def start_scheduler(self) -> None:
        """Start scheduler_service."""
        self._start("scheduler", "-m", "scheduler_service")

    def kill(self, name: str) -> None:
        """End a process the hard way."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes.pop(name).wait()

    def stop(self) -> None:
        """End everything, the way an operator would."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(timeout=30)
        self.processes.clear()

    def log(self, name: str) -> str:
        """What a process printed."""
        return self._log_path(name).read_text(errors="replace")

    def get_portal(self, path: str) -> Any:
        """An answer of the demo portal's inspection pages."""
        with urllib.request.urlopen(f"{self.portal}{path}", timeout=30) as answer:
            return json.load(answer)

    def _start(self, name: str, *arguments: str) -> None:
        with self._log_path(name).open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments], cwd=PROJECT_ROOT, env=self.environment, stdout=log, stderr=log
            )

    def _check(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _log_path(self, name: str) -> Path:
        return self.home.parent / f"{name}.log"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
