"""What pages say when they fail: words for people, and the details only in the log."""

import logging

import psycopg2
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError
from streamlit.testing.v1 import AppTest

from ui.failures import DATABASE_AWAY, show_failure

SECRET = "relation with hunter2"


def show(error: Exception, monkeypatch: pytest.MonkeyPatch) -> str:
    def script() -> None:
        import ui.failures

        ui.failures.show_failure(ui.failures.error_of_the_test)  # type: ignore[attr-defined]

    monkeypatch.setattr("ui.failures.error_of_the_test", error, raising=False)
    app = AppTest.from_function(script).run()
    return "\n".join(e.value for e in app.error)


def test_database_that_is_away_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OperationalError("SELECT 1", {}, psycopg2.OperationalError("connection refused"))
    assert show(error, monkeypatch) == DATABASE_AWAY


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), ProgrammingError("SELECT 1", {}, psycopg2.errors.UndefinedTable(SECRET))]
)
def test_other_failures_show_a_number_that_the_log_explains(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "punctual.pages"):
        shown = show(error, monkeypatch)
    number = shown.split("number ")[1].rstrip(".")
    assert SECRET not in shown
    assert number in caplog.text
    assert SECRET in caplog.text


def test_show_failure_lets_nothing_else_be_shown() -> None:
    assert show_failure(ValueError("x")) is True
