"""Peers in environments of their own, because they disagree about versions: made at first use, with pip, from pins."""

import subprocess
import venv
from pathlib import Path

from settings import PROJECT_ROOT

ENVIRONMENTS = PROJECT_ROOT / ".venv-peers"
SCRIPTS = Path(__file__).parent / "peers"
INSTALL_SECONDS = 600


class PeerUnavailableError(Exception):
    """The peer could not be installed; says why."""


def get_python(name: str) -> str:
    """The interpreter of the environment for `requirements-NAME.txt`. Raises PeerUnavailableError."""
    requirements = SCRIPTS / f"requirements-{name}.txt"
    home = ENVIRONMENTS / name
    stamp = home / "installed"
    python = str(home / "bin" / "python")
    if stamp.exists() and stamp.read_text() == requirements.read_text():
        return python
    venv.create(home, with_pip=True, clear=True)
    command = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "-r", str(requirements)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise PeerUnavailableError(f"{name}: pip was not done within {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise PeerUnavailableError(f"{name}: pip failed: {last}")
    stamp.write_text(requirements.read_text())
    return python


def get_version(name: str, package: str) -> str:
    """The version that is pinned for the peer."""
    lines = (SCRIPTS / f"requirements-{name}.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.lower().startswith(f"{package}=="))
