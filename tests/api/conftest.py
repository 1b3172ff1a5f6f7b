"""The API on a database of the test's own, and clients signed in as users of each role."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Engine

from api.app import build_api
from db.models import Role
from settings import Settings
from tests.api.portal_story import Person, add_person

SECRET_KEY = "a key for the tests of the API that is long enough"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, storage_url=f"file://{tmp_path}/bills", secret_key=SecretStr(SECRET_KEY))


@pytest.fixture
def api(engine: Engine, settings: Settings) -> FastAPI:
    return build_api(engine, settings)


@pytest.fixture
def client(api: FastAPI) -> Iterator[TestClient]:
    """A client that nobody signed in with; an error inside shows as its 500."""
    with TestClient(api, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def sign_in(engine: Engine, api: FastAPI) -> Iterator[Callable[..., Person]]:
    """Makes a user of that role and a client with the user's token."""
    people: list[Person] = []

    def sign_in(username: str = "olive", role: Role = Role.OPERATOR) -> Person:
        people.append(add_person(engine, api, username, role))
        return people[-1]

    yield sign_in
    for person in people:
        person.client.close()


@pytest.fixture
def olive(sign_in: Callable[..., Person]) -> Person:
    """An operator."""
    return sign_in()
