"""Every way to start the web: behind the gate, or saying how to start, but never an unguarded page."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from settings import PROJECT_ROOT
from tests.web.site import START_SECONDS, Site, open_socket


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
