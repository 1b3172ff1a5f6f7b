"""What a person says of a portal: who may say it, what is refused, and that it is on record."""

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db.breaker import COOL_DOWN, MAX_REFUSED_IN_A_ROW, record_sign_ins
from db.engine import transaction
from db.errors import ConflictError, NotAllowedError, NotFoundError
from db.models import AuditEntry, DateOrder, Portal, Role
from db.models import Engine as PortalEngine
from db.portal_settings import BILL_FIELDS, InvalidPortalError, PortalSettings, checked_settings, explain_selector
from db.portals import close_breaker, get_portal_summary, list_portals, update_portal
from db.viewers import Viewer
from portal_import.bill_reading.table_headers import FIELD_WORDS
from tests.factories import NOW, make_job, make_portal, make_viewer

ALL_SAID = PortalSettings(
    engine=PortalEngine.BROWSER,
    username_selector="input[name=login]",
    password_selector="#password",
    submit_selector="form.login button",
    link_selector="td.pdf > a, a[href$='.pdf']",
    next_selector="a[rel=next]",
    max_concurrent_accounts=5,
    min_seconds_between_requests=0.5,
    date_order=DateOrder.DAY_FIRST,
    column_mapping={"number": "Ref.", "amount": "Te betalen"},
)


def add_viewer(engine: Engine, username: str, role: Role = Role.OPERATOR, *, portal_id: int | None = None) -> Viewer:
    """A user, with a job at the portal if one is given."""
    with transaction(engine) as session:
        viewer = make_viewer(session, username, role)
        if portal_id is not None:
            make_job(session, viewer, portal_id=portal_id)
        return viewer


def add_portal(engine: Engine, host: str = "portal.example", **columns: Any) -> int:
    with transaction(engine) as session:
        return make_portal(session, host, **columns).id


def update(
    engine: Engine, viewer: Viewer, portal_id: int, settings: PortalSettings, version: int | None = None
) -> None:
    with transaction(engine) as session:
        update_portal(session, viewer, portal_id, settings, expected_version=version)


def read_audit(engine: Engine) -> list[AuditEntry]:
    with transaction(engine) as session:
        return list(session.scalars(select(AuditEntry)))


def test_settings_are_stored_and_both_states_are_on_record(engine: Engine) -> None:
    portal_id = add_portal(engine)
    olive = add_viewer(engine, "olive", portal_id=portal_id)
    update(engine, olive, portal_id, ALL_SAID, version=1)
    with transaction(engine) as session:
        portal = session.get_one(Portal, portal_id)
        assert {name: getattr(portal, name) for name in asdict(ALL_SAID)} == asdict(ALL_SAID)
        assert portal.version == 2
    (entry,) = read_audit(engine)
    assert (entry.user_id, entry.action, entry.subject) == (olive.user_id, "portal edited", "portal portal.example")
    assert (entry.before, entry.after) == (asdict(PortalSettings()), asdict(ALL_SAID))


def test_what_is_taken_away_is_found_by_itself_again(engine: Engine) -> None:
    portal_id = add_portal(engine)
    olive = add_viewer(engine, "olive", portal_id=portal_id)
    update(engine, olive, portal_id, ALL_SAID)
    update(engine, olive, portal_id, replace(ALL_SAID, username_selector="  ", date_order=None, column_mapping={}))
    with transaction(engine) as session:
        portal = session.get_one(Portal, portal_id)
        assert (portal.username_selector, portal.date_order, portal.column_mapping) == (None, None, None)


def test_settings_that_change_nothing_leave_no_trace(engine: Engine) -> None:
    portal_id = add_portal(engine)
    olive = add_viewer(engine, "olive", portal_id=portal_id)
    update(engine, olive, portal_id, PortalSettings(username_selector=" "))
    assert read_audit(engine) == []
    with transaction(engine) as session:
        assert session.get_one(Portal, portal_id).version == 1


def test_settings_changed_meanwhile_are_not_overwritten(engine: Engine) -> None:
    portal_id = add_portal(engine)
    olive = add_viewer(engine, "olive", portal_id=portal_id)
    update(engine, olive, portal_id, ALL_SAID, version=1)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        update(engine, olive, portal_id, PortalSettings(), version=1)
    with transaction(engine) as session:
        assert session.get_one(Portal, portal_id).engine == PortalEngine.BROWSER


def test_operator_changes_a_portal_only_while_nobody_else_uses_it(engine: Engine) -> None:
    portal_id = add_portal(engine, breaker_open_until=NOW + timedelta(hours=1))
    olive = add_viewer(engine, "olive", portal_id=portal_id)
    vera = add_viewer(engine, "vera", Role.VIEWER, portal_id=portal_id)
    for viewer, words in ((olive, "only admins may change it"), (vera, "may look but not change")):
        with pytest.raises(NotAllowedError, match=words):
            update(engine, viewer, portal_id, ALL_SAID)
        with pytest.raises(NotAllowedError, match=words), transaction(engine) as session:
            close_breaker(session, viewer, portal_id, now=NOW)
        with transaction(engine) as session:
            summary = get_portal_summary(session, viewer, portal_id)
            assert (summary.jobs, summary.is_shared, summary.may_change(viewer)) == (1, True, False)
    update(engine, add_viewer(engine, "ada", Role.ADMIN), portal_id, ALL_SAID)


