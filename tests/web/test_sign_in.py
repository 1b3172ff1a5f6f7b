"""The sign-in page: who comes in, where to, and what is said to those who do not."""

from urllib.parse import quote

import httpx
import pytest

from tests.web.site import PASSWORD, Site

WRONG = "The username or the password is wrong."


def post_sign_in(client: httpx.Client, username: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return client.post("/account/login", data={"username": username, "password": password, **fields})


def test_anonymous_page_request_leads_to_the_sign_in_page_and_back(site: Site) -> None:
    username = site.add_user()
    with site.client() as client:
        redirect = client.get("/job?id=7&tab=a%20b", headers={"Accept": "text/html"})
        assert redirect.status_code == 303
        page = client.get(redirect.headers["location"])
        assert page.status_code == 200
        assert 'name="next" value="/job?id=7&amp;tab=a%20b"' in page.text
        signed_in = post_sign_in(client, username, next="/job?id=7&tab=a%20b")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/job?id=7&tab=a%20b")


def test_cookie_is_unreadable_for_scripts_and_for_other_sites(site: Site) -> None:
    with site.client() as client:
        header = post_sign_in(client, site.add_user()).headers["set-cookie"]
    attributes = {part.strip().lower() for part in header.split(";")[1:]}
    assert header.startswith(f"{site.cookie}=")
    assert {"httponly", "samesite=lax", "path=/", "max-age=43200"} <= attributes
    assert "secure" not in attributes


def test_account_pages_are_never_stored_nor_framed(site: Site) -> None:
    with site.client() as client:
        headers = client.get("/account/login").headers
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_unknown_user_and_wrong_password_get_the_same_answer(site: Site) -> None:
    username = site.add_user()
    with site.client() as client:
        wrong = post_sign_in(client, username, "wrong")
        unknown = post_sign_in(client, "x" + username[1:], "wrong")
    assert wrong.status_code == unknown.status_code == 401
    assert WRONG in wrong.text
    assert wrong.text.replace(username, "?") == unknown.text.replace("x" + username[1:], "?")
    assert "set-cookie" not in wrong.headers


def test_refused_form_keeps_the_username_escaped_and_the_way_back(site: Site) -> None:
    with site.client() as client:
        page = post_sign_in(client, '"><script>alert(1)</script>', "wrong", next='/job?id=7&x="><b>')
    assert "<script>" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<b>" not in page.text


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "evil.example",
        "/account/logout",
        "/" + "x" * 3000,
    ],
)
def test_next_leads_nowhere_but_to_this_site(site: Site, target: str) -> None:
    username = site.add_user()
    with site.client() as client:
        assert 'name="next" value=""' in client.get(f"/account/login?next={quote(target, safe='')}").text
        assert post_sign_in(client, username, next=target).headers["location"] == "/"
        already = client.get(f"/account/login?next={quote(target, safe='')}")
    assert (already.status_code, already.headers["location"]) == (303, "/")


def test_sixth_try_has_to_wait_even_with_the_right_password_and_from_elsewhere(site: Site) -> None:
    username = site.add_user()
    with site.client() as client:
        for _ in range(5):
            assert post_sign_in(client, username, "wrong").status_code == 401
    with site.client() as elsewhere:
        refused = post_sign_in(elsewhere, username.upper())
    assert refused.status_code == 429
    assert "Try again in" in refused.text
    assert 0 < int(refused.headers["retry-after"]) <= 30


def test_unknown_usernames_have_to_wait_as_well(site: Site) -> None:
    with site.client() as client:
        statuses = [post_sign_in(client, "nobody-of-this-name", "wrong").status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/account/login", "/account/logout", "/account/password", "/account/time-zone"])
def test_forms_from_other_sites_are_refused(site: Site, path: str, headers: dict[str, str]) -> None:
    token = site.start_session(site.add_user())
    with site.client(token) as client:
        assert client.post(path, data={"username": "a"}, headers=headers).status_code == 403
        assert client.get("/account/password").status_code == 200


def test_forms_are_small_and_ordinary(site: Site) -> None:
    with site.client() as client:
        assert client.post("/account/login", json={"username": "a"}).status_code == 415
        assert post_sign_in(client, "a" * 20_000).status_code == 413


def test_own_origin_is_accepted(site: Site) -> None:
    with site.client() as client:
        client.headers.update({"Origin": site.url, "Sec-Fetch-Site": "same-origin"})
        assert post_sign_in(client, site.add_user()).status_code == 303


def test_sign_out_by_form_ends_the_session_for_every_copy_of_the_cookie(site: Site) -> None:
    token = site.start_session(site.add_user())
    with site.client(token) as client:
        response = client.post("/account/logout", data={"button": ""})
    assert response.status_code == 303
    assert response.headers["location"].startswith("/account/login")
    assert "max-age=0" in response.headers["set-cookie"].lower()
    with site.client(token) as thief:
        assert thief.get("/account/password", headers={"Accept": "text/html"}).status_code == 303


def test_link_to_sign_out_works_on_own_pages_and_asks_elsewhere(site: Site) -> None:
    token = site.start_session(site.add_user())
    with site.client(token) as client:
        for foreign in ({}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}):
            assert (
                '<form method="post" action="/account/logout">' in client.get("/account/logout", headers=foreign).text
            )
        image = client.get("/account/logout", headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "image"})
        assert image.status_code == 200
        assert client.get("/account/password").status_code == 200
        own = client.get("/account/logout", headers={"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"})
    assert own.status_code == 303
    with site.client(token) as client:
        assert client.get("/account/password", headers={"Accept": "text/html"}).status_code == 303
