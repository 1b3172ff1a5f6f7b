"""The HTML of the account pages: ordinary forms, rendered with every value escaped, that need no script."""

from functools import lru_cache
from pathlib import Path

import streamlit
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from settings import VERSION

_HERE = Path(__file__).parent
_STREAMLIT_MEDIA = Path(streamlit.__file__).parent / "static" / "static" / "media"

_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(template: str, status: int = 200, **values: object) -> HTMLResponse:
    """One account page; `values` are escaped."""
    html = _templates.get_template(template).render(version=VERSION, **values)
    return HTMLResponse(html, status_code=status)


def get_style(request: Request) -> Response:
    """The account pages' style sheet, in the same typeface as the pages behind."""
    return Response(_style(), media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


def wait_in_words(seconds: int) -> str:
    """`1 second`, `45 seconds`, `2 minutes`: rounded up to what a person can act on."""
    number, unit = (seconds, "second") if seconds < 60 else (-(-seconds // 60), "minute")
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


@lru_cache(maxsize=1)
def _style() -> str:
    style = (_HERE / "static" / "account.css").read_text(encoding="utf-8")
    font = next(_STREAMLIT_MEDIA.glob("SourceSansVF-Upright*.woff2"), None)
    if font is None:
        return style
    face = (
        '@font-face { font-family: "Source Sans"; font-weight: 200 900; font-display: swap; '
        f'src: url("/static/media/{font.name}") format("woff2"); }}\n'
    )
    return face + style
