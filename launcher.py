"""`make run`: one command that brings everything up and, on Ctrl-C, takes it down again.

Order: settings, ports, database (embedded unless DATABASE_URL is set), migrations, first admin, then the
processes of the Procfile. The embedded Postgres starts first and stops last.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import urllib.request
from pathlib import Path

import honcho.manager
import psutil
from honcho.environ import parse_procfile
from sqlalchemy.exc import OperationalError

from db.embedded import EmbeddedServerError, detach_server
from db.engine import create_database_engine, resolve_url, transaction
from db.migrate import MigrationRefusedError, explain_connection_error, upgrade
from db.storage_address import find_storage_problem
from db.users import ensure_admin
from settings import PROJECT_ROOT, InvalidSettingsError, Settings, read_settings

MARK = "PUNCTUAL_LAUNCHED_FROM"
SECONDS_TO_START = 60


class StartError(Exception):
    """Punctual cannot start; the message says why, in one sentence."""


def main() -> int:
    """Run until stopped; returns the exit code."""
    try:
        settings = read_settings()
        take_over(settings)
        check_ports(settings)
        check_storage(settings)
        password = prepare_database(settings)
    except (StartError, InvalidSettingsError, EmbeddedServerError, MigrationRefusedError) as error:
        print(f"Punctual cannot start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    try:
        return run_processes(settings, password)
    finally:
        pid_file(settings).unlink(missing_ok=True)
        if settings.database_url is None:
            detach_server(settings.home)


def take_over(settings: Settings) -> None:
    """Note that this home is in use, and end what a killed run left behind. Raises StartError."""
    path = pid_file(settings)
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid, created = json.loads(path.read_text())
        if psutil.pid_exists(pid) and psutil.Process(pid).create_time() == created:
            raise StartError(f"it is already running from {settings.home} (process {pid})")
        end_leftovers(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    me = psutil.Process()
    path.write_text(json.dumps([me.pid, me.create_time()]))


def end_leftovers(settings: Settings) -> None:
    """End the processes that a killed run started from this home."""
    leftovers: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(settings.home) and process.name() != "postgres":
                process.terminate()
                leftovers.append(process)
    if leftovers:
        print("The last run was killed; stopping what it left behind ...")
        for process in psutil.wait_procs(leftovers, timeout=10)[1]:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(leftovers, timeout=5)


def check_ports(settings: Settings) -> None:
    """Raise StartError when a port is taken or the host is not one of this machine's."""
    wanted = [("PUNCTUAL_PORT", settings.host, settings.port)]
    if settings.demo:
        wanted.append(("PUNCTUAL_DEMO_PORT", "127.0.0.1", settings.effective_demo_port))
    for name, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise StartError(
                    f"{host}:{port} cannot be used ({os.strerror(error.errno or 0).lower()}); "
                    f"stop what uses it or choose another port with {name}=…"
                ) from None


def check_storage(settings: Settings) -> None:
    """Raise StartError when bills could not be stored at that address."""
    problem = find_storage_problem(settings.effective_storage_url)
    if problem is not None:
        raise StartError(problem)


def prepare_database(settings: Settings) -> str | None:
    """Reach the database, migrate it and make the first admin; returns a generated password."""
    if settings.database_url is None:
        print("Starting Postgres ...")
    url = resolve_url(settings)
    engine = create_database_engine(url, application="launcher", pool_size=1)
    try:
        upgrade(engine)
        with transaction(engine) as session:
            given = settings.admin_password.get_secret_value() if settings.admin_password else None
            return ensure_admin(session, settings.admin_username, given)
    except OperationalError as error:
        raise StartError(explain_connection_error(error, url)) from None
    finally:
        engine.dispose()


def run_processes(settings: Settings, password: str | None) -> int:
    """Start the Procfile's processes and stay with them until one of them ends or a signal comes."""
    environment = os.environ | {
        MARK: str(settings.home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
        "PUNCTUAL_HOME": str(settings.home),
        "PUNCTUAL_HOST": settings.host,
        "PUNCTUAL_PORT": str(settings.port),
        "PUNCTUAL_DEMO_PORT": str(settings.effective_demo_port),
    }
    honcho.manager.KILL_WAIT = settings.drain_seconds + 10
    manager = honcho.manager.Manager()
    procfile = parse_procfile((PROJECT_ROOT / "Procfile").read_text())
    for name, command in procfile.processes.items():
        if name != "demo" or settings.demo:
            manager.add_process(name, command, env=environment, cwd=str(PROJECT_ROOT))
    threading.Thread(target=announce, args=(settings, password), daemon=True).start()
    manager.loop()
    code = manager.returncode or 0
    return 0 if code in (130, 143) else code


def announce(settings: Settings, password: str | None) -> None:
    """Say where to go once the web answers."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    if not wait_for_web(f"{url}/account/login"):
        print("The web process does not answer yet; see its messages above.", file=sys.stderr)
        return
    lines = [f"Punctual is ready: {url}"]
    if password is not None:
        lines.append(f"Sign in as {settings.admin_username} with the password {password}")
        lines.append("The password is shown only this once; change it in the menu under your name.")
    if settings.demo:
        lines.append(f"A demo portal to try it on: {settings.demo_url}")
    width = max(len(line) for line in lines)
    print("\n".join(["", "=" * width, *lines, "=" * width, ""]), flush=True)


def wait_for_web(url: str) -> bool:
    """True as soon as the address answers; False when it does not in time."""
    pause = threading.Event()
    for _ in range(SECONDS_TO_START * 4):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200
        pause.wait(0.25)
    return False


def pid_file(settings: Settings) -> Path:
    """Who runs from this home: process id and its start time."""
    return settings.home / "launcher.json"


if __name__ == "__main__":
    sys.exit(main())
