"""What is wrong with a request's fields, in words: which field, what was found, what would be right.

A password is never repeated, nor is anything that may hold one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from recurrence.errors import quoted

SECRET_FIELDS = ("password", "authorization", "csv")
WHOLE_NUMBER = "a whole number"
EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "int_from_float": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": WHOLE_NUMBER,
    "int_type": WHOLE_NUMBER,
    "list_type": "a list",
    "string_type": "text",
    "string_unicode": "text without halves of surrogate pairs",
}


def explain_fields(errors: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """All errors of a request as one text, and those of named fields by field."""
    lines: list[str] = []
    fields: dict[str, str] = {}
    for error in errors:
        place, *names = error["loc"]
        field = ".".join(str(name) for name in names)
        if error["type"] == "json_invalid" or not field:
            lines.append(_explain_whole(place, error))
        elif field not in fields:
            fields[field] = _explain(field, error)
            lines.append(f"{field}: {fields[field]}")
    return "; ".join(lines), fields


def _explain_whole(place: str, error: Mapping[str, Any]) -> str:
    if error["type"] == "json_invalid":
        return f"the body is not valid JSON: {error['ctx']['error']} at character {error['loc'][-1]}"
    if error["type"] == "unknown_fields":
        return error["msg"]
    if error["type"] == "missing":
        return f"the {place} is missing: send a JSON object"
    return f"the {place} is not a JSON object; send one with Content-Type: application/json"


def _explain(field: str, error: Mapping[str, Any]) -> str:
    if error["type"] == "missing":
        return "is missing"
    if error["type"] == "value_error" and "UploadFile" in error["msg"]:
        return "send it as a file, with a file name"
    found = "" if field.lower().startswith(SECRET_FIELDS) else f"found {_shown(error['input'])}; "
    return found + _allowed(error)


def _allowed(error: Mapping[str, Any]) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case kind if kind in EXPECTED:
            return f"allowed: {EXPECTED[kind]}"
        case "enum" | "literal_error":
            return f"allowed: {context['expected']}"
        case "greater_than_equal":
            return f"allowed: {context['ge']} or more"
        case "less_than_equal":
            return f"allowed: {context['le']} or less"
        case "string_too_long":
            return f"allowed: at most {context['max_length']} characters"
        case "value_error":
            return str(context["error"])
        case _:
            return error["msg"]


def _shown(value: object) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "nothing"
        case _:
            return quoted(value)
