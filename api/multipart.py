"""Forms with a file: other kinds of bodies are refused by name, before every field is called missing."""

from collections.abc import Awaitable, Callable

from fastapi import HTTPException, Request


def require_multipart(file_field: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency that answers 415 to any other body; `file_field` is where the file belongs."""

    async def check(request: Request) -> None:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "multipart/form-data":
            raise HTTPException(
                415, f'found Content-Type "{content_type}"; send multipart/form-data with the file in {file_field}'
            )

    return check
