"""One Chromium for the tests of a file, as for the accounts of a run, and imports with it from scripted portals."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from db.models import LogLevel
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
            own = Path(tempfile.mkdtemp(dir=folder))
            return runner.run(_visit(engine, own, routes, **options))  # type: ignore[arg-type]

        yield visit
        runner.run(opened.aclose())


async def _visit(
    engine: AccountEngine,
    folder: Path,
    routes: dict[str, Route],
    *,
    password: str = PASSWORD,
    profile: PortalProfile = PortalProfile(),  # noqa: B008 (frozen)
    limits: Limits = Limits(request_timeout_seconds=10),  # noqa: B008 (frozen)
    is_test: bool = False,
) -> Visit:
    async with ScriptedPortal(routes) as portal:
        login = AccountLogin(USERNAME, password, f"{portal.url}/login", f"{portal.url}/billing")
        made = Visit(None, portal, folder, gate=OpenGate())  # type: ignore[arg-type]

        async def note_wait(seconds: float) -> None:
            made.waits.append(seconds)

        def report(level: LogLevel, line: str) -> None:
            made.lines.append((level, line))

        if is_test:
            test = await engine.try_sign_in(login, profile, limits, report=report, gate=made.gate, sleep=note_wait)
            made.outcome = test.outcome
        else:
            store = DocumentStore(folder.as_uri())
            made.outcome = await engine.import_account(
                login, profile, limits, store, report=report, gate=made.gate, sleep=note_wait
            )
        return made
