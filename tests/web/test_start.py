"""Every way to start the web: behind the gate, or saying how to start, but never an unguarded page."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from settings import PROJECT_ROOT
from tests.postgres import TestServer
from tests.web.site import PASSWORD, START_SECONDS, Site, open_socket, running_site


@contextmanager
def streamlit_run(site: Site, script: str) -> Iterator[httpx.Client]:
    """`streamlit run` on the site's database, answering."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.address=127.0.0.1", f"--server.port={port}"]
    environment = os.environ | {"DATABASE_URL": site.database_url, "PUNCTUAL_HOME": str(site.home)}
    with (site.home / "streamlit.log").open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=PROJECT_ROOT, stdout=output, stderr=output)
    try:
        transport = httpx.HTTPTransport(retries=7)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=START_SECONDS) as client:
            client.get("/_stcore/health").raise_for_status()
            yield client
    finally:
        process.terminate()
        process.wait(30)


def test_streamlit_run_of_the_web_app_is_gated(site: Site) -> None:
    with streamlit_run(site, "web/app.py") as client:
        page = client.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/account/login")
        assert client.get("/api/health").json()["database"]


def test_page_started_without_the_gate_says_how_to_start_and_believes_no_header(site: Site) -> None:
    user_id = site.user_id_of(site.add_user())
    with streamlit_run(site, "streamlit_app.py") as client:
        for headers in ({}, {"X-Punctual-User": user_id}, {"X-Punctual-User": f"{user_id}.{'0' * 64}"}):
            with open_socket(client.base_url.port or 0, headers) as page:
                texts = page.texts()
            assert len(texts) == 1
            assert "make run" in texts[0]


REFUSED_STARTS = {
    "no database address": ("notaurl", "DATABASE_URL: not a database address"),
    "a server that does not answer": (
        "postgresql://ann:hunter2@127.0.0.1:1/punctual",
        "nothing answers at 127.0.0.1:1; is Postgres running there?",
    ),
}


def start_web(database_url: str, home: Path) -> subprocess.CompletedProcess[str]:
    """The web process, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "uvicorn", "web.app:app", "--port", "0", "--log-level", "warning"],
        env=os.environ | {"DATABASE_URL": database_url, "PUNCTUAL_HOME": str(home)},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


@pytest.mark.parametrize(("address", "said"), REFUSED_STARTS.values(), ids=REFUSED_STARTS.keys())
def test_web_that_cannot_start_says_why_and_ends(tmp_path: Path, address: str, said: str) -> None:
    ended = start_web(address, tmp_path)
    assert ended.returncode != 0
    assert f"Punctual cannot start: {said}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr


def test_web_on_tables_of_another_version_says_what_to_run(tmp_path: Path, empty_database_url: str) -> None:
    ended = start_web(empty_database_url, tmp_path)
    assert ended.returncode != 0
    assert "the database is not up to date; run: python -m db upgrade" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_sign_in_says_so_when_the_database_goes_away(postgres: TestServer, tmp_path: Path) -> None:
    address = postgres.create(postgres.template)
    with running_site(address, tmp_path) as site, site.client() as client:
        postgres.drop_now(address)
        answers = [
            client.post("/account/login", data={"username": "ann", "password": PASSWORD}),
            client.get("/account/login", headers={"Cookie": f"{site.cookie}=some-session"}),
        ]
    for answer in answers:
        assert answer.status_code == 503
        assert "the database cannot be reached. Try again shortly." in answer.text
        assert PASSWORD not in answer.text
