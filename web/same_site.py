"""Form posts are taken only from this site's own pages, and only as small, ordinary forms."""

from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FORM_BYTES = 16 * 1024
_FORM_TYPE = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form that this site's own page posted. Raises HTTPException (403, 413, 415)."""
    if not is_same_origin(request):
        raise HTTPException(403, "This form was sent from another site.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HTTPException(415, "Send the fields as an ordinary form.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(413, "The form is too large.")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def is_same_origin(request: Request) -> bool:
    """Whether the request comes from a page of this site, or from a client that is no browser.

    Every browser sends `Origin` with a POST. `Sec-Fetch-Site` is more exact but only sent to https and localhost.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


def is_own_link(request: Request) -> bool:
    """Whether a person followed a link on one of this site's pages, as far as the browser vouches for it."""
    headers = request.headers
    return headers.get("sec-fetch-site") == "same-origin" and headers.get("sec-fetch-dest") == "document"
