"""Fixtures of the fault tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.chaos.portal import running_portal
from tests.chaos.stage import Stage


@pytest.fixture
def stage(engine: Engine, tmp_path: Path) -> Iterator[Stage]:
    """A stage of the test's own on the shared server."""
    with running_portal(tmp_path / "portal") as portal:
        made = Stage(engine, portal, tmp_path)
        made.prepare()
        yield made
        made.close()
