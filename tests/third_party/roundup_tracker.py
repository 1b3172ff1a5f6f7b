"""Roundup, an issue tracker, as a portal: `python -m tests.third_party.roundup_tracker FOLDER` prints its port.

Each user's bill is a PDF on an issue of theirs. Its pages are Roundup's own: a search form, a form that jumps to an
issue and the login form on every page, an anti-CSRF token, checks of Origin and Referer, and a redirect after login.
"""

import subprocess
import sys
from pathlib import Path
from wsgiref.simple_server import make_server

import roundup.instance
from roundup import password
from roundup.cgi.wsgi_handler import RequestDispatcher

from tests.third_party.portals import PEOPLE, make_bill, password_of


def main(folder: Path) -> None:
    """Set the tracker up and serve it."""
    server = make_server("127.0.0.1", 0, lambda *_: [])
    address = f"http://127.0.0.1:{server.server_port}/"
    _administer(folder, "install", "classic", "sqlite", f"mail_domain=example.com,tracker_web={address}")
    _administer(folder, "initialise", password_of("admin"))
    _add_bills(folder)
    server.set_app(RequestDispatcher(str(folder)))
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()


def _administer(folder: Path, *command: str) -> None:
    arguments = [sys.executable, "-m", "roundup.scripts.roundup_admin", "-i", str(folder), *command]
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


def _add_bills(folder: Path) -> None:
    """For each person, in their order, an issue with one bill."""
    db = roundup.instance.open(str(folder)).open("admin")
    for name in PEOPLE:
        secret = password.Password(password_of(name), config=db.config)
        db.user.create(username=name, password=secret, address=f"{name}@example.com", roles="User")
        bill = db.file.create(name=f"bill-{name}.pdf", type="application/pdf", content=make_bill(name))
        db.issue.create(title=f"Bills of {name}", files=[bill])
    db.commit()
    db.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
