"""Portals over the API: listed, changed in part, refused in words, their breaker closed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from db.engine import transaction
from db.models import Portal, Role
from tests.api.portal_story import Person
from tests.factories import make_job, make_portal

FIELDS = [
    "id", "host", "engine", "username_selector", "password_selector", "submit_selector", "link_selector",
    "next_selector", "max_concurrent_accounts", "min_seconds_between_requests", "date_order", "column_mapping",
    "breaker_open_until", "breaker_reason", "retry_after_at", "authorised_by", "authorised_at", "jobs_count",
    "is_shared", "may_change", "created_at", "version",
]  # fmt: skip


def add_portal(engine: Engine, *people: Person, host: str = "portal.example", **columns: Any) -> int:
    """A portal that a job of each of these people uses; the first is who was authorised."""
    with transaction(engine) as session:
        by = people[0].viewer.user_id if people else "somebody"
        portal = make_portal(session, host, **({"authorised_by": by} | columns))
        for person in people:
            make_job(session, person.viewer, portal_id=portal.id)
        return portal.id


def test_portal_shows_what_was_said_of_it(engine: Engine, olive: Person) -> None:
    portal_id = add_portal(engine, olive)
    body = olive.client.get(f"/portals/{portal_id}").json()
    assert list(body) == FIELDS
    assert (body["host"], body["engine"], body["column_mapping"]) == ("portal.example", "http", {})
    assert (body["jobs_count"], body["is_shared"], body["may_change"], body["version"]) == (1, False, True, 1)
    assert body["authorised_by"] == {"id": olive.viewer.user_id, "name": "Olive"}
    assert olive.client.get("/portals").json() == {"items": [body], "next_cursor": None}


def test_portal_of_somebody_who_left_has_nobody(engine: Engine, sign_in: Callable[..., Person]) -> None:
    ada = sign_in("ada", Role.ADMIN)
    body = ada.client.get(f"/portals/{add_portal(engine, authorised_by='gone')}").json()
    assert (body["authorised_by"], body["authorised_at"] is not None, body["jobs_count"]) == (None, True, 0)


def test_list_goes_on_where_the_page_before_ended(engine: Engine, olive: Person) -> None:
    for number in range(5):
        add_portal(engine, olive, host=f"p{number}.example")
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        body = olive.client.get(f"/portals?limit=2{cursor and f'&cursor={cursor}'}").json()
        seen += [item["host"] for item in body["items"]]
        cursor = body["next_cursor"]
    assert seen == [f"p{number}.example" for number in range(5)]
    assert [i["host"] for i in olive.client.get("/portals?q=P3").json()["items"]] == ["p3.example"]
    refused = olive.client.get("/portals?cursor=abc")
    assert (refused.status_code, refused.json()["error"].split(":")[0]) == (422, "cursor")


def test_edit_changes_what_is_sent_and_nothing_else(engine: Engine, olive: Person) -> None:
    portal_id = add_portal(engine, olive, link_selector="a.pdf", column_mapping={"number": "Ref."})
    before = olive.client.get(f"/portals/{portal_id}").json()
    sent = {
        "engine": "browser",
        "username_selector": " #user ",
        "link_selector": None,
        "min_seconds_between_requests": 2,
        "date_order": "month_first",
    }
    answer = olive.client.patch(f"/portals/{portal_id}", json=sent | {"version": 1})
    assert answer.status_code == 200, answer.text
    assert answer.json() == before | sent | {"username_selector": "#user", "version": 2}
    after = olive.client.patch(f"/portals/{portal_id}", json={"column_mapping": None}).json()
    assert (after["column_mapping"], after["username_selector"]) == ({}, "#user")


@pytest.mark.parametrize(
    ("sent", "field", "words"),
    [
        ({"username_selector": "//input"}, "username_selector", "no CSS selector from character 1 on"),
        ({"engine": "netscape"}, "engine", "found \"netscape\"; allowed: 'http' or 'browser'"),
        ({"engine": None}, "engine", "found nothing; allowed: 'http' or 'browser'"),
        ({"date_order": "year_first"}, "date_order", "allowed: 'day_first' or 'month_first'"),
        ({"max_concurrent_accounts": 0}, "max_concurrent_accounts", "found 0; allowed 1 to 64"),
        ({"max_concurrent_accounts": "2"}, "max_concurrent_accounts", 'found "2"; allowed: a whole number'),
        ({"min_seconds_between_requests": -1}, "min_seconds_between_requests", "found -1; allowed 0 to 60 seconds"),
        ({"column_mapping": {"price": "Prijs"}}, "column_mapping", 'there is no field "price" of a bill'),
        ({"column_mapping": {"amount": ""}}, "column_mapping.amount", "the header is empty"),
        ({"column_mapping": ["amount"]}, "column_mapping", "found a list; allowed: an object"),
        ({"version": 1}, "body", "nothing to change; send at least one of engine, username_selector"),
    ],
)
def test_refusal_names_the_field(engine: Engine, olive: Person, sent: dict[str, Any], field: str, words: str) -> None:
    answer = olive.client.patch(f"/portals/{add_portal(engine, olive)}", json=sent)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["fields"][field]


def test_unknown_field_is_refused(engine: Engine, olive: Person) -> None:
    answer = olive.client.patch(f"/portals/{add_portal(engine, olive)}", json={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"][:21]) == (422, 'unknown field "host";')


def test_old_version_changes_nothing(engine: Engine, olive: Person) -> None:
    address = f"/portals/{add_portal(engine, olive)}"
    assert olive.client.patch(address, json={"engine": "browser", "version": 1}).status_code == 200
    answer = olive.client.patch(address, json={"engine": "http", "version": 1})
    assert (answer.status_code, "changed meanwhile" in answer.json()["error"]) == (409, True)
    assert olive.client.get(address).json()["engine"] == "browser"


def test_edit_in_between_is_not_overwritten(engine: Engine, olive: Person) -> None:
    """What is not sent is what was read before; somebody who changes it in between must not be undone."""
    portal_id = add_portal(engine, olive)

    changes: list[int] = []

    def change_before_it_is_locked(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not changes and "FOR NO KEY UPDATE" in statement:
            changes.append(portal_id)
            with transaction(engine) as session:
                portal = session.get_one(Portal, portal_id)
                portal.link_selector, portal.version = "a.theirs", portal.version + 1

    event.listen(engine, "before_cursor_execute", change_before_it_is_locked)
    answer = olive.client.patch(f"/portals/{portal_id}", json={"engine": "browser"})
    event.remove(engine, "before_cursor_execute", change_before_it_is_locked)
    assert (answer.status_code, changes) == (409, [portal_id]), answer.text
    body = olive.client.get(f"/portals/{portal_id}").json()
    assert (body["link_selector"], body["engine"]) == ("a.theirs", "http")


def test_shared_portal_is_changed_by_admins(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    portal_id = add_portal(engine, olive, sign_in("mallory"))
    answer = olive.client.patch(f"/portals/{portal_id}", json={"engine": "browser"})
    assert (answer.status_code, "only admins may change it" in answer.json()["error"]) == (403, True)
    assert olive.client.get(f"/portals/{portal_id}").json()["may_change"] is False
    admin = sign_in("ada", Role.ADMIN)
    assert admin.client.patch(f"/portals/{portal_id}", json={"engine": "browser"}).status_code == 200


def test_open_breaker_is_closed_once(engine: Engine, olive: Person) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    portal_id = add_portal(engine, olive, breaker_open_until=until, breaker_reason="5 refused in a row")
    before = olive.client.get(f"/portals/{portal_id}").json()
    assert datetime.fromisoformat(before["breaker_open_until"]) == until
    answer = olive.client.post(f"/portals/{portal_id}/close-breaker")
    assert (answer.status_code, answer.json()) == (200, before | {"breaker_open_until": None, "breaker_reason": None})
    again = olive.client.post(f"/portals/{portal_id}/close-breaker")
    assert (again.status_code, again.json()) == (409, {"error": "the breaker of this portal is not open"})
