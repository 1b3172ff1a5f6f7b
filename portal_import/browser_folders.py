"""Where a run's browser keeps its profile: a folder that goes with the run, and with all that still runs in it.

A browser makes a process group of its own, so killing a run's group need not end it, and what is killed removes no
profile. So each run's folder is locked by its process, which the system undoes however the process ends; whoever
finds a folder without an owner ends what runs in it and removes it: the supervisor when its child has ended, and
the next run that starts a browser. Cheap to import.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

END_SECONDS = 5.0
REMOVE_ATTEMPTS = 3
_OWNER = "owner"
_GATE = "lock"
_PREFIX = "b"
# Chromium makes a socket of some 45 characters more in there, and the address of a socket has at most 104.
MAX_FOLDER_LENGTH = 55

logger = logging.getLogger(__name__)


class UnsafeFolderError(OSError):
    """Another user could read or replace what the browser keeps."""


@contextmanager
def browser_folder() -> Generator[Path]:
    """A folder of this process's own, for one browser. Raises OSError when it can't be made."""
    root = _root()
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o077 or root.is_symlink():
        raise UnsafeFolderError(f"{root} belongs to another user or is open to others; remove it")
    with _alone(root):
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
        owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(owner, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        os.close(owner)
        remove_leftovers()


def remove_leftovers() -> None:
    """End the browsers whose run has ended, and remove what they kept."""
    root = _root()
    if not root.is_dir():
        return
    with _alone(root):
        for folder in root.glob(f"{_PREFIX}*"):
            if not _has_owner(folder):
                end_processes(folder)
                _remove(folder)


def _root() -> Path:
    name = f"punctual-{os.geteuid()}"
    usual = Path(tempfile.gettempdir()) / name
    return usual if len(str(usual / f"{_PREFIX}12345678")) <= MAX_FOLDER_LENGTH else Path("/tmp") / name  # noqa: S108


@contextmanager
def _alone(root: Path) -> Generator[None]:
    """Keep others from taking a folder that is being made for one without an owner."""
    gate = os.open(root / _GATE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield
    finally:
        os.close(gate)


def _has_owner(folder: Path) -> bool:
    try:
        owner = os.open(folder / _OWNER, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(owner)
    return False


def end_processes(folder: Path) -> None:
    """Kill every process that was told to use the folder, and all that it started."""
    import psutil  # only where there was a browser

    doomed: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) in argument for argument in process.cmdline()):
                doomed.update([process, *process.children(recursive=True)])
    for process in doomed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(doomed, timeout=END_SECONDS)


def _remove(folder: Path) -> None:
    for attempt in range(REMOVE_ATTEMPTS):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if attempt == REMOVE_ATTEMPTS - 1:
                logger.error("%s, which a browser left behind, could not be removed: %s", folder, error)
        else:
            return
