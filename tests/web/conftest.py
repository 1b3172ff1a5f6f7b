"""One running web process for all tests of this folder; each test makes users of its own."""

from collections.abc import Iterator

import pytest

from tests.postgres import TestServer
from tests.web.site import Site, running_site


@pytest.fixture(scope="session")
def site(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    address = postgres.create(postgres.template)
    with running_site(address, tmp_path_factory.mktemp("home")) as site:
        yield site
    postgres.finish(address)
