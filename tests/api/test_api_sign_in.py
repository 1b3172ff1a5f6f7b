"""Tokens: who gets one, what ends it, and what is not one."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine, select, update

from api.app import build_api
from api.tokens import AUDIENCE, ISSUER, TokenClaims, sign_token
from db.engine import transaction
from db.key_rotation import rotate_key
from db.models import Role, SessionKind, User, UserSession
from db.sign_in_throttle import FAILURES_PER_USERNAME
from db.user_sessions import hash_token
from db.users import create_user, deactivate_user, set_role
from settings import Settings
from tests.api.portal_story import Person, make_token

PASSWORD = "Right-horse-1"


@pytest.fixture
def user(engine: Engine) -> str:
    with transaction(engine) as session:
        return create_user(session, username="olga", password=PASSWORD, role=Role.OPERATOR).id


def key_of(api: FastAPI) -> bytes:
    return api.state.resources.box.signing_key


def claims_of(token: str) -> dict[str, object]:
    return jwt.decode(token, options={"verify_signature": False})


def status_with(client: TestClient, token: str) -> int:
    return client.get("/jobs", headers={"Authorization": f"Bearer {token}"}).status_code


def test_sign_in_gives_a_token_that_works(engine: Engine, client: TestClient, user: str) -> None:
    answer = client.post("/auth/login", json={"username": "OLGA", "password": PASSWORD})
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"access_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("bearer", 12 * 3600)
    assert status_with(client, body["access_token"]) == 200
    claims = claims_of(body["access_token"])
    assert (claims["sub"], claims["iss"], claims["aud"]) == (user, ISSUER, AUDIENCE)
    with transaction(engine) as session:
        stored = session.scalars(select(UserSession)).one()
    assert stored.token_hash == hash_token(str(claims["jti"]))
    assert stored.kind == SessionKind.API
    assert int(stored.expires_at.timestamp()) == claims["exp"]


def test_tokens_stay_good_while_their_key_is_among_those_of_the_setting(
    engine: Engine, settings: Settings, client: TestClient, user: str
) -> None:
    token = client.post("/auth/login", json={"username": "olga", "password": PASSWORD}).json()["access_token"]
    assert settings.secret_key is not None
    old, new = settings.secret_key.get_secret_value(), "another key for the tests that is long enough"
    for keys, status in ((f"{new},{old}", 200), (f"{old},{new}", 200), (new, 401)):
        changed = settings.model_copy(update={"secret_key": SecretStr(keys)})
        with TestClient(build_api(engine, changed)) as other:
            assert status_with(other, token) == status


def test_a_running_api_follows_a_change_of_the_key_file(engine: Engine, tmp_path: Path, user: str) -> None:
    settings = Settings(home=tmp_path)
    with TestClient(build_api(engine, settings)) as client:
        for _ in range(2):
            answer = client.post("/auth/login", json={"username": "olga", "password": PASSWORD}).json()
            assert status_with(client, answer["access_token"]) == 200
            rotate_key(engine, settings, lambda line: None)
            assert status_with(client, answer["access_token"]) == 401


@pytest.mark.parametrize(("username", "password"), [("olga", "wrong"), ("nobody", PASSWORD), ("olga\0", ""), ("", "")])
def test_wrong_credentials_are_401(client: TestClient, user: str, username: str, password: str) -> None:
    answer = client.post("/auth/login", json={"username": username, "password": password})
    assert answer.status_code == 401
    assert answer.json() == {"error": "The username or the password is wrong."}
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_too_many_wrong_passwords_are_429(client: TestClient, user: str) -> None:
    for _ in range(FAILURES_PER_USERNAME):
        client.post("/auth/login", json={"username": "olga", "password": "wrong"})
    answer = client.post("/auth/login", json={"username": "olga", "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 30
    assert answer.json()["error"].startswith("too many wrong sign-ins; try again in")


def test_calls_without_token_say_how_to_sign_in(client: TestClient) -> None:
    for headers in ({}, {"Authorization": "Basic b2xnYTp4"}, {"Authorization": "Bearer"}):
        answer = client.get("/jobs", headers=headers)
        assert answer.status_code == 401
        assert "POST /api/auth/login" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == 'Bearer realm="punctual"'


def test_sign_out_revokes_the_token_and_no_other(
    api: FastAPI, engine: Engine, client: TestClient, olive: Person
) -> None:
    other = make_token(engine, api, olive.viewer)
    assert olive.client.post("/auth/logout").status_code == 204
    again = olive.client.get("/jobs")
    assert again.status_code == 401
    assert again.headers["www-authenticate"] == 'Bearer realm="punctual", error="invalid_token"'
    assert status_with(client, other) == 200


def test_session_that_ended_in_the_database_ends_the_token(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        session.execute(update(UserSession).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert olive.client.get("/jobs").status_code == 401


def test_deactivated_user_is_out_at_once(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        deactivate_user(session, olive.viewer.user_id, now=datetime.now(UTC))
    assert olive.client.get("/jobs").status_code == 401


def test_changed_role_holds_from_the_next_call_on(engine: Engine, olive: Person) -> None:
    with transaction(engine) as session:
        set_role(session, olive.viewer.user_id, Role.VIEWER)
    assert olive.client.post("/jobs/x/run").status_code == 403


def test_browser_session_is_no_api_token(api: FastAPI, engine: Engine, client: TestClient, olive: Person) -> None:
    assert status_with(client, make_token(engine, api, olive.viewer, SessionKind.BROWSER)) == 401


def test_token_of_one_user_with_the_session_of_another(
    api: FastAPI, client: TestClient, olive: Person, sign_in: Callable[..., Person]
) -> None:
    admin = sign_in("ada", Role.ADMIN)
    claims = TokenClaims(olive.viewer.user_id, str(claims_of(admin.token)["jti"]))
    mixed = sign_token(claims, key_of(api), now=datetime.now(UTC), ttl=timedelta(hours=1))
    assert status_with(client, mixed) == 401


def test_forged_tokens_are_refused(api: FastAPI, client: TestClient, olive: Person) -> None:
    good = claims_of(olive.token)
    key = key_of(api)
    assert status_with(client, jwt.encode(good, key, "HS256")) == 200
    past = int(datetime.now(UTC).timestamp()) - 10
    forged = {
        "no algorithm": jwt.encode(good, "", "none"),
        "no algorithm, in capitals": unsigned("NoNe", good),
        "another algorithm": jwt.encode(good, key, "HS512"),
        "another key": jwt.encode(good, b"x" * 32, "HS256"),
        "expired": jwt.encode(good | {"exp": past}, key, "HS256"),
        "another audience": jwt.encode(good | {"aud": "others"}, key, "HS256"),
        "another issuer": jwt.encode(good | {"iss": "others"}, key, "HS256"),
        "issued in the future": jwt.encode(good | {"iat": past + 9_999}, key, "HS256"),
        "unknown session": jwt.encode(good | {"jti": "x"}, key, "HS256"),
        "session that is no text": jwt.encode(good | {"jti": 7}, key, "HS256"),
        "no signature": olive.token.rpartition(".")[0] + ".",
        "other claims": swap_claims(olive.token, good | {"sub": "admin"}),
        "no token": "abc",
        "too long": "a" * 10_000,
    }
    for claim in good:
        forged[f"without {claim}"] = jwt.encode({k: v for k, v in good.items() if k != claim}, key, "HS256")
    assert {name: status_with(client, token) for name, token in forged.items()} == dict.fromkeys(forged, 401)


def unsigned(algorithm: str, claims: dict[str, object]) -> str:
    return f"{encode({'alg': algorithm, 'typ': 'JWT'})}.{encode(claims)}."


def swap_claims(token: str, claims: dict[str, object]) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{encode(claims)}.{signature}"


def encode(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_last_login_and_address_are_kept(engine: Engine, client: TestClient, user: str) -> None:
    client.post("/auth/login", json={"username": "olga", "password": PASSWORD}, headers={"User-Agent": "script/1"})
    with transaction(engine) as session:
        assert session.get_one(User, user).last_login_at is not None
        stored = session.scalars(select(UserSession)).one()
    assert (stored.ip, stored.user_agent) == ("testclient", "script/1")
