"""The one error of this package, and how its messages quote what was found."""

import json

MAX_QUOTED_LENGTH = 60


class InvalidScheduleError(ValueError):
    """The schedule cannot be understood or can never fire; the message says what is allowed."""


def quoted(value: object) -> str:
    """`value` as a message shows it: in double quotes, cut to a readable length."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)
    if len(text) > MAX_QUOTED_LENGTH:
        text = text[: MAX_QUOTED_LENGTH - 3] + "..."
    # A lone surrogate, which JSON input can hold, would make the message itself impossible to send.
    return json.dumps(text.encode("utf-8", "backslashreplace").decode(), ensure_ascii=False)
