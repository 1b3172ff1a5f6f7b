"""What portals and accounts files say is inert on the pages: no markup, no links, nothing that calculates."""

import re
from typing import Any

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

from db.engine import transaction
from db.models import Bill, LogLevel, Result, ResultStatus, RunStatus
from db.run_log import LogLine, record_log_lines
from db.viewers import Viewer
from tests.factories import NOW, make_job, make_run
from tests.ui.conftest import OpenPage

SCRIPT = '<script>alert(1)</script><img src=x onerror="alert(1)">'
MARKDOWN = "[click](https://evil.example) ![x](https://evil.example/x.png) **bold** $x$ :red[red] `code`"
FORMULA = "=HYPERLINK(1)"
FORMATTED = ("title", "markdown", "caption", "subheader", "error", "warning", "info", "success")


@pytest.fixture
def page(engine: Engine, olive: Viewer, open_page: OpenPage) -> AppTest:
    with transaction(engine) as session:
        job = make_job(session, olive, name=f"{FORMULA} {SCRIPT} {MARKDOWN}")
        run = make_run(session, job, status=RunStatus.PARTIAL, reason=f"{SCRIPT} {MARKDOWN}")
        columns: dict[str, Any] = {"run_id": run.id, "session_id": job.id, "created_at": NOW, "finished_at": NOW}
        error = f"{FORMULA} {SCRIPT} {MARKDOWN}"
        session.add(Result(username="@SUM(A1)", status=ResultStatus.WRONG_CREDENTIALS, error=error, **columns))
        session.add(
            Bill(
                session_id=job.id,
                username="+1",
                bill_key="1",
                number=FORMULA,
                portal_status=f"-{SCRIPT}",
                documents=[{"file_name": f"{MARKDOWN}.pdf", "file_url": "ab/x.pdf", "content_type": "text/plain"}],
                first_seen_run=run.id,
                last_seen_run=run.id,
            )
        )
        record_log_lines(session, run.id, [LogLine(NOW, LogLevel.INFO, f"{SCRIPT} {MARKDOWN}", None)])
        run_id = run.id
    return open_page(olive, "run", id=str(run_id))


def test_markup_is_shown_and_never_means_anything(page: AppTest) -> None:
    assert not page.exception
    formatted = [element for kind in FORMATTED for element in page.get(kind)]
    said = [element for element in formatted if "alert" in element.value or "evil" in element.value]
    assert said
    for element in said:
        assert not re.search(r"(?<!\\)<script|(?<!\\)\]\(|!\[", element.value), element
        assert not getattr(element.proto, "allow_html", False)
    assert not [html for html in page.get("html") if "alert(1)" in html.proto.body]


def test_no_cell_of_a_table_begins_a_formula(page: AppTest) -> None:
    cells = [cell for frame in page.dataframe for column in frame.value for cell in frame.value[column]]
    texts = [cell for cell in cells if isinstance(cell, str)]
    assert {"'@SUM(A1)", "'+1", f"'{FORMULA}"} <= set(texts)
    assert not [text for text in texts if text.startswith(("=", "+", "-", "@", "\t", "\r"))]
