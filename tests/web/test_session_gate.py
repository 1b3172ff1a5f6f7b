"""The gate: nothing without a live session, nobody under a made-up name, and no socket outlives its session."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from websockets.exceptions import InvalidStatus

from db.engine import transaction
from db.models import Role
from db.user_sessions import revoke_session
from db.users import deactivate_user, reset_password
from db.viewers import Viewer
from tests.web.site import PASSWORD, Site

SESSION_ENDED = 4401
FORGED = {"X-Punctual-User": "00000000-0000-0000-0000-000000000000", "X_Punctual_User": "admin"}


@pytest.mark.parametrize("path", ["/", "/job?id=7", "/account/password", "/files/bills/1/0"])
def test_anonymous_page_requests_see_the_way_to_sign_in_and_nothing_else(site: Site, path: str) -> None:
    with site.client() as client:
        response = client.get(path, headers={"Accept": "text/html"})
    assert response.status_code == 303
    assert response.headers["location"].startswith("/account/login")
    assert response.text == ""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_stcore/host-config"),
        ("GET", "/_stcore/metrics"),
        ("GET", "/_stcore/agent/openapi.json"),
        ("PUT", "/_stcore/upload_file/a/b"),
        ("DELETE", "/_stcore/upload_file/a/b"),
        ("GET", "/media/0123.pdf"),
        ("GET", "/files/bills/1/0"),
        ("POST", "/account/password"),
        ("POST", "/account/time-zone"),
        ("POST", "/"),
        ("GET", "/apix"),
        ("GET", "//api/health"),
        ("GET", "/%2e%2e/api/health"),
        ("GET", "/account/loginx"),
    ],
)
def test_anonymous_requests_of_other_kinds_are_refused(site: Site, method: str, path: str) -> None:
    with site.client() as client:
        response = client.request(method, site.url + path, headers={"Accept": "application/json"})
    assert response.status_code == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_bare_api_is_no_page(site: Site, method: str) -> None:
    with site.client() as client:
        answer = client.request(method, "/api", headers={"Accept": "text/html"})
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


@pytest.mark.parametrize(
    "path", ["/_stcore/health", "/api/health", "/account/login", "/account/static/account.css", "/favicon.png"]
)
def test_what_needs_no_session_is_open(site: Site, path: str) -> None:
    with site.client() as client:
        answer = client.get(path)
    # without a scheduler, health says so by its status
    assert answer.status_code == (503 if path == "/api/health" else 200)


@pytest.mark.parametrize("token", ["", "guessed", "x" * 5000, '"; DROP TABLE users; --'])
def test_made_up_cookies_are_no_sessions(site: Site, token: str) -> None:
    with site.client() as client:
        response = client.get("/media/x", headers={"Cookie": f"{site.cookie}={token}"})
    assert response.status_code == 401


def test_expired_session_is_none(site: Site) -> None:
    token = site.start_session(site.add_user(), ttl=timedelta(seconds=-1))
    with site.client(token) as client:
        assert client.get("/media/x").status_code == 401


def test_script_learns_who_is_signed_in(site: Site) -> None:
    username = site.add_user()
    with site.socket(site.start_session(username)) as page:
        assert page.texts() == [f"Signed in as {username}."]


def test_anonymous_socket_is_refused_before_it_opens(site: Site) -> None:
    with pytest.raises(InvalidStatus) as refusal, site.socket():
        pass
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("forged", [{name: value} for name, value in FORGED.items()])
def test_identity_sent_by_a_client_opens_no_socket_and_no_page(site: Site, forged: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus), site.socket(headers=forged):
        pass
    with site.client() as client:
        assert client.get("/media/x", headers=forged).status_code == 401
        assert client.get("/", headers=forged | {"Accept": "text/html"}).status_code == 303


def test_identity_sent_by_a_signed_in_client_changes_nothing(site: Site) -> None:
    username, other = site.add_user(), site.add_user()
    victim = site.user_id_of(other)
    with site.socket(site.start_session(username), headers={"X-Punctual-User": victim}) as page:
        assert page.texts() == [f"Signed in as {username}."]
    with site.client(site.start_session(username)) as client:
        page = client.get("/account/password", headers={"X-Punctual-User": victim})
    assert f'value="{username}"' in page.text


def sign_out(site: Site, username: str, token: str) -> None:
    with transaction(site.engine) as session:
        assert revoke_session(session, token, datetime.now(UTC))


def sign_out_in_another_tab(site: Site, username: str, token: str) -> None:
    with site.client(token) as client:
        assert client.post("/account/logout", data={"button": ""}).status_code == 303


def change_password_elsewhere(site: Site, username: str, token: str) -> None:
    with site.client(site.start_session(username)) as client:
        fields = {"current": PASSWORD, "new": "Other-horse-2", "repeated": "Other-horse-2"}
        assert client.post("/account/password", data=fields).headers["location"] == "/account/password?changed"


def reset_by_admin(site: Site, username: str, token: str) -> None:
    with transaction(site.engine) as session:
        reset_password(
            session,
            site.user_id_of(username),
            "Other-horse-2",
            by=Viewer("1", "ann", "Ann", Role.ADMIN),
            now=datetime.now(UTC),
        )


def deactivate(site: Site, username: str, token: str) -> None:
    with transaction(site.engine) as session:
        deactivate_user(session, site.user_id_of(username), now=datetime.now(UTC))


Ending = Callable[[Site, str, str], None]
ENDINGS: list[Ending] = [sign_out, sign_out_in_another_tab, change_password_elsewhere, reset_by_admin, deactivate]


@pytest.mark.parametrize("end", ENDINGS)
def test_open_socket_runs_no_script_once_its_session_ended(site: Site, end: Ending) -> None:
    username = site.add_user()
    token = site.start_session(username)
    with site.socket(token) as page:
        assert page.texts() == [f"Signed in as {username}."]
        end(site, username, token)
        page.rerun()
        messages, code = page.drain()
    assert code == SESSION_ENDED
    kinds = [message.WhichOneof("type") for message in messages]
    assert kinds[-1] == "auth_redirect"
    assert not {"new_session", "delta"} & set(kinds)
    with site.client(token) as client:
        assert client.get("/media/x").status_code == 401


def test_idle_socket_is_closed_too(site: Site) -> None:
    username = site.add_user()
    token = site.start_session(username)
    with site.socket(token) as page:
        page.texts()
        sign_out(site, username, token)
        _, code = page.drain()
    assert code == SESSION_ENDED


def test_ending_one_session_leaves_the_others_open(site: Site) -> None:
    username = site.add_user()
    one, other = site.start_session(username), site.start_session(username)
    with site.socket(one) as first, site.socket(other) as second:
        first.texts()
        sign_out(site, username, one)
        _, code = first.drain()
        assert code == SESSION_ENDED
        assert second.texts() == [f"Signed in as {username}."]


def test_socket_of_another_site_is_refused_although_signed_in(site: Site) -> None:
    token = site.start_session(site.add_user())
    with pytest.raises(InvalidStatus), site.socket(token, origin="https://evil.example"):
        pass
