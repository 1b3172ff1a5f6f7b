"""A hostile portal and a sound one, and the process that imports from both."""

from collections.abc import Iterator

import pytest

from tests.hostile.attacks import Importer, portals_thread, start_importer


@pytest.fixture(scope="session")
def importer() -> Iterator[Importer]:
    """One process for all attacks: each finds it as the one before left it."""
    with portals_thread() as loop, start_importer(loop) as importer:
        yield importer
