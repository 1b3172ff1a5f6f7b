"""Pages run by AppTest: the real scripts on a real database, signed in as somebody."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from streamlit.testing.v1 import AppTest

import db.engine
import settings
import ui.current_user
from db.engine import transaction
from db.models import Role
from db.viewers import Viewer
from settings import PROJECT_ROOT
from tests.factories import make_viewer

OpenPage = Callable[..., AppTest]
RUN_SECONDS = 30


@pytest.fixture(autouse=True)
def main_module() -> Iterator[None]:
    """A run of a page puts its script into the place of the main module, which processes started later would load."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture
def olive(engine: Engine) -> Viewer:
    """An operator."""
    with transaction(engine) as session:
        return make_viewer(session, "olive")


@pytest.fixture
def otto(engine: Engine) -> Viewer:
    """Another operator."""
    with transaction(engine) as session:
        return make_viewer(session, "otto")


@pytest.fixture
def vera(engine: Engine) -> Viewer:
    """Somebody who may only look."""
    with transaction(engine) as session:
        return make_viewer(session, "vera", Role.VIEWER)


@pytest.fixture
def open_page(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenPage]:
    """Opens pages/NAME.py as a viewer, with query parameters; None is nobody."""
    monkeypatch.setenv("PUNCTUAL_HOME", str(tmp_path))
    monkeypatch.setattr(db.engine, "get_engine", lambda: engine)
    settings.get_settings.cache_clear()

    def open_as(viewer: Viewer | None, name: str, **query: str) -> AppTest:
        monkeypatch.setattr(ui.current_user, "open_identity", lambda _: viewer.user_id if viewer else None)
        if viewer is None:  # a page that is run by itself, past the entry script
            return AppTest.from_file(str(PROJECT_ROOT / "pages" / f"{name}.py"), default_timeout=RUN_SECONDS).run()
        app = AppTest.from_file(str(PROJECT_ROOT / "streamlit_app.py"), default_timeout=RUN_SECONDS).run()
        for key, value in query.items():
            app.query_params[key] = value
        return app if name == "jobs" else app.switch_page(f"pages/{name}.py").run()

    yield open_as
    settings.get_settings.cache_clear()


def texts(app: AppTest) -> str:
    """All words on the page, tables included."""
    parts: list[Any] = [
        e.value for kind in ("title", "subheader", "markdown", "caption", "text") for e in app.get(kind)
    ]
    parts += [e.value for kind in ("error", "warning", "info", "success") for e in app.get(kind)]
    parts += [button.label for button in app.button]
    parts += [frame.value.to_string() for frame in app.dataframe]
    parts += [html.proto.body for html in app.get("html")]
    return "\n".join(str(p) for p in parts)


def words(app: AppTest) -> str:
    """All words on the page as a person reads them, without what keeps Markdown and links out of them."""
    return re.sub(r"\\([^\w\s])", r"\1", texts(app).replace(":small[]", ""))
