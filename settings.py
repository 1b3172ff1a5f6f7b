"""Every setting of Punctual, typed, read from the environment and from a `.env` file.

Imports no project code. An invalid value is reported by the name of its variable.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

VERSION = "0.1.0"
PROJECT_ROOT = Path(__file__).resolve().parent

_PREFIX = "PUNCTUAL_"
SECRET_NAMES = ("DATABASE_URL", "PUNCTUAL_ADMIN_PASSWORD", "PUNCTUAL_SECRET_KEY")


class InvalidSettingsError(ValueError):
    """A setting has a value that cannot be used."""


def _blank_is_unset(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _days_kept(least: int) -> AfterValidator:
    """At least that many days; 0 is for ever."""

    def check(days: int) -> int:
        if days and days < least:
            raise ValueError(f"at least {least} days, or 0 for ever")
        return days

    return AfterValidator(check)


OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_blank_is_unset)]
OptionalText = Annotated[str | None, BeforeValidator(_blank_is_unset)]


class Settings(BaseSettings):
    """All settings. Paths are absolute once read; relative ones start at the project's folder."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX,
        env_file=PROJECT_ROOT / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: Annotated[OptionalSecret, Field(validation_alias=AliasChoices("DATABASE_URL", "database_url"))] = None
    storage_url: Annotated[OptionalText, Field(validation_alias=AliasChoices("STORAGE_URL", "storage_url"))] = None
    dask_scheduler: Annotated[
        OptionalText, Field(validation_alias=AliasChoices("DASK_SCHEDULER", "dask_scheduler"))
    ] = None
    home: Path = Path("var")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8501
    admin_username: Annotated[str, Field(min_length=1, max_length=64)] = "admin"
    admin_password: OptionalSecret = None
    secret_key: OptionalSecret = None
    slots: Annotated[int, Field(ge=0, le=256)] = 4
    demo: bool = True
    demo_port: Annotated[int | None, Field(ge=1, le=65535), BeforeValidator(_blank_is_unset)] = None
    cookie_secure: bool = False
    session_hours: Annotated[int, Field(ge=1, le=24 * 365)] = 12
    lease_seconds: Annotated[int, Field(ge=2, le=3600)] = 30
    drain_seconds: Annotated[int, Field(ge=0, le=3600)] = 20
    keep_runs_days: Annotated[int, Field(ge=0, le=36_500), _days_kept(30)] = 730
    keep_log_days: Annotated[int, Field(ge=0, le=36_500), _days_kept(14)] = 90
    private_networks: Literal["allow", "refuse"] = "allow"
    max_file_mb: Annotated[int, Field(ge=1, le=10_000)] = 50
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def model_post_init(self, context: object, /) -> None:
        """Make `home` absolute, so that every process means the same folder."""
        if not self.home.is_absolute():
            self.home = PROJECT_ROOT / self.home

    @property
    def demo_url(self) -> str:
        """Where the demo portal answers: the port after the web's unless set."""
        return f"http://127.0.0.1:{self.effective_demo_port}"

    @property
    def effective_demo_port(self) -> int:
        """The demo portal's port; the one after `port` when not set, so two copies never clash."""
        if self.demo_port is not None:
            return self.demo_port
        return self.port + 1 if self.port < 65535 else self.port - 1

    @property
    def effective_storage_url(self) -> str:
        """Where bill files go: `STORAGE_URL`, or the folder `bills` under `home`."""
        return self.storage_url or f"file://{self.home / 'bills'}"


def read_settings() -> Settings:
    """Read the settings afresh. Raises InvalidSettingsError naming each variable at fault."""
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettingsError("; ".join(_explain(e) for e in error.errors())) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return read_settings()


def _explain(error: ErrorDetails) -> str:
    """Which variable, what was found (never of a secret) and what would be right."""
    field = str(error["loc"][0])
    name = field if field.isupper() else _PREFIX + field.upper()
    message = f"{error['msg'][0].lower()}{error['msg'][1:]}"
    return f"{name}: {message}" if name in SECRET_NAMES else f'{name}: found "{error["input"]}"; {message}'
