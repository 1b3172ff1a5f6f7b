"""The web process, but for its pages: `uvicorn tests.web.gated_app:app`."""

from pathlib import Path

from web.app import build_app

app = build_app(Path(__file__).with_name("gated_page.py"))
