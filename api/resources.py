"""What the API works with: the database, the settings and the installation's keys.

Nothing is opened when the application is built, only when the first request needs it.
"""

from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.encryption import SecretBox, open_secret_box
from db.engine import snapshot, transaction
from settings import Settings, get_settings


class Resources:
    """The process's own engine and settings, unless others are given."""

    def __init__(self, engine: Engine | None = None, settings: Settings | None = None) -> None:
        self._engine = engine
        self._settings = settings

    @property
    def settings(self) -> Settings:
        """The settings that hold for these requests."""
        return self._settings or get_settings()

    @property
    def box(self) -> SecretBox:
        """The keys that encrypt passwords and sign tokens; those of a key file may change while this process runs."""
        return open_secret_box(self.settings)

    def transaction(self) -> AbstractContextManager[Session]:
        """A transaction; open it inside a handler, so that no connection waits for a thread."""
        return transaction(self._engine)

    def snapshot(self) -> AbstractContextManager[Session]:
        """The same for reading only, all of it as of one instant."""
        return snapshot(self._engine)


async def get_resources(request: Request) -> Resources:
    """The resources that the application was built with."""
    return request.app.state.resources


Here = Annotated[Resources, Depends(get_resources)]
