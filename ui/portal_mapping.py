"""How a portal's bill table is read: its columns, the order of its dates, and what a run would make of a sample."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from db.engine import transaction
from db.models import DateOrder
from db.portal_settings import BILL_FIELDS, PortalSettings
from db.portals import PortalSummary
from db.sign_in_tests import BillSample, get_bill_sample
from db.viewers import Viewer
from portal_import.bill_reading.rows import judge_columns
from portal_import.bill_reading.samples import SampleReading, read_sample, unread_cells
from portal_import.bill_reading.table_headers import FIELD_WORDS
from ui.moments import both
from ui.plain_text import code, inert_frame, plain
from ui.portal_form import begin, save

BY_WORDING = ""
DATE_ORDERS = {
    None: "Leave unclear dates unread",
    DateOrder.DAY_FIRST: "Day first: 03/04/2026 is 3 April",
    DateOrder.MONTH_FIRST: "Month first: 03/04/2026 is March 4",
}
EXAMPLES_SHOWN = 3
WARNING = ":orange[:material/warning:]"


def render_mapping(viewer: Viewer, summary: PortalSummary, zone: ZoneInfo) -> None:
    """The newest sample of the table, the choices, and what they make of the sample."""
    sample = load_sample(viewer, summary.portal.id)
    if sample is None:
        st.info(
            "No bill table of this portal has been seen yet. Test a sign-in: the test brings its first rows.",
            icon=":material/table_chart:",
        )
    else:
        render_sample(sample, zone)
    beginning, key = begin(summary, "bills")
    headers = sample.headers if sample is not None else ()
    may_change = summary.may_change(viewer)
    mapping, order = render_choices(beginning.settings, headers, key, disabled=not may_change)
    if sample is not None:
        render_preview(sample, mapping, order)
    if st.button("Save columns", type="primary", icon=":material/check:", key=f"{key}-save", disabled=not may_change):
        save(viewer, summary, "bills", {"column_mapping": mapping, "date_order": order})


def render_sample(sample: BillSample, zone: ZoneInfo) -> None:
    """The table as it stood on the portal's page."""
    st.subheader("As the portal shows it", anchor=False)
    width = max([len(sample.headers), *map(len, sample.rows)])
    # Columns are named by their places: headers may be empty, stand twice, or be fewer than the cells.
    places = [str(place) for place in range(width)]
    headers = [*sample.headers, *[""] * (width - len(sample.headers))]
    rows = [[*row, *[""] * (width - len(row))] for row in sample.rows]
    column = st.column_config
    st.dataframe(
        inert_frame(pd.DataFrame(rows, columns=places, dtype="object")),
        hide_index=True,
        height="content",
        column_config={
            place: column.TextColumn(header or "(no header)") for place, header in zip(places, headers, strict=True)
        },
        key=f"portal-sample-{sample.run_id}",
    )
    whose = f" as {code(sample.username)}" if sample.username else ""
    st.caption(f"Seen by a test sign-in{whose} on {both(sample.taken_at, zone, datetime.now(UTC))}.")


def render_choices(
    settings: PortalSettings, headers: Sequence[str], key: str, *, disabled: bool
) -> tuple[dict[str, str], DateOrder | None]:
    """The column of each field and the order of dates, as chosen."""
    st.subheader("How it is read", anchor=False)
    by_wording = read_sample(headers, (), column_mapping={}, date_order=None).columns
    mapping: dict[str, str] = {}
    with st.container(border=True, key="mapping"):
        # A row at a time: on a phone, columns are stacked one by one.
        cells = [cell for _ in range(0, len(BILL_FIELDS), 3) for cell in st.columns(3)]
        for cell, field in zip(cells, BILL_FIELDS, strict=True):
            stored = settings.column_mapping.get(field, BY_WORDING)
            # A header that this sample lacks stays to be chosen: another account's table may have it.
            options = list(dict.fromkeys([BY_WORDING, *filter(None, headers), stored]))
            found = headers[by_wording[field]] if field in by_wording else None
            chosen = cell.selectbox(
                FIELD_WORDS[field].capitalize(),
                options,
                index=options.index(stored),
                format_func=lambda header, found=found: header or by_wording_words(found, has_sample=bool(headers)),
                key=f"{key}-{field}",
                disabled=disabled,
            )
            if chosen != BY_WORDING:
                mapping[field] = chosen
        orders = list(DATE_ORDERS)
        order = st.radio(
            "Dates such as 03/04/2026",
            orders,
            index=orders.index(settings.date_order),
            format_func=lambda o: DATE_ORDERS[o],
            key=f"{key}-date-order",
            horizontal=True,
            disabled=disabled,
            help="Dates that can mean only one day are read without it. What is unclear is never guessed.",
        )
    return mapping, order


