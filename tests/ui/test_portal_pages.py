"""The Portals page and a portal's own: who sees and changes what, and that nothing typed is lost or overwritten."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from db.engine import transaction
from db.models import AuditEntry, Portal, Role, RunStatus
from db.models import Engine as PortalEngine
from db.portal_settings import PortalSettings
from db.portals import update_portal
from db.viewers import Viewer
from tests.factories import make_job, make_portal, make_run, make_viewer
from tests.ui.conftest import OpenPage, words


def add_portal(engine: Engine, *viewers: Viewer, host: str = "portal.example", **columns: Any) -> int:
    """A portal that a job of each of them uses."""
    with transaction(engine) as session:
        portal = make_portal(session, host, **columns)
        for viewer in viewers:
            make_job(session, viewer, name=f"Bills of {viewer.name}", portal_id=portal.id)
        return portal.id


def read_portal(engine: Engine, portal_id: int) -> Portal:
    with transaction(engine) as session:
        return session.get_one(Portal, portal_id)


def field(portal_id: int, name: str, rounds: int = 0) -> str:
    return f"portal-{portal_id}-settings-{rounds}-{name}"


def button_keys(app: Any) -> list[str]:
    return [str(button.key) for button in app.button]


def test_list_shows_the_portals_of_ones_jobs(
    engine: Engine, olive: Viewer, otto: Viewer, vera: Viewer, open_page: OpenPage
) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    add_portal(engine, olive, otto, host="b.example", link_selector="a", column_mapping={"number": "Ref."})
    add_portal(engine, olive, host="a.example", breaker_open_until=until, authorised_by=olive.user_id)
    add_portal(engine, otto, host="c.example")
    frame = open_page(olive, "portals").dataframe[0].value
    assert list(frame["host"]) == ["a.example", "b.example"]
    assert [list(pills) for pills in frame["state"]] == [["! Left alone"], ["✓ In use"]]
    assert list(frame["said"]) == ["Found by itself", "1 selector, 1 column"]
    assert [who.split(",")[0] for who in frame["authorised"]] == ["Olive", "somebody who left"]
    assert "No job uses a portal yet" in words(open_page(vera, "portals"))
    with transaction(engine) as session:
        ada = make_viewer(session, "ada", Role.ADMIN)
    app = open_page(ada, "portals")
    assert list(app.dataframe[0].value["host"]) == ["a.example", "b.example", "c.example"]
    assert list(app.text_input(key="portals-q").set_value("B.EX").run().dataframe[0].value["host"]) == ["b.example"]
    assert "No portal matches" in words(app.text_input(key="portals-q").set_value("nothing").run())


def test_job_and_its_run_lead_to_the_portal(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    with transaction(engine) as session:
        portal = make_portal(session, "*a*.example")
        job = make_job(session, olive, portal_id=portal.id)
        run = make_run(session, job, status=RunStatus.COMPLETED)
    for name, address_id in (("job", job.id), ("run", str(run.id))):
        links = [link.proto for link in open_page(olive, name, id=address_id).get("page_link")]
        (link,) = [link for link in links if link.page == "portal"]
        assert link.label == "Portal \\*a\\*\\.example"
        assert link.query_string == f"id={portal.id}&job={job.id}"


@pytest.mark.parametrize("portal_id", ["", "x", "999999", "9" * 30])
def test_portal_that_is_not_there_is_said_so(olive: Viewer, open_page: OpenPage, portal_id: str) -> None:
    assert "no such portal" in words(open_page(olive, "portal", id=portal_id))


def test_portal_of_others_is_not_there(engine: Engine, olive: Viewer, otto: Viewer, open_page: OpenPage) -> None:
    app = open_page(olive, "portal", id=str(add_portal(engine, otto, host="secret.example")))
    assert "no such portal" in words(app)
    assert "secret.example" not in words(app)


def test_settings_are_saved(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    portal_id = add_portal(engine, olive, next_selector="a.next", column_mapping={"number": "Ref."})
    app = open_page(olive, "portal", id=str(portal_id))
    assert app.text_input(key=field(portal_id, "next_selector")).value == "a.next"
    app.text_input(key=field(portal_id, "username_selector")).set_value(" input[name=login] ")
    app.text_input(key=field(portal_id, "next_selector")).set_value("")
    app.selectbox(key=field(portal_id, "engine")).set_value(PortalEngine.BROWSER)
    app.number_input(key=field(portal_id, "accounts")).set_value(3)
    app.number_input(key=field(portal_id, "spacing")).set_value(1.5)
    app.button(key=field(portal_id, "save")).click().run()
    portal = read_portal(engine, portal_id)
    assert (portal.username_selector, portal.next_selector, portal.engine) == ("input[name=login]", None, "browser")
    assert (portal.max_concurrent_accounts, portal.min_seconds_between_requests) == (3, 1.5)
    assert (portal.column_mapping, portal.version) == ({"number": "Ref."}, 2)
    # The form goes on with what was stored, and can be saved again.
    assert app.text_input(key=field(portal_id, "username_selector", 1)).value == "input[name=login]"
    app.text_input(key=field(portal_id, "username_selector", 1)).set_value("#user")
    app.button(key=field(portal_id, "save", 1)).click().run()
    assert read_portal(engine, portal_id).username_selector == "#user"


def test_what_is_refused_is_explained_and_stays_typed(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    portal_id = add_portal(engine, olive)
    app = open_page(olive, "portal", id=str(portal_id))
    app.text_input(key=field(portal_id, "username_selector")).set_value("//input")
    app.text_input(key=field(portal_id, "link_selector")).set_value("a.pdf")
    app.button(key=field(portal_id, "save")).click().run()
    assert 'User name field: found "//input", which is no CSS selector' in words(app).replace("*", "")
    assert read_portal(engine, portal_id).version == 1
    assert app.text_input(key=field(portal_id, "username_selector")).value == "//input"
    app.text_input(key=field(portal_id, "username_selector")).set_value("input")
    app.button(key=field(portal_id, "save")).click().run()
    assert read_portal(engine, portal_id).link_selector == "a.pdf"


def test_change_by_somebody_else_is_noticed_not_overwritten(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    portal_id = add_portal(engine, olive)
    app = open_page(olive, "portal", id=str(portal_id))
    with transaction(engine) as session:
        update_portal(session, olive, portal_id, PortalSettings(password_selector="#theirs"))
    app.text_input(key=field(portal_id, "username_selector")).set_value("#mine")
    app.button(key=field(portal_id, "save")).click().run()
    assert "somebody changed this portal meanwhile. What you entered is still here" in words(app)
    assert app.text_input(key=field(portal_id, "username_selector")).value == "#mine"
    assert read_portal(engine, portal_id).username_selector is None
    next(button for button in app.button if button.label.startswith("Drop it")).click().run()
    assert app.text_input(key=field(portal_id, "password_selector", 1)).value == "#theirs"
    assert app.text_input(key=field(portal_id, "username_selector", 1)).value == ""
    app.text_input(key=field(portal_id, "username_selector", 1)).set_value("#mine")
    app.button(key=field(portal_id, "save", 1)).click().run()
    portal = read_portal(engine, portal_id)
    assert (portal.username_selector, portal.password_selector) == ("#mine", "#theirs")


def test_shared_portal_and_viewers_only_read(
    engine: Engine, olive: Viewer, otto: Viewer, vera: Viewer, open_page: OpenPage
) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    shared = add_portal(engine, olive, otto, breaker_open_until=until)
    looked_at = add_portal(engine, vera, host="other.example", breaker_open_until=until)
    for viewer, portal_id, why in (
        (olive, shared, "only admins may change it"),
        (vera, looked_at, "Your role may look"),
    ):
        app = open_page(viewer, "portal", id=str(portal_id))
        assert why in words(app)
        assert app.button(key=field(portal_id, "save")).disabled
        assert app.text_input(key=field(portal_id, "username_selector")).disabled
        assert "portal-close-breaker" not in button_keys(app)


def test_portal_that_asked_for_rest_says_so(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    now = datetime.now(UTC)
    resting = add_portal(engine, olive, retry_after_at=now + timedelta(minutes=10))
    rested = add_portal(engine, olive, host="b.example", retry_after_at=now - timedelta(minutes=10))
    told = [
        [i.value for i in open_page(olive, "portal", id=str(p)).info if "asked" in i.value] for p in (resting, rested)
    ]
    assert [len(lines) for lines in told] == [1, 0]


def test_open_breaker_tells_why_and_is_closed(engine: Engine, olive: Viewer, open_page: OpenPage) -> None:
    until = datetime.now(UTC) + timedelta(minutes=30)
    portal_id = add_portal(engine, olive, breaker_open_until=until, breaker_reason="5 sign-ins *in a row* were refused")
    app = open_page(olive, "portal", id=str(portal_id))
    assert "5 sign-ins *in a row* were refused" in words(app)
    app.button(key="portal-close-breaker").click().run()
    assert read_portal(engine, portal_id).breaker_open_until is None
    assert "portal-close-breaker" not in button_keys(app)
    with transaction(engine) as session:
        assert session.scalars(select(AuditEntry.action)).all() == ["portal breaker closed"]
