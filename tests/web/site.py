"""A running web process on its own database and port, and what tests do with it from outside."""

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from sqlalchemy import Engine
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from db.engine import create_database_engine, normalise_url, transaction
from db.models import Role, SessionKind
from db.user_sessions import create_user_session
from db.users import create_user, find_user
from settings import PROJECT_ROOT

PASSWORD = "Right-horse-1"
START_SECONDS = 60
ANSWER_SECONDS = 20

_numbers = itertools.count(1)


class Site:
    """The web process, seen from outside; every client gets an address of its own, so throttles do not meet."""

    def __init__(self, port: int, database_url: str, engine: Engine, home: Path) -> None:
        self.port = port
        self.cookie = f"punctual_session_{port}"
        self.url = f"http://127.0.0.1:{port}"
        self.database_url = database_url
        self.engine = engine
        self.home = home

    def add_user(self, role: Role = Role.OPERATOR, prefix: str = "user") -> str:
        """A new user with PASSWORD; returns the username."""
        username = f"{prefix}{next(_numbers)}"
        with transaction(self.engine) as session:
            create_user(session, username=username, password=PASSWORD, role=role)
        return username

    def client(self, token: str | None = None, ip: str | None = None) -> httpx.Client:
        number = next(_numbers)
        address = ip or f"10.0.{number // 256}.{number % 256}"
        cookies = {self.cookie: token} if token else None
        return httpx.Client(
            base_url=self.url, cookies=cookies, headers={"X-Forwarded-For": address}, timeout=START_SECONDS
        )

    def start_session(self, username: str, ttl: timedelta = timedelta(hours=1)) -> str:
        """The token of a signed-in browser, without asking for a password."""
        with transaction(self.engine) as session:
            user = find_user(session, username)
            assert user is not None
            now = datetime.now(UTC)
            return create_user_session(session, user, SessionKind.BROWSER, now, ttl, "127.0.0.1", "tests")

    def user_id_of(self, username: str) -> str:
        with transaction(self.engine) as session:
            user = find_user(session, username)
            assert user is not None
            return user.id

    def socket(
        self, token: str | None = None, headers: dict[str, str] | None = None, origin: str | None = None
    ) -> AbstractContextManager["PageSocket"]:
        """A page's socket on this site, signed in with `token`."""
        cookie = {"Cookie": f"{self.cookie}={token}"} if token is not None else {}
        return open_socket(self.port, {**(headers or {}), **cookie}, origin)


@contextmanager
def open_socket(port: int, headers: dict[str, str], origin: str | None = None) -> Iterator["PageSocket"]:
    """A page's socket, opened as Streamlit's frontend does."""
    with connect(
        f"ws://127.0.0.1:{port}/_stcore/stream",
        subprotocols=[Subprotocol("streamlit")],
        origin=Origin(origin or f"http://127.0.0.1:{port}"),
        additional_headers=headers,
        open_timeout=START_SECONDS,
        max_size=None,
    ) as connection:
        yield PageSocket(connection)


class PageSocket:
    """A page's socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def rerun(self) -> None:
        message = BackMsg()
        message.rerun_script.query_string = ""
        self._connection.send(message.SerializeToString())

    def texts(self) -> list[str]:
        """Run the script once; returns the Markdown it shows, and the texts of its notices."""
        self.rerun()
        texts: list[str] = []
        while True:
            message = self.next_message()
            if message.WhichOneof("type") == "delta":
                element = message.delta.new_element
                texts.extend(text for text in (element.markdown.body, element.alert.body) if text)
            if message.WhichOneof("type") == "script_finished":
                return texts

    def next_message(self) -> ForwardMsg:
        message = ForwardMsg()
        data = self._connection.recv(timeout=ANSWER_SECONDS)
        assert isinstance(data, bytes)
        message.ParseFromString(data)
        return message

    def drain(self) -> tuple[list[ForwardMsg], int | None]:
        """Everything until the server closes the socket, and the code it closes with."""
        messages: list[ForwardMsg] = []
        try:
            while True:
                messages.append(self.next_message())
        except ConnectionClosed as closed:
            return messages, closed.rcvd.code if closed.rcvd else None


@contextmanager
def running_site(database_url: str, home: Path, app: str = "tests.web.gated_app:app") -> Iterator[Site]:
    """A web process that answers; the port is bound before it starts, so the first request simply waits for it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    listener.set_inheritable(True)
    port = listener.getsockname()[1]
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "PUNCTUAL_HOME": str(home),
        "PUNCTUAL_PORT": str(port),
        "PYTHONPATH": str(PROJECT_ROOT),
    }
    command = [sys.executable, "-m", "uvicorn", app, "--fd", str(listener.fileno())]
    with (home / "web.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=PROJECT_ROOT,
            pass_fds=[listener.fileno()],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    listener.close()
    engine = create_database_engine(normalise_url(database_url), application="tests")
    try:
        site = Site(port, database_url, engine, home)
        with site.client() as client:
            client.get("/_stcore/health").raise_for_status()
        yield site
    finally:
        process.terminate()
        process.wait(30)
        engine.dispose()
