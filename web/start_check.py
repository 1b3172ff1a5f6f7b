"""Whether the web can work at all: its settings, its database and the tables in it, before the first request."""

from anyio import to_thread
from sqlalchemy.exc import OperationalError
from starlette.types import ASGIApp, Receive, Scope, Send

from db.embedded import EmbeddedServerError
from db.engine import create_database_engine, resolve_url
from db.migrate import explain_connection_error, is_current
from db.storage_address import find_storage_problem
from settings import InvalidSettingsError, get_settings


class StartCheck:
    """ASGI middleware: a start that cannot succeed ends with one sentence, which the server logs, and no traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            obstacle = await to_thread.run_sync(find_obstacle)
            if obstacle is not None:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": f"Punctual cannot start: {obstacle}"})
                return
        await self._app(scope, receive, send)


def find_obstacle() -> str | None:
    """Why the web cannot start, in one sentence; None when nothing is in its way."""
    try:
        settings = get_settings()
        url = resolve_url(settings)
    except (InvalidSettingsError, EmbeddedServerError) as error:
        return str(error)
    storage_problem = find_storage_problem(settings.effective_storage_url)
    if storage_problem is not None:
        return storage_problem
    engine = create_database_engine(url, application="web start", pool_size=1)
    try:
        return None if is_current(engine) else "the database is not up to date; run: python -m db upgrade"
    except OperationalError as error:
        return explain_connection_error(error, url)
    finally:
        engine.dispose()
