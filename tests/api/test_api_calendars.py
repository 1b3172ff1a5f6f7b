"""Calendars over the API: made, imported, read by all, changed by their owner and admins, kept while in use."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, event

from db.calendars import CalendarDraft, InvalidCalendarError, create_calendar
from db.engine import transaction
from db.models import Calendar, Role, User
from tests.api.calendar_requests import CHRISTMAS, ICS, YEAR, add_calendar, post_calendar
from tests.api.portal_story import Person, post_job
from tests.api.stored_rows import read_everything
from tests.factories import NOW, day_off

FIELDS = [
    "id", "name", "time_zone", "weekend", "country", "subdivision", "days_count", "jobs_count", "owner",
    "may_change", "created_at", "updated_at", "version",
]  # fmt: skip


def import_ics(person: Person, content: str | bytes = ICS, **fields: str) -> Any:
    files = {"ics": ("closed.ics", content, "text/calendar")}
    return person.client.post("/calendars/import", data={"name": "Imported"} | fields, files=files)


def test_created_calendar_shows_what_it_holds(olive: Person) -> None:
    days = [{"starts_on": "2030-12-27", "ends_on": "2030-12-31", "name": " Between the years "}, CHRISTMAS]
    answer = post_calendar(olive, name=" Closed ", time_zone="Europe/Berlin", weekend=[5, 6, 5], days=days)
    body = answer.json()
    assert answer.status_code == 201, body
    assert list(body) == [*FIELDS, "days", "days_off"]
    assert answer.headers["location"] == f"/calendars/{body['id']}"
    assert (body["name"], body["time_zone"], body["weekend"]) == ("Closed", "Europe/Berlin", [5, 6])
    assert (body["country"], body["subdivision"], body["version"]) == (None, None, 1)
    assert (body["days_count"], body["jobs_count"], body["may_change"]) == (2, 0, True)
    assert body["owner"] == {"id": olive.viewer.user_id, "name": "Olive"}
    assert body["days"] == [
        {"starts_on": "2030-12-25", "ends_on": "2030-12-25", "name": "Christmas Day"},
        {"starts_on": "2030-12-27", "ends_on": "2030-12-31", "name": "Between the years"},
    ]
    assert body["days_off"] is None
    assert olive.client.get(f"/calendars/{body['id']}").json() == body


def test_weekend_is_the_countrys_unless_it_is_sent(olive: Person) -> None:
    weekend = [
        olive.client.post("/calendars", json={"name": str(number)} | sent).json()["weekend"]
        for number, sent in enumerate(
            ({"country": "EG"}, {"country": "EG", "weekend": [0]}, {"country": "GB"}, {"days": [CHRISTMAS]})
        )
    ]
    assert weekend == [[5, 6], [0], [0, 6], [0, 6]]


def test_list_shows_all_calendars_by_name(olive: Person, sign_in: Callable[..., Person]) -> None:
    used = add_calendar(olive, name="b")
    add_calendar(olive, date(2030, 12, 25), date(2030, 12, 26), name="C")
    post_job(olive, calendar_ids=f"[{used}]")
    mallory = sign_in("mallory")
    post_job(mallory, calendar_ids=f"[{used}]")
    add_calendar(mallory, name="A")
    body = olive.client.get("/calendars").json()
    assert list(body["items"][0]) == FIELDS
    assert body["next_cursor"] is None
    shown = [(c["name"], c["days_count"], c["jobs_count"], c["owner"]["name"], c["may_change"]) for c in body["items"]]
    assert shown == [("A", 1, 0, "Mallory", False), ("b", 1, 2, "Olive", True), ("C", 2, 0, "Olive", True)]
    admins = sign_in("ada", Role.ADMIN).client.get("/calendars").json()["items"]
    viewers = sign_in("vera", Role.VIEWER).client.get("/calendars").json()["items"]
    assert [{c["may_change"] for c in items} for items in (admins, viewers)] == [{True}, {False}]


def test_calendar_outlives_its_owner(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    mallory = sign_in("mallory")
    calendar_id = add_calendar(mallory)
    with transaction(engine) as session:
        session.delete(session.get_one(User, mallory.viewer.user_id))
    body = olive.client.get(f"/calendars/{calendar_id}").json()
    assert (body["owner"], body["may_change"]) == (None, False)


def test_days_off_between_two_dates_hold_the_countrys(olive: Person) -> None:
    listed = {"starts_on": "2025-12-24", "ends_on": "2025-12-25", "name": "Works party"}
    calendar_id = post_calendar(olive, country="GB", subdivision="SCT", days=[listed, CHRISTMAS]).json()["id"]
    body = olive.client.get(f"/calendars/{calendar_id}?from=2025-12-25&to=2026-01-02").json()
    assert body["days_count"] == 2
    assert [(day["starts_on"], day["ends_on"], day["name"]) for day in body["days_off"]] == [
        ("2025-12-24", "2025-12-25", "Works party"),
        ("2025-12-25", "2025-12-25", "Christmas Day"),
        ("2025-12-26", "2025-12-26", "Boxing Day"),
        ("2026-01-01", "2026-01-01", "New Year's Day"),
        ("2026-01-02", "2026-01-02", "New Year Holiday"),
    ]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=2025-01-01", "to: is missing; send from and to, or neither"),
        ("to=2025-01-01", "from: is missing; send from and to, or neither"),
        ("from=2025-01-02&to=2025-01-01", "from 2025-01-02 to 2025-01-01: allowed 1 to 3660 days, the first one first"),
        ("from=0001-01-01&to=9999-12-31", "from 0001-01-01 to 9999-12-31: allowed 1 to 3660 days"),
        ("from=tomorrow&to=2025-01-01", 'from: found "tomorrow"; allowed: a date such as 2025-12-24'),
        ("from=2025-01-01&to=1735689600", 'to: found "1735689600"; allowed: a date such as 2025-12-24'),
        ("since=2025-01-01", 'unknown field "since"; allowed: from, to'),
    ],
)
def test_bad_dates_are_explained(olive: Person, query: str, words: str) -> None:
    answer = olive.client.get(f"/calendars/{add_calendar(olive)}?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": " "}, "give the calendar a name"),
        ({"name": "x" * 81}, "a calendar's name has at most 80 characters that can be shown"),
        ({"name": "a\0b"}, "a calendar's name has at most 80 characters that can be shown"),
        ({"name": None}, "name: found nothing; allowed: text"),
        ({"days": []}, "the calendar is empty: add a day, import a file, or choose a country"),
        ({"days": {}}, "days: found an object; allowed: a list"),
        ({"days": ["2030-12-25"]}, "days.0: "),
        ({"days": [{"name": "x"}]}, "days.0.starts_on: is missing"),
        ({"days": [CHRISTMAS | {"starts_on": 7}]}, 'days.0.starts_on: found "7"; allowed: a date such as 2025-12-24'),
        ({"days": [CHRISTMAS | {"starts_on": "2025-02-29"}]}, 'days.0.starts_on: found "2025-02-29"; allowed: a date'),
        ({"days": [CHRISTMAS | {"ends_on": "25.12.2030"}]}, 'days.0.ends_on: found "25.12.2030"; allowed: a date'),
        (
            {"days": [CHRISTMAS | {"ends_on": "2030-12-24"}]},
            '"Christmas Day" ends on 2030-12-24, before it starts on 2030-12-25',
        ),
        ({"days": [CHRISTMAS | {"name": "a\0b"}]}, "days.0.name: found "),
        ({"days": [CHRISTMAS | {"name": "x" * 201}]}, "days.0.name: found "),
        ({"days": [CHRISTMAS | {"on": 1}]}, 'days.0: found an object; unknown field "on"; allowed: starts_on, ends_on'),
        ({"weekend": [7]}, 'weekend.0: found "7"; allowed: 6 or less'),
        ({"weekend": [True]}, 'weekend.0: found "true"; allowed: a whole number'),
        ({"weekend": list(range(7))}, "a weekend of seven days leaves no working day"),
        ({"time_zone": "Europe/Londn"}, 'unknown time zone "Europe/Londn"; did you mean "Europe/London"?'),
        ({"country": "UK"}, 'unknown country "UK"'),
        ({"country": "UK", "weekend": None}, 'unknown country "UK"'),
        ({"country": "GB", "subdivision": "BY"}, 'unknown subdivision "BY" of United Kingdom: allowed'),
        ({"subdivision": "SCT"}, "a subdivision needs its country"),
        ({"colour": "red"}, 'unknown field "colour"; allowed: name, time_zone, weekend, country, subdivision, days'),
    ],
)
def test_bad_calendar_is_explained_and_not_stored(
    engine: Engine, olive: Person, changes: dict[str, Any], words: str
) -> None:
    before = read_everything(engine)
    answer = post_calendar(olive, **changes)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words), answer.text
    assert read_everything(engine) == before


@pytest.mark.parametrize(
    ("draft", "words"),
    [
        (CalendarDraft("x", [day_off("2030-12-25", name="a\0b")]), "the name of the day 2030-12-25 has a character"),
        (CalendarDraft("x", country="GB", weekend=frozenset({6, 7})), "weekend: found 7; allowed 0 to 6, 0 = Sunday"),
    ],
)
def test_database_refuses_by_itself_what_the_shapes_keep_out(
    engine: Engine, olive: Person, draft: CalendarDraft, words: str
) -> None:
    with transaction(engine) as session, pytest.raises(InvalidCalendarError, match=words):
        create_calendar(session, olive.viewer, draft, now=NOW)


def test_name_is_taken_in_any_case(olive: Person) -> None:
    add_calendar(olive, name="Closed")
    other = add_calendar(olive, name="Other")
    taken = {"error": 'there is already a calendar "CLOSED"'}
    for answer in (
        post_calendar(olive, name="CLOSED"),
        olive.client.patch(f"/calendars/{other}", json={"name": "CLOSED"}),
        import_ics(olive, name="CLOSED"),
    ):
        assert (answer.status_code, answer.json()) == (409, taken)


def test_patch_changes_what_is_sent_and_nothing_else(olive: Person) -> None:
    before = post_calendar(olive, country="GB", subdivision="SCT", time_zone="Europe/London").json()
    address = f"/calendars/{before['id']}"
    after = olive.client.patch(address, json={"name": "Shut", "version": 1}).json()
    assert {name for name in after if after[name] != before[name]} == {"name", "version", "updated_at"}
    assert after["version"] == 2
    for edit, expected in (
        ({"time_zone": None}, {"time_zone": None, "country": "GB", "subdivision": "SCT"}),
        ({"country": "GB"}, {"country": "GB", "subdivision": "SCT"}),
        ({"country": "DE"}, {"country": "DE", "subdivision": None}),
        ({"country": "DE", "subdivision": "BY"}, {"country": "DE", "subdivision": "BY", "weekend": []}),
        ({"weekend": [0, 6]}, {"weekend": [0, 6], "days_count": 1}),
        ({"country": None}, {"country": None, "subdivision": None, "days_count": 1}),
        ({"days": [CHRISTMAS, CHRISTMAS | {"name": "Again"}]}, {"days_count": 2, "name": "Shut"}),
    ):
        body = olive.client.patch(address, json=edit).json()
        assert {name: body[name] for name in expected} == expected, edit
        assert olive.client.get(address).json() == body


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({}, "nothing to change; send at least one of name, time_zone, weekend, country, subdivision, days"),
        ({"version": 1}, "nothing to change"),
        ({"days": []}, "the calendar is empty"),
        ({"subdivision": "SCT"}, "a subdivision needs its country"),
        ({"weekend": None}, "weekend: found nothing; allowed: a list"),
        ({"days": None}, "days: found nothing; allowed: a list"),
        ({"name": None}, "name: found nothing; allowed: text"),
        ({"owner": "me"}, 'unknown field "owner"'),
    ],
)
def test_bad_edit_is_explained_and_changes_nothing(
    engine: Engine, olive: Person, edit: dict[str, Any], words: str
) -> None:
    calendar_id = add_calendar(olive)
    before = read_everything(engine)
    answer = olive.client.patch(f"/calendars/{calendar_id}", json=edit)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words)
    assert read_everything(engine) == before


def test_old_version_changes_nothing(engine: Engine, olive: Person) -> None:
    calendar_id = add_calendar(olive)
    olive.client.patch(f"/calendars/{calendar_id}", json={"name": "first", "version": 1})
    before = read_everything(engine)
    answer = olive.client.patch(f"/calendars/{calendar_id}", json={"name": "second", "version": 1})
    assert answer.status_code == 409
    assert answer.json()["error"].startswith("this calendar was changed meanwhile")
    assert read_everything(engine) == before


def test_edit_never_writes_over_one_made_in_between(engine: Engine, olive: Person) -> None:
    calendar_id = add_calendar(olive)

    renames: list[int] = []

    def rename_before_it_is_locked(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not renames and "FOR UPDATE" in statement and "FROM calendars" in statement:
            renames.append(calendar_id)
            with transaction(engine) as session:
                calendar = session.get_one(Calendar, calendar_id)
                calendar.name, calendar.version = "renamed in between", calendar.version + 1

    event.listen(engine, "before_cursor_execute", rename_before_it_is_locked)
    answer = olive.client.patch(f"/calendars/{calendar_id}", json={"weekend": [3]})
    event.remove(engine, "before_cursor_execute", rename_before_it_is_locked)
    assert (answer.status_code, renames) == (409, [calendar_id]), answer.text
    body = olive.client.get(f"/calendars/{calendar_id}").json()
    assert (body["name"], body["weekend"]) == ("renamed in between", [])


def test_calendar_in_use_stays(engine: Engine, olive: Person, sign_in: Callable[..., Person]) -> None:
    calendar_id = add_calendar(olive)
    address = f"/calendars/{calendar_id}"
    job = post_job(sign_in("mallory"), calendar_ids=f"[{calendar_id}]").json()
    before = read_everything(engine)
    kept = olive.client.delete(address)
    assert (kept.status_code, kept.json()) == (409, {"error": "1 job keeps this calendar; take it out of them first"})
    assert read_everything(engine) == before
    sign_in("ada", Role.ADMIN).client.patch(f"/jobs/{job['id']}", json={"calendar_ids": []})
    gone = olive.client.delete(address)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (olive.client.get(address).status_code, olive.client.get("/calendars").json()["items"]) == (404, [])


def test_file_becomes_a_calendar(olive: Person) -> None:
    answer = import_ics(olive, name="Imported", time_zone="Europe/Berlin")
    body = answer.json()
    assert answer.status_code == 201, body
    assert answer.headers["location"] == f"/calendars/{body['id']}"
    assert (body["name"], body["time_zone"], body["weekend"]) == ("Imported", "Europe/Berlin", [0, 6])
    assert {"starts_on": f"{YEAR}-12-24", "ends_on": f"{YEAR}-12-26", "name": "Shut for Christmas"} in body["days"]
    may_days = [day["starts_on"] for day in body["days"] if day["name"] == "May Day"]
    assert may_days == [f"{year}-05-01" for year in range(YEAR - 1, YEAR + 6)]


def test_file_may_come_without_a_time_zone(olive: Person) -> None:
    assert import_ics(olive, time_zone=" ").json()["time_zone"] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "ics: the calendar file is empty"),
        ("username,password\n", "ics: "),
        (b"%PDF-1.7", "ics: "),
        (b"BEGIN:VCALENDAR\n" + b"x" * 2**20, "ics: the calendar file has 1,048,592 bytes: allowed up to 1,048,576"),
        (
            ICS.replace(f"{YEAR}", "1999").replace("RRULE:FREQ=YEARLY", "STATUS:CONFIRMED"),
            f"ics: the calendar file has no day from {YEAR - 1} to {YEAR + 5}",
        ),
    ],
)
def test_bad_file_is_explained_and_not_stored(engine: Engine, olive: Person, content: str | bytes, words: str) -> None:
    before = read_everything(engine)
    answer = import_ics(olive, content)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith(words), answer.text
    assert list(answer.json()["fields"]) == ["ics"]
    assert read_everything(engine) == before


def test_import_names_what_is_missing_or_wrong(olive: Person) -> None:
    form = {"name": (None, "x")}
    for answer, status, words in (
        (olive.client.post("/calendars/import", files=form), 422, "ics: choose a calendar file (.ics)"),
        (olive.client.post("/calendars/import", files=form | {"ics": (None, ICS)}), 422, "ics: send it as a file"),
        (olive.client.post("/calendars/import", json={}), 415, 'found Content-Type "application/json"; send multipart/'
         "form-data with the file in ics"),
        (import_ics(olive, name=""), 422, "give the calendar a name"),
        (import_ics(olive, time_zone="Mars"), 422, 'unknown time zone "Mars"'),
        (import_ics(olive, colour="red"), 422, 'unknown field "colour"; allowed: ics, name, time_zone'),
    ):  # fmt: skip
        assert answer.status_code == status, answer.text
        assert answer.json()["error"].startswith(words)


def test_countries_are_named_and_one_is_told_in_full(olive: Person) -> None:
    body = olive.client.get("/calendars/countries").json()
    assert body["next_cursor"] is None
    assert {"code": "GB", "name": "United Kingdom", "weekend": None, "subdivisions": None} in body["items"]
    assert len(body["items"]) > 150
    (egypt,) = olive.client.get("/calendars/countries?country=EG").json()["items"]
    assert egypt == {"code": "EG", "name": "Egypt", "weekend": [5, 6], "subdivisions": []}
    (germany,) = olive.client.get("/calendars/countries?country=DE").json()["items"]
    assert {"code": "BY", "name": "Bayern"} in germany["subdivisions"]


@pytest.mark.parametrize(
    ("query", "words"),
    [("country=UK", 'unknown country "UK"'), ("country=", "country is empty"), ("code=GB", 'unknown field "code"')],
)
def test_bad_country_is_explained(olive: Person, query: str, words: str) -> None:
    answer = olive.client.get(f"/calendars/countries?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(words)


@pytest.mark.parametrize("number", ["0", "-1", "9223372036854775808", "abc"])
def test_number_that_no_calendar_has_is_refused(olive: Person, number: str) -> None:
    answer = olive.client.get(f"/calendars/{number}")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("calendar_id: found ")
