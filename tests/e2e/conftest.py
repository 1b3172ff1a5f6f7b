"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A migrated installation with an admin; its processes are started by the test."""
    made = Installation(tmp_path / "home")
    try:
        made.prepare()
        yield made
    finally:
        made.stop()
