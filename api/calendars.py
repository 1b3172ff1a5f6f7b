"""`/calendars`: named days off that jobs keep. Everybody reads them; only the owner and admins change one."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from pydantic import Field
from sqlalchemy.orm import Session

from api.authentication import CurrentViewer, Writer
from api.calendar_forms import (
    CalendarEdit,
    CalendarFileForm,
    NewCalendar,
    read_calendar_edit,
    read_calendar_file,
    read_new_calendar,
)
from api.calendar_shapes import (
    CalendarDetailShape,
    CalendarShape,
    CountryShape,
    calendar_shape,
    country_shape,
    day_off_shapes,
)
from api.dates import IsoDate
from api.multipart import require_multipart
from api.paging import NumberId
from api.resources import Here, Resources
from api.shapes import PageShape, StrictShape
from db.calendars import (
    CalendarDraft,
    InvalidCalendarError,
    create_calendar,
    days_off_of,
    delete_calendar,
    draft_of,
    get_calendar,
    get_calendar_summary,
    list_calendars,
    list_days,
    update_calendar,
)
from db.viewers import Viewer
from recurrence import checked_country, countries

MAX_DAYS_ASKED = 3660

router = APIRouter(prefix="/calendars", tags=["calendars"])


class SpanQuery(StrictShape):
    """`?from=&to=`: the dates, both included, for which all days off are wanted."""

    from_: IsoDate | None = Field(default=None, alias="from")
    to: IsoDate | None = None


class CountriesQuery(StrictShape):
    """`?country=`: only this one, with its weekend and parts."""

    country: str | None = None


@router.get("")
def get_calendars(viewer: CurrentViewer, here: Here) -> PageShape[CalendarShape]:
    """All calendars by name."""
    with here.transaction() as session:
        items = [calendar_shape(summary, viewer) for summary in list_calendars(session)]
    return PageShape(items=items, next_cursor=None)


@router.post("", status_code=201)
def post_calendar(
    sent: NewCalendar, viewer: Writer, here: Here, request: Request, response: Response
) -> CalendarDetailShape:
    """Create a calendar of listed days, a country's holidays, or both; 409 when the name is taken."""
    return _create(read_new_calendar(sent), viewer, here, request, response)


@router.post("/import", status_code=201, dependencies=[Depends(require_multipart("ics"))])
def import_calendar(
    form: Annotated[CalendarFileForm, Form(media_type="multipart/form-data")],
    viewer: Writer,
    here: Here,
    request: Request,
    response: Response,
) -> CalendarDetailShape:
    """Create a calendar of the days in an iCalendar file, from last year to five years ahead."""
    return _create(read_calendar_file(form, datetime.now(UTC)), viewer, here, request, response)


@router.get("/countries")
def get_countries(query: Annotated[CountriesQuery, Query()], viewer: CurrentViewer) -> PageShape[CountryShape]:
    """The countries whose public holidays a calendar can have, by name."""
    if query.country is not None:
        code, _ = checked_country(query.country, None)
        return PageShape(items=[country_shape(code, countries()[code])], next_cursor=None)
    return PageShape(items=[CountryShape(code=c, name=n) for c, n in countries().items()], next_cursor=None)


@router.get("/{calendar_id}")
def get_one_calendar(
    calendar_id: NumberId, query: Annotated[SpanQuery, Query()], viewer: CurrentViewer, here: Here
) -> CalendarDetailShape:
    """One calendar with the days it lists, and with `from` and `to` all its days off between them."""
    span = _checked_span(query)
    with here.transaction() as session:
        return _detail(session, viewer, calendar_id, span)


@router.patch("/{calendar_id}")
def patch_calendar(calendar_id: NumberId, edit: CalendarEdit, viewer: Writer, here: Here) -> CalendarDetailShape:
    """Change what is sent and nothing else; 409 when `version` is not the calendar's any more."""
    with here.transaction() as session:
        calendar = get_calendar(session, calendar_id)
        # What is not sent is written again as it was read: never over somebody else's edit in between.
        version = edit.version if "version" in edit.model_fields_set else calendar.version
        draft = read_calendar_edit(edit, draft_of(calendar, list_days(session, calendar_id)))
        update_calendar(session, viewer, calendar_id, draft, now=datetime.now(UTC), expected_version=version)
        return _detail(session, viewer, calendar_id)


@router.delete("/{calendar_id}", status_code=204)
def remove_calendar(calendar_id: NumberId, viewer: Writer, here: Here) -> Response:
    """Delete a calendar; 409 while jobs keep it."""
    with here.transaction() as session:
        delete_calendar(session, viewer, calendar_id)
    return Response(status_code=204)


def _create(
    draft: CalendarDraft, viewer: Viewer, here: Resources, request: Request, response: Response
) -> CalendarDetailShape:
    with here.transaction() as session:
        calendar = create_calendar(session, viewer, draft, now=datetime.now(UTC))
        shape = _detail(session, viewer, calendar.id)
    response.headers["Location"] = f"{request.scope.get('root_path', '')}/calendars/{shape.id}"
    return shape


def _detail(
    session: Session, viewer: Viewer, calendar_id: int, span: tuple[date, date] | None = None
) -> CalendarDetailShape:
    summary = get_calendar_summary(session, calendar_id)
    days = list_days(session, calendar_id)
    days_off = days_off_of(draft_of(summary.calendar, days), *span) if span else None
    return CalendarDetailShape(
        **calendar_shape(summary, viewer).model_dump(),
        days=day_off_shapes(days),
        days_off=day_off_shapes(days_off) if days_off is not None else None,
    )


def _checked_span(query: SpanQuery) -> tuple[date, date] | None:
    if query.from_ is None and query.to is None:
        return None
    if query.from_ is None or query.to is None:
        raise InvalidCalendarError(f"{'to' if query.to is None else 'from'}: is missing; send from and to, or neither")
    if not 0 <= (query.to - query.from_).days < MAX_DAYS_ASKED:
        raise InvalidCalendarError(
            f"from {query.from_} to {query.to}: allowed 1 to {MAX_DAYS_ASKED} days, the first one first"
        )
    return query.from_, query.to