def render_preview(sample: BillSample, mapping: Mapping[str, str], order: DateOrder | None) -> None:
    """What a run would make of the sample's rows with these choices, and what it would leave unread."""
    reading = read_sample(sample.headers, sample.rows, column_mapping=mapping, date_order=order)
    st.subheader("What a run makes of it", anchor=False)
    column = st.column_config
    names = {field: FIELD_WORDS[field].capitalize() for field in BILL_FIELDS}
    st.dataframe(
        preview_frame(reading),
        hide_index=True,
        height="content",
        column_config={field: column.TextColumn(name) for field, name in names.items()},
        key=f"portal-preview-{sample.run_id}",
    )
    if judge_columns(reading.columns, mapping) is False:
        st.warning(
            "Read like this, a run does not take it for a table of bills. Choose the columns of at least two fields.",
            icon=":material/warning:",
        )
    for line in remarks(reading, sample, mapping):
        st.caption(line)


def preview_frame(reading: SampleReading) -> pd.DataFrame:
    """One row a row of the sample, as words; a dash where nothing is read."""
    rows = [
        {field: cell_words(getattr(values, field)) for field in BILL_FIELDS}
        if values is not None
        else dict.fromkeys(BILL_FIELDS, "") | {"number": "Not a bill"}
        for values in reading.rows
    ]
    return pd.DataFrame(rows, columns=list(BILL_FIELDS), dtype="object")


def remarks(reading: SampleReading, sample: BillSample, mapping: Mapping[str, str]) -> list[str]:
    """What of the sample stays unread, as lines of Markdown."""
    lines: list[str] = []
    for field in [field for field in mapping if field not in reading.columns]:
        is_there = mapping[field] in sample.headers
        why = "hardly has a digit in its cells, so it is not taken" if is_there else "is not in this table"
        lines.append(f"{WARNING} {FIELD_WORDS[field].capitalize()}: the column “{plain(mapping[field])}” {why}.")
    unread = unread_cells(reading, sample.rows)
    ambiguous = {field for values in reading.rows if values is not None for field in values.ambiguous}
    for field, texts in unread.items():
        shown = ", ".join(f"“{plain(text)}”" for text in dict.fromkeys(texts[:EXAMPLES_SHOWN]))
        why = "can mean two days: choose the order of day and month" if field in ambiguous else "could not be read"
        lines.append(f"{WARNING} {FIELD_WORDS[field].capitalize()}: {shown} {why}.")
    read = {field for values in reading.rows if values is not None for field in BILL_FIELDS if getattr(values, field)}
    missing = [FIELD_WORDS[field] for field in BILL_FIELDS if field not in reading.columns and field not in read]
    if missing:
        lines.append(
            f"No column for: {', '.join(missing)}. Bills are stored without, and keep all cells as they stood."
        )
    return lines


def cell_words(value: str | date | Decimal | None) -> str:
    """A value that was read, as a person writes it."""
    if value is None:
        return "–"
    if isinstance(value, date):
        return f"{value.day} {value:%b %Y}"
    return f"{value:,}" if isinstance(value, Decimal) else value


def by_wording_words(found: str | None, *, has_sample: bool) -> str:
    """What leaving the choice to the usual wordings comes to."""
    if found is not None:
        return f"By its wording: {found}"
    return "By its wording: none found" if has_sample else "By its wording"


def load_sample(viewer: Viewer, portal_id: int) -> BillSample | None:
    """The bill table that the newest test saw."""
    with transaction() as session:
        return get_bill_sample(session, viewer, portal_id)