def test_viewer_changes_nothing_even_alone(engine: Engine) -> None:
    portal_id = add_portal(engine)
    vera = add_viewer(engine, "vera", Role.VIEWER, portal_id=portal_id)
    with pytest.raises(NotAllowedError, match="may look but not change"):
        update(engine, vera, portal_id, ALL_SAID)


def test_portal_that_none_of_ones_jobs_uses_does_not_exist(engine: Engine) -> None:
    portal_id = add_portal(engine)
    olive = add_viewer(engine, "olive", portal_id=add_portal(engine, "other.example"))
    with pytest.raises(NotFoundError), transaction(engine) as session:
        get_portal_summary(session, olive, portal_id)
    with pytest.raises(NotFoundError):
        update(engine, olive, portal_id, ALL_SAID)
    with transaction(engine) as session:
        found, following = list_portals(session, olive)
        assert ([summary.portal.host for summary in found], following) == (["other.example"], None)


def test_list_goes_page_by_page_in_the_order_of_hosts(engine: Engine) -> None:
    hosts = [f"p{number}.example" for number in range(5)]
    ids = {host: add_portal(engine, host) for host in reversed(hosts)}
    ada = add_viewer(engine, "ada", Role.ADMIN)
    add_viewer(engine, "olive", portal_id=ids["p3.example"])
    seen: list[str] = []
    after: str | None = None
    with transaction(engine) as session:
        while True:
            page, after = list_portals(session, ada, after_host=after, limit=2)
            assert len(page) <= 2
            seen += [summary.portal.host for summary in page]
            if after is None:
                break
        jobs = {s.portal.host: (s.jobs, s.is_shared) for s in list_portals(session, ada)[0]}
        assert [s.portal.host for s in list_portals(session, ada, q=" P3. ")[0]] == ["p3.example"]
        assert list_portals(session, ada, q="p%")[0] == []
    assert seen == hosts
    assert (jobs["p3.example"], jobs["p0.example"]) == ((1, True), (0, False))


def test_closed_breaker_is_on_record_with_what_it_held_back(engine: Engine) -> None:
    portal_id = add_portal(engine)
    olive = add_viewer(engine, "olive", portal_id=portal_id)
    with transaction(engine) as session:
        reason = record_sign_ins(session, portal_id, [True] * MAX_REFUSED_IN_A_ROW, now=NOW)
    with transaction(engine) as session:
        close_breaker(session, olive, portal_id, now=NOW + timedelta(minutes=1))
    with transaction(engine) as session:
        portal = session.get_one(Portal, portal_id)
        assert (portal.breaker_open_until, portal.breaker_reason) == (None, None)
    (entry,) = read_audit(engine)
    assert (entry.user_id, entry.action) == (olive.user_id, "portal breaker closed")
    assert entry.before == {"open_until": (NOW + COOL_DOWN).isoformat(), "reason": reason}


@pytest.mark.parametrize("until", [None, NOW])
def test_breaker_that_is_not_open_cannot_be_closed(engine: Engine, until: object) -> None:
    portal_id = add_portal(engine, breaker_open_until=until)
    with pytest.raises(ConflictError, match="not open"), transaction(engine) as session:
        close_breaker(session, add_viewer(engine, "olive", portal_id=portal_id), portal_id, now=NOW)


def test_every_field_at_fault_is_named(engine: Engine) -> None:
    wrong = PortalSettings(
        username_selector="//input",
        link_selector="a::before",
        max_concurrent_accounts=65,
        min_seconds_between_requests=float("nan"),
        column_mapping={"number": " ", "due_on": "x" * 201},
    )
    with pytest.raises(InvalidPortalError) as caught:
        checked_settings(wrong)
    assert list(caught.value.fields) == [
        "username_selector", "link_selector", "max_concurrent_accounts", "min_seconds_between_requests",
        "column_mapping.number", "column_mapping.due_on",
    ]  # fmt: skip
    assert caught.value.fields["max_concurrent_accounts"] == "found 65; allowed 1 to 64"
    assert caught.value.fields["min_seconds_between_requests"] == "found nan; allowed 0 to 60 seconds"


def test_field_that_bills_lack_is_refused() -> None:
    with pytest.raises(InvalidPortalError, match='there is no field "price" of a bill; allowed: number, issued_on'):
        checked_settings(PortalSettings(column_mapping={"price": "Prijs"}))


def test_fields_of_the_mapping_are_those_that_rows_are_read_for() -> None:
    assert list(BILL_FIELDS) == list(FIELD_WORDS)


@pytest.mark.parametrize(
    "css",
    ["#password", "input[name='a:b']", "[lang|=en]", "a:has(> img)", ".x, .y:not(.z)", "input[value='svg|a']", "td a"],
)
def test_css_is_taken(css: str) -> None:
    assert explain_selector(css) == ""


@pytest.mark.parametrize(
    ("css", "words"),
    [
        ("//a", 'found "//a", which is no CSS selector from character 1 on; write it as in'),
        ("input[name=user name]", "no CSS selector from character 17 on"),
        ("a[", "no CSS selector from character 3 on"),
        ("a::before", "cannot be used: Pseudo-elements are not supported; write it as in"),
        ("a:visible", "cannot be used: The pseudo-class :visible is unknown"),
        ("svg|a", "whose prefix before | no page declares"),
        ("a\0", "contains a character that cannot be shown"),
        ("a\nb", "contains a character that cannot be shown"),
        ("a" * 501, "found 501 characters; at most 500"),
    ],
)
def test_what_is_no_usable_css_is_explained(css: str, words: str) -> None:
    assert words in explain_selector(css)
