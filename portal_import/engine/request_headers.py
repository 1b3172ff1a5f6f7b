"""Headers by which a request says where it comes from, as browsers send them by default."""

from portal_import.engine.addresses import origin


def with_referer(headers: dict[str, str], url: str, referer: str | None) -> dict[str, str]:
    """The full page address goes along within an origin, nothing to others."""
    if referer is None or origin(url) != origin(referer):
        return headers
    return headers | {"Referer": referer}


def site_of(url: str) -> str:
    """The Origin header of a request that comes from this page."""
    scheme, host, port = origin(url)
    named_port = "" if port in (80, 443) else f":{port}"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}{named_port}"
