"""WsgiDAV, a file server, as somebody's portal: `python -m tests.third_party.webdav_server FOLDER` prints its port.

It knows its users by HTTP basic auth only, and lists each user's folder of bills as a page with a table.
"""

import sys
from pathlib import Path
from wsgiref.simple_server import make_server

from wsgidav.wsgidav_app import WsgiDAVApp

from tests.third_party.portals import PEOPLE, make_bill, password_of


def main(folder: Path) -> None:
    """Fill the folder and serve it."""
    for name in PEOPLE:
        (folder / name).mkdir(parents=True)
        (folder / name / f"bill-{name}.pdf").write_bytes(make_bill(name))
    config = {
        "provider_mapping": {"/": str(folder)},
        "simple_dc": {"user_mapping": {"*": {name: {"password": password_of(name)} for name in PEOPLE}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "logging": {"enable": False},
        "verbose": 0,
    }
    server = make_server("127.0.0.1", 0, WsgiDAVApp(config))
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
