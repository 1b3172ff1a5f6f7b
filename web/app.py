"""The ASGI app of the web process: `uvicorn web.app:app`, or `streamlit run web/app.py`.

Pages, REST API, sign-in and files share one port; the session gate stands before all of them.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from streamlit.runtime.pages_manager import PagesManager

# `streamlit run web/app.py` makes `web` the first place to import from; the packages lie one above.
PROJECT_ROOT = Path(__file__).resolve().parent.parent
if str(PROJECT_ROOT) not in sys.path:
    sys.path.insert(0, str(PROJECT_ROOT))

from api.app import build_api  # noqa: E402
from api.errors import METHODS, error_response  # noqa: E402
from ui.failures import show_failure  # noqa: E402
from web.account import ACCOUNT_ROUTES  # noqa: E402
from web.files import FILE_ROUTES  # noqa: E402
from web.security_headers import SecurityHeaders  # noqa: E402
from web.session_gate import SessionGate  # noqa: E402
from web.start_check import StartCheck  # noqa: E402

# Streamlit takes a folder named `pages` for its older kind of navigation until `st.navigation` has run once:
# the first deep link to a new process would then run the page alone, without what surrounds it.
PagesManager.uses_pages_directory = False

api = build_api()


async def refuse_bare_api(_: Request) -> Response:
    """The mount begins behind the slash; without this, Streamlit would answer with its page."""
    return error_response(404, "there is no /api; /api/openapi.json describes every call")


ROUTES = [Route("/api", refuse_bare_api, methods=METHODS), Mount("/api", api), *ACCOUNT_ROUTES, *FILE_ROUTES]
MIDDLEWARE = [Middleware(StartCheck), Middleware(SecurityHeaders), Middleware(SessionGate)]


@asynccontextmanager
async def lifespan(_: object) -> AsyncIterator[dict[str, Any] | None]:
    """The API's start and end, inside Streamlit's."""
    async with api.router.lifespan_context(api) as state:
        yield dict(state) if state else None


# Spelled out, because `streamlit run` looks for exactly `st.App(` to know that this is no page.
app = st.App(
    PROJECT_ROOT / "streamlit_app.py",
    routes=ROUTES,
    middleware=MIDDLEWARE,
    lifespan=lifespan,
    on_script_error=show_failure,
)
