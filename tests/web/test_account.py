"""What people change about themselves: password and time zone."""

import httpx
import pytest

from db.engine import transaction
from db.users import find_user
from tests.web.site import PASSWORD, Site

NEW = "Other-horse-2"


def change(
    client: httpx.Client, current: str = PASSWORD, new: str = NEW, repeated: str | None = None
) -> httpx.Response:
    fields = {"current": current, "new": new, "repeated": new if repeated is None else repeated}
    return client.post("/account/password", data=fields)


def test_changing_the_password_keeps_this_browser_signed_in_and_ends_the_others(site: Site) -> None:
    username = site.add_user()
    here, elsewhere = site.start_session(username), site.start_session(username)
    with site.client(here) as client:
        assert change(client).headers["location"] == "/account/password?changed"
        assert "Password changed." in client.get("/account/password?changed").text
    with site.client(elsewhere) as client:
        assert client.get("/media/x").status_code == 401
    with site.client() as client:
        old = client.post("/account/login", data={"username": username, "password": PASSWORD})
        new = client.post("/account/login", data={"username": username, "password": NEW})
    assert (old.status_code, new.status_code) == (401, 303)


@pytest.mark.parametrize(
    ("new", "repeated", "words"),
    [
        ("short", "short", "needs between 8 and 20 characters, one uppercase letter, one digit, one special character"),
        ("alllowercase1!", "alllowercase1!", "needs one uppercase letter."),
        (NEW, NEW + "x", "The two new passwords differ."),
        (PASSWORD, PASSWORD, "the same as the current one"),
        ("long enough " * 7, "long enough " * 7, "at most 72 bytes"),
        ("", "", "needs between 8 and 20"),
    ],
)
def test_unfit_passwords_are_refused_in_words(site: Site, new: str, repeated: str, words: str) -> None:
    with site.client(site.start_session(site.add_user())) as client:
        page = change(client, new=new, repeated=repeated)
        assert page.status_code == 422
        assert words in page.text
        assert change(client).status_code == 303


def test_passphrases_need_no_special_characters(site: Site) -> None:
    with site.client(site.start_session(site.add_user())) as client:
        assert change(client, new="correct horse battery staple").status_code == 303


def test_wrong_current_passwords_are_refused_and_throttled(site: Site) -> None:
    with site.client(site.start_session(site.add_user())) as client:
        pages = [change(client, current="wrong") for _ in range(6)]
        assert [p.status_code for p in pages] == [401] * 5 + [429]
        assert "The current password is wrong." in pages[0].text
        assert "Try again in" in pages[5].text
        assert client.get("/account/password").status_code == 200


def test_time_zone_is_kept_and_leads_back(site: Site) -> None:
    username = site.add_user()
    with site.client(site.start_session(username)) as client:
        response = client.post("/account/time-zone", data={"time_zone": "Asia/Tokyo", "next": "/job?id=7"})
        assert (response.status_code, response.headers["location"]) == (303, "/job?id=7")
        wrong = client.post("/account/time-zone", data={"time_zone": "Asia/Toyko"})
        assert wrong.status_code == 422
        assert "Asia/Toyko" in wrong.text
    with transaction(site.engine) as session:
        user = find_user(session, username)
        assert user is not None
        assert user.time_zone == "Asia/Tokyo"
