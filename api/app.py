"""The REST API's application."""

from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import (
    accounts,
    authentication,
    bill_files,
    bills,
    bulk_jobs,
    calendars,
    evidence,
    files,
    health,
    jobs,
    ledger,
    portals,
    runs,
    schedule_impact,
    schedules,
    sign_in_tests,
    statistics,
)
from api.body_limit import BodyLimit
from api.errors import add_error_handlers
from api.resources import Resources
from api.shapes import ErrorShape
from settings import VERSION, Settings


class NoStore:
    """ASGI middleware: no cache keeps an answer; all are somebody's own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, send_with_header)


def build_api(engine: Engine | None = None, settings: Settings | None = None) -> FastAPI:
    """The API, to be mounted at `/api`; on the process's own engine and settings unless others are given."""
    api = FastAPI(
        title="Punctual",
        version=VERSION,
        # The documentation pages would load scripts from a foreign host; the schema is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": ErrorShape, "description": "What was wrong"}},
    )
    api.state.resources = Resources(engine, settings)
    api.add_middleware(BodyLimit)
    api.add_middleware(NoStore)
    add_error_handlers(api)
    # /jobs/bulk/... comes before /jobs/{id}/..., which would take "bulk" for an id.
    for module in (
        authentication,
        bulk_jobs,
        jobs,
        accounts,
        runs,
        ledger,
        statistics,
        files,
        bills,
        bill_files,
        schedules,
        sign_in_tests,
        schedule_impact,
        calendars,
        portals,
        evidence,
        health,
    ):
        api.include_router(module.router)
    return api
