"""Fixtures of the end-to-end tests."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.installation import Installation


@contextmanager
def prepared_installation() -> Iterator[Installation]:
    """A migrated installation with an admin, all of whose processes are stopped in the end.

    Not under pytest's own folder: every start of pytest closes that to the user that Postgres runs as.
    """
    with tempfile.TemporaryDirectory(prefix="punctual-e2e-") as folder:
        made = Installation(Path(folder) / "home")
        try:
            made.prepare()
            yield made
        finally:
            made.stop()


@pytest.fixture
def installation() -> Iterator[Installation]:
    """An installation of the test's own; its processes are started by the test."""
    with prepared_installation() as made:
        yield made
