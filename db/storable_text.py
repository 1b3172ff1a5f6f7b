"""Text from portals, made fit for Postgres, which refuses NUL characters and unpaired surrogates."""

from typing import Any, cast

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(value: Any) -> Any:
    """The value with such characters replaced in its texts, also inside lists and dicts."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        fit = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return fit.replace("\0", REPLACEMENT)
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in cast("list[Any]", value)]
    return value
