"""The web process: one ASGI app of pages, REST API, sign-in and files, behind the session gate."""
