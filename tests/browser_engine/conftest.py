"""One Chromium for the tests of a file, as for the accounts of a run, and imports with it from scripted portals."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from portal_import.engine.engines import AccountEngine, open_engine
from portal_import.engine.storage import DocumentStore
from portal_import.outcomes import AccountLogin, Limits, PortalProfile
from tests.portal_server import PASSWORD, USERNAME, OpenGate, Route, ScriptedPortal, Visit

VisitInBrowser = Callable[..., Visit]


@pytest.fixture(scope="module")
def visit_in_browser() -> Iterator[VisitInBrowser]:
    """Starts a portal with these routes and imports one account from it with the browser engine."""
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        opened = AsyncExitStack()
        engine = runner.run(opened.enter_async_context(open_engine("browser")))

        def visit(routes: dict[str, Route], **options: object) -> Visit:
            shutil.rmtree(folder)
            return runner.run(_visit(engine, Path(folder), routes, **options))  # type: ignore[arg-type]

        yield visit
        runner.run(opened.aclose())
        Path(folder).mkdir(exist_ok=True)


async def _visit(
    engine: AccountEngine,
    folder: Path,
    routes: dict[str, Route],
    *,
    password: str = PASSWORD,
    profile: PortalProfile = PortalProfile(),  # noqa: B008 (frozen)
    limits: Limits = Limits(request_timeout_seconds=10),  # noqa: B008 (frozen)
) -> Visit:
    async with ScriptedPortal(routes) as portal:
        login = AccountLogin(USERNAME, password, f"{portal.url}/login", f"{portal.url}/billing")
        made = Visit(None, portal, folder, gate=OpenGate())  # type: ignore[arg-type]

        async def note_wait(seconds: float) -> None:
            made.waits.append(seconds)

        made.outcome = await engine.import_account(
            login,
            profile,
            limits,
            DocumentStore(folder.as_uri()),
            report=lambda level, line: made.lines.append((level, line)),
            gate=made.gate,
            sleep=note_wait,
        )
        return made
