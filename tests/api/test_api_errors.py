"""Every error has one shape, whoever finds it: the framework, the limits, the database or a bug."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import DataError

from api.app import build_api
from api.body_limit import MAX_FORM_BYTES, MAX_JSON_BYTES, TOO_LARGE
from db.engine import create_database_engine, normalise_url, transaction
from settings import Settings
from tests.api.conftest import SECRET_KEY
from tests.api.portal_story import Person, make_token
from tests.factories import make_job


@pytest.mark.parametrize("path", ["/", "/nothing", "/jobs/", "/jobs/1/2/3", "/docs", "/auth"])
def test_unknown_path_is_404_in_words(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": f"there is no {path}"})


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/jobs/1", "DELETE, GET, PATCH"),
        ("DELETE", "/jobs", "GET, POST"),
        ("GET", "/auth/login", "POST"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
def test_wrong_method_names_the_right_ones(client: TestClient, method: str, path: str, allowed: str) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.json() == {"error": f"{method} does not work on {path}; allowed: {allowed}"}
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"{", "application/json", "the body is not valid JSON: Expecting property name"),
        (b"", "application/json", "the body is missing: send a JSON object"),
        (b"[]", "application/json", "the body is not a JSON object"),
        (b'"s3cret"', "application/json", "the body is not a JSON object"),
        (b'{"username": "a", "password": "s3cret"}', "text/plain", "the body is not a JSON object; send one with"),
        (b"username=a&password=s3cret", "application/x-www-form-urlencoded", "the body is not a JSON object"),
        (b'{"username": "a", "passwort": "s3cret"}', "application/json", 'unknown field "passwort"; allowed: username'),
        (b'{"username": "a"}', "application/json", "password: is missing"),
        (b'{"username": "a", "password": ["s3cret"]}', "application/json", "password: allowed: text"),
        (b'{"username": 7, "password": "s3cret"}', "application/json", 'username: found "7"; allowed: text'),
    ],
)
def test_unreadable_sign_in_is_explained_without_the_password(
    client: TestClient, body: bytes, content_type: str, words: str
) -> None:
    answer = client.post("/auth/login", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(words)
    assert "s3cret" not in answer.text


def test_deeply_nested_json_is_refused(olive: Person) -> None:
    content = b'{"schedule_config": ' + b"[" * 60_000
    answer = olive.client.post("/schedules/preview", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


def test_broken_multipart_is_refused(olive: Person) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=b"):
        answer = olive.client.post("/jobs", content=b"--c\r\nnonsense", headers={"Content-Type": content_type})
        assert answer.status_code in (400, 422)
        assert answer.json()["error"]


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "1e3", "abc", "%00"])
def test_number_that_no_run_has_is_refused(olive: Person, number: str) -> None:
    answer = olive.client.get(f"/runs/{number}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("run_id: found ")


@pytest.mark.parametrize(
    "path", ["/jobs/%00", "/jobs/%ff", "/jobs/%00/runs", "/results/%00/file", "/runs/9223372036854775807"]
)
def test_id_that_nothing_has_is_404(olive: Person, path: str) -> None:
    answer = olive.client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


class Exchange:
    """One request straight to the ASGI app, counting how much of its body was asked for."""

    def __init__(self, headers: dict[str, str], chunk: bytes) -> None:
        self.headers = headers
        self.chunk = chunk
        self.taken = 0
        self.messages: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        self.taken += 1
        return {"type": "http.request", "body": self.chunk, "more_body": True}

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    def run(self, api: FastAPI, path: str) -> "Exchange":
        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in self.headers.items()],
            "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1), "root_path": "",
        }  # fmt: skip
        asyncio.run(api(scope, self.receive, self.send))
        return self

    @property
    def answer(self) -> tuple[int, Any]:
        return self.messages[0]["status"], json.loads(self.messages[1]["body"])


@pytest.mark.parametrize(
    ("path", "content_type", "limit"),
    [
        ("/jobs", "multipart/form-data; boundary=b", MAX_FORM_BYTES),
        ("/schedules/preview", "application/json", MAX_JSON_BYTES),
    ],
)
def test_endless_body_is_read_up_to_the_limit_only(
    api: FastAPI, olive: Person, path: str, content_type: str, limit: int
) -> None:
    start = (
        b'--b\r\nContent-Disposition: form-data; name="csv"; filename="a"\r\n\r\n' if "b" in content_type[-1] else b""
    )
    chunk = start.ljust(16 * 1024, b"x")
    headers = {"content-type": content_type, "authorization": f"Bearer {olive.token}"}
    exchange = Exchange(headers, chunk).run(api, path)
    assert exchange.answer == (413, {"error": TOO_LARGE})
    assert exchange.taken == limit // len(chunk) + 1


def test_announced_oversize_is_refused_before_anything_is_read(api: FastAPI) -> None:
    for announced in (str(MAX_JSON_BYTES + 1), "9" * 5_000):
        exchange = Exchange({"content-type": "application/json", "content-length": announced}, b"x").run(api, "/jobs")
        assert exchange.answer == (413, {"error": TOO_LARGE})
        assert exchange.taken == 0


def test_unreachable_database_is_503(settings: Settings, api: FastAPI, olive: Person) -> None:
    away = create_database_engine(normalise_url("postgresql://nobody@127.0.0.1:1/nothing"), application="tests")
    with TestClient(build_api(away, settings), headers={"Authorization": f"Bearer {olive.token}"}) as client:
        for answer in (
            client.get("/jobs"),
            client.post("/auth/login", json={"username": "olive", "password": "x"}),
        ):
            assert answer.status_code == 503
            assert answer.json() == {"error": "the database is not reachable at the moment"}
            assert answer.headers["retry-after"] == "5"
        health = client.get("/health")
    assert health.status_code == 503
    assert health.json()["database"] == "unreachable"
    assert health.json()["error"] == "the database is not reachable at the moment"


def test_cut_connections_are_503_and_then_all_is_well(engine: Engine, olive: Person, client: TestClient) -> None:
    assert olive.client.get("/jobs").status_code == 200
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as killer:
        killer.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                 "WHERE datname = current_database() AND pid <> pg_backend_pid()")
        )  # fmt: skip
    assert olive.client.get("/jobs").status_code == 200


def test_lock_held_by_somebody_else_is_503(
    database_url: str, settings: Settings, engine: Engine, olive: Person
) -> None:
    impatient = create_database_engine(
        normalise_url(database_url).update_query_dict({"options": "-c lock_timeout=50ms"}), application="tests"
    )
    with transaction(engine) as session:
        job_id = make_job(session, olive.viewer).id
    headers = {"Authorization": f"Bearer {olive.token}"}
    with TestClient(build_api(impatient, settings), headers=headers) as client, transaction(engine) as session:
        session.execute(text("SELECT 1 FROM import_sessions WHERE id = :id FOR UPDATE"), {"id": job_id})
        answer = client.patch(f"/jobs/{job_id}", json={"name": "x"})
    impatient.dispose()
    assert answer.status_code == 503
    assert answer.json() == {"error": "somebody else is changing the same thing; try again shortly"}


@pytest.mark.parametrize(
    "error",
    [RuntimeError("boom s3cret"), DataError("SELECT s3cret", {}, Exception("s3cret"))],
    ids=lambda e: type(e).__name__,
)
def test_unexpected_error_is_500_without_details(
    api: FastAPI, client: TestClient, olive: Person, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr("api.jobs.list_jobs", fail)
    answer = olive.client.get("/jobs")
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong inside Punctual; its log says what"}


def test_failed_commit_is_an_error_and_not_a_success(
    engine: Engine, olive: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(engine) as session:
        job_id = make_job(session, olive.viewer).id
        session.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;"
                "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON import_runs DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    assert olive.client.post(f"/jobs/{job_id}/run").status_code == 500


def test_answers_are_never_cached(olive: Person, client: TestClient) -> None:
    for answer in (olive.client.get("/jobs"), client.get("/health"), client.get("/nothing"), client.get("/jobs")):
        assert answer.headers["cache-control"] == "no-store"


def test_api_works_mounted_below_another_path(
    engine: Engine, settings: Settings, api: FastAPI, olive: Person, sign_in: Callable[..., Person]
) -> None:
    outer = FastAPI()
    outer.mount("/api", api)
    token = make_token(engine, api, olive.viewer)
    with TestClient(outer, headers={"Authorization": f"Bearer {token}"}) as client:
        assert client.get("/api/jobs").status_code == 200
        assert client.get("/api/nothing").json() == {"error": "there is no /api/nothing"}
        assert client.put("/api/jobs").headers["allow"] == "GET, POST"


def test_settings_key_signs_the_tokens(engine: Engine, settings: Settings, olive: Person) -> None:
    other = settings.model_copy(update={"secret_key": SecretStr(SECRET_KEY + " but another")})
    with TestClient(build_api(engine, other), headers={"Authorization": f"Bearer {olive.token}"}) as client:
        assert client.get("/jobs").status_code == 401
