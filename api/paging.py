"""Parameters that calls share: ids in paths, and where and how long a page of a list is."""

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, Field

from api.shapes import StrictShape
from db.errors import NotFoundError
from db.sign_in_throttle import is_storable

MAX_BIG_ID = 2**63 - 1


def _require_storable_id(text: str) -> str:
    if not is_storable(text):
        raise NotFoundError("there is nothing with such an id")
    return text


def require_storable(text: str) -> str:
    """For a validator: text that the database can hold."""
    if not is_storable(text):
        raise ValueError("allowed: text without NUL characters")
    return text


TextId = Annotated[str, AfterValidator(_require_storable_id)]
NumberId = Annotated[int, Path(ge=1, le=MAX_BIG_ID)]
SearchText = Annotated[str, Field(max_length=200), AfterValidator(require_storable)]


class PageQuery(StrictShape):
    """`?cursor=&limit=`; the cursor is `next_cursor` of the page before."""

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class LongPageQuery(StrictShape):
    """`?cursor=&limit=` of lists with many short items."""

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
