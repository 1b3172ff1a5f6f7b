"""Schedule configs as an earlier system wrote them: JSON, or JSON inside text, with numbers as words."""

import json
from typing import Any, NoReturn

from sqlalchemy import Connection, text

MAX_WRAPPINGS = 5


def make_json(connection: Connection, is_text: bool) -> None:
    """Leave only what can be cast to JSONB in `schedule_config`: text that is no JSON becomes a JSON string."""
    if not is_text:
        return
    rows = connection.execute(
        text("SELECT id::text, schedule_config::text FROM import_sessions WHERE schedule_config IS NOT NULL")
    )
    for row_id, found in [(i, t) for i, t in rows if not _is_json(t)]:
        connection.execute(
            text("UPDATE import_sessions SET schedule_config = :config WHERE id::text = :id"),
            {"id": row_id, "config": json.dumps(found) if found.strip() else None},
        )


def unwrap(config: Any) -> Any:
    """The config inside a JSON string, however often it was put into one."""
    for _ in range(MAX_WRAPPINGS):
        if not isinstance(config, str) or not _is_json(config):
            break
        config = json.loads(config)
    return config


def with_numbers(config: Any) -> Any:
    """The config with "9" and " 09 " as 9, and an hour without a minute on the hour; nothing else is guessed."""
    if not isinstance(config, dict):
        return config
    numbers = {key: value if key == "cron_expression" else _number(value) for key, value in config.items()}
    return numbers | {"minute": 0} if "hour" in numbers and "minute" not in numbers else numbers


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        return int(value)
    return value


def _is_json(found: str) -> bool:
    try:
        json.loads(found, parse_constant=_refuse_constant)
    except ValueError:
        return False
    return "\\u0000" not in found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
