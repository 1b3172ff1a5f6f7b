"""The REST API's application."""

from fastapi import FastAPI

from settings import VERSION


def build_api() -> FastAPI:
    """The API, to be mounted at `/api`."""
    api = FastAPI(title="Punctual", version=VERSION)

    @api.get("/health")
    def get_health() -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"status": "ok"}

    return api
