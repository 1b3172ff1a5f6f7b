"""`/portals`: how the portals that your jobs use are visited, and how their bills are read."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, StrictInt

from api.authentication import CurrentViewer, Writer
from api.cursors import InvalidCursorError, make_cursor, read_cursor
from api.paging import NumberId, PageQuery, SearchText
from api.resources import Here
from api.shapes import OwnerShape, PageShape, StrictShape
from db.models import DateOrder, Engine
from db.portal_settings import InvalidPortalError, settings_of
from db.portals import PortalSummary, close_breaker, get_portal_summary, list_portals, update_portal
from db.viewers import Viewer

LIST_NAME = "portals"

router = APIRouter(prefix="/portals", tags=["portals"])


class PortalsQuery(PageQuery):
    """`?q=&cursor=&limit=`; `q` is looked for in hosts."""

    q: SearchText = ""


class PortalEdit(StrictShape):
    """The body of PATCH /portals/{id}: only what was sent counts. `null` has it found by itself.

    Selectors are CSS. `column_mapping` gives fields of a bill (`number`, `issued_on`, `due_on`, `amount`, `currency`,
    `portal_status`) the header of their column, and replaces the whole mapping.
    """

    engine: Engine = Engine.HTTP
    username_selector: str | None = None
    password_selector: str | None = None
    submit_selector: str | None = None
    link_selector: str | None = None
    next_selector: str | None = None
    max_concurrent_accounts: StrictInt = 0
    min_seconds_between_requests: float = 0
    date_order: DateOrder | None = None
    column_mapping: dict[str, str] | None = None
    version: StrictInt = 0


class PortalShape(BaseModel):
    """A portal: one per login host.

    `jobs_count` counts the jobs that you see, `is_shared` says whether jobs of others use it too, and `may_change`
    whether you may change it. While `breaker_open_until` is ahead, nothing signs in there; while `retry_after_at` is,
    nothing is sent there, because the portal asked for that.
    """

    id: int
    host: str
    engine: str
    username_selector: str | None
    password_selector: str | None
    submit_selector: str | None
    link_selector: str | None
    next_selector: str | None
    max_concurrent_accounts: int
    min_seconds_between_requests: float
    date_order: str | None
    column_mapping: dict[str, str]
    breaker_open_until: datetime | None
    breaker_reason: str | None
    retry_after_at: datetime | None
    authorised_by: OwnerShape | None
    authorised_at: datetime | None
    jobs_count: int
    is_shared: bool
    may_change: bool
    created_at: datetime
    version: int


@router.get("")
def get_portals(query: Annotated[PortalsQuery, Query()], viewer: CurrentViewer, here: Here) -> PageShape[PortalShape]:
    """A page of the portals that your jobs use, or for admins of all, by host."""
    key = here.box.signing_key
    after = _read_portal_cursor(key, query.cursor) if query.cursor is not None else None
    with here.transaction() as session:
        found, following = list_portals(session, viewer, q=query.q, after_host=after, limit=query.limit)
        items = [portal_shape(summary, viewer) for summary in found]
    return PageShape(items=items, next_cursor=make_cursor(key, LIST_NAME, [following]) if following else None)


@router.get("/{portal_id}")
def get_one_portal(portal_id: NumberId, viewer: CurrentViewer, here: Here) -> PortalShape:
    """One portal."""
    with here.transaction() as session:
        return portal_shape(get_portal_summary(session, viewer, portal_id), viewer)


@router.patch("/{portal_id}")
def patch_portal(portal_id: NumberId, edit: PortalEdit, viewer: Writer, here: Here) -> PortalShape:
    """Change what is sent and nothing else; 409 when `version` is not the portal's any more."""
    changes = read_portal_edit(edit)
    with here.transaction() as session:
        portal = get_portal_summary(session, viewer, portal_id).portal
        # What is not sent is written again as it was read: never over somebody else's edit in between.
        version = edit.version if "version" in edit.model_fields_set else portal.version
        settings = replace(settings_of(portal), **changes)
        return portal_shape(update_portal(session, viewer, portal_id, settings, expected_version=version), viewer)


@router.post("/{portal_id}/close-breaker")
def post_close_breaker(portal_id: NumberId, viewer: Writer, here: Here) -> PortalShape:
    """Let runs sign in there again before the cool-down is over; 409 when the breaker is not open."""
    with here.transaction() as session:
        return portal_shape(close_breaker(session, viewer, portal_id, now=datetime.now(UTC)), viewer)


def read_portal_edit(edit: PortalEdit) -> Mapping[str, Any]:
    """What was sent, as the settings take it. Raises InvalidPortalError when that is nothing."""
    changes = {name: getattr(edit, name) for name in edit.model_fields_set - {"version"}}
    if not changes:
        changeable = ", ".join(name for name in PortalEdit.model_fields if name != "version")
        raise InvalidPortalError({"body": f"nothing to change; send at least one of {changeable}"})
    if "column_mapping" in changes:
        changes["column_mapping"] = edit.column_mapping or {}
    return changes


def portal_shape(summary: PortalSummary, viewer: Viewer) -> PortalShape:
    """The portal as this viewer sees it."""
    portal = summary.portal
    authorised_by = None
    if portal.authorised_by is not None and summary.authorised_by_name is not None:
        authorised_by = OwnerShape(id=portal.authorised_by, name=summary.authorised_by_name)
    return PortalShape(
        **vars(settings_of(portal)),
        id=portal.id,
        host=portal.host,
        breaker_open_until=portal.breaker_open_until,
        breaker_reason=portal.breaker_reason,
        retry_after_at=portal.retry_after_at,
        authorised_by=authorised_by,
        authorised_at=portal.authorised_at,
        jobs_count=summary.jobs,
        is_shared=summary.is_shared,
        may_change=summary.may_change(viewer),
        created_at=portal.created_at,
        version=portal.version,
    )


def _read_portal_cursor(key: bytes, text: str) -> str:
    match read_cursor(key, LIST_NAME, text):
        case [str(host)]:
            return host
        case _:
            raise InvalidCursorError
