"""`python -m db`: bring the database up to date, see whether it is, add users, and change the secret key.

Exit codes: 0 done, 1 not possible (or, for `check`, not up to date), 2 a mistake in the command line.
"""

import argparse
import getpass
import sys
from collections.abc import Callable

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from db.embedded import EmbeddedServerError
from db.engine import create_database_engine, resolve_url, transaction
from db.errors import PunctualError
from db.migrate import current_revision, explain_connection_error, head_revision, is_current, upgrade
from db.models import Role, User
from settings import InvalidSettingsError, Settings, read_settings

UPGRADE = "python -m db upgrade"
BEFORE_ROTATION = (
    "Passwords get the first key of PUNCTUAL_SECRET_KEY. Every web and scheduler_service process should have been "
    "started with the keys as they are here: the others cannot read what is encrypted from now on."
)
AFTER_ROTATION = (
    "Now take the old keys out of PUNCTUAL_SECRET_KEY and restart every web and scheduler_service process once more. "
    "Who uses the API signs in again then. Keep the old keys as long as backups from before today."
)
AFTER_ROTATION_OF_FILE = (
    "The old key is no longer in the file. Nothing needs a restart; who uses the API signs in again. "
    "Backups from before today need the key file from before today."
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[Engine, Settings, argparse.Namespace], int] = options.command
    try:
        settings = read_settings()
        url = resolve_url(settings)
    except (InvalidSettingsError, EmbeddedServerError) as error:
        return _fail(str(error))
    engine = create_database_engine(url, application="command", pool_size=1)
    try:
        return command(engine, settings, options)
    except PunctualError as error:
        return _fail(str(error))
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) is not None:
            raise
        return _fail(explain_connection_error(error, url))
    finally:
        engine.dispose()


def upgrade_database(engine: Engine, settings: Settings, options: argparse.Namespace) -> int:
    """Apply what is missing and say what was done."""
    applied = upgrade(engine)
    if applied:
        print(f"Upgraded the database: applied {', '.join(applied)}.")
    else:
        print(f"The database is up to date already, at {head_revision()}.")
    if _needs_admin(engine):
        print(
            "No user is an admin yet; add one with: "
            f"python -m db create-user {settings.admin_username} --role {Role.ADMIN}"
        )
    return 0


def check_database(engine: Engine, settings: Settings, options: argparse.Namespace) -> int:
    """Say whether the tables are those of this version."""
    if is_current(engine):
        print(f"The database is up to date, at {head_revision()}.")
        return 0
    found = current_revision(engine) or "no revision"
    return _fail(f"the database is at {found}, and this version of Punctual needs {head_revision()}; run: {UPGRADE}")


def create_one_user(engine: Engine, settings: Settings, options: argparse.Namespace) -> int:
    """Add a user whose password comes from stdin, the settings or a prompt."""
    from db.users import create_user

    if not is_current(engine):
        return _fail(f"the database is not up to date; run: {UPGRADE}")
    password = _read_password(settings, options)
    if password is None:
        return _fail("the two passwords differ, or there is no terminal to ask for one; --password-stdin reads a line")
    with transaction(engine) as session:
        user = create_user(
            session,
            username=options.username,
            password=password,
            role=Role(options.role),
            email=options.email,
            name=options.name,
        )
        print(f"Added {user.role} {user.username}.")
    return 0


def rotate_secret_key(engine: Engine, settings: Settings, options: argparse.Namespace) -> int:
    """Encrypt all portal passwords with the first key, and say what is to be done then."""
    from db.key_rotation import rotate_key

    if not is_current(engine):
        return _fail(f"the database is not up to date; run: {UPGRADE}")
    in_file = settings.secret_key is None
    if not in_file:
        print(BEFORE_ROTATION)
    done = rotate_key(engine, settings, lambda line: print(line, flush=True), leave_unreadable=options.leave_unreadable)
    print(
        f"Done: {done.total - done.unreadable:,} passwords have the {'new' if in_file else 'first'} key, "
        f"{done.renewed:,} of them since just now."
    )
    if done.unreadable:
        print(f"{done.unreadable:,} passwords cannot be read with any key; replace the accounts of their jobs.")
    print(AFTER_ROTATION_OF_FILE if in_file else AFTER_ROTATION)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m db", description="The database of Punctual.")
    commands = parser.add_subparsers(required=True, metavar="command")
    commands.add_parser("upgrade", help="bring the tables up to date").set_defaults(command=upgrade_database)
    commands.add_parser("check", help="exit 1 unless the tables are up to date").set_defaults(command=check_database)
    rotate = commands.add_parser(
        "rotate-key", help="encrypt portal passwords with a new key; may be repeated at any time"
    )
    rotate.set_defaults(command=rotate_secret_key)
    rotate.add_argument(
        "--leave-unreadable",
        action="store_true",
        help="go on although the key of some passwords is lost: their accounts must be uploaded again",
    )
    user = commands.add_parser("create-user", help="add somebody who may sign in")
    user.set_defaults(command=create_one_user)
    user.add_argument("username")
    user.add_argument("--role", choices=[role.value for role in Role], default=Role.OPERATOR.value)
    user.add_argument("--email")
    user.add_argument("--name", help="what pages call the person")
    user.add_argument("--password-stdin", action="store_true", help="read the password from the first line of stdin")
    return parser


def _read_password(settings: Settings, options: argparse.Namespace) -> str | None:
    if options.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    is_configured_admin = options.username.strip().lower() == settings.admin_username.lower()
    if settings.admin_password is not None and is_configured_admin:
        return settings.admin_password.get_secret_value()
    if not sys.stdin.isatty():
        return None
    password = getpass.getpass(f"Password for {options.username}: ")
    return password if getpass.getpass("Again: ") == password else None


def _needs_admin(engine: Engine) -> bool:
    with transaction(engine) as session:
        somebody = session.scalar(select(User.id).limit(1))
        return somebody is not None and session.scalar(select(User.id).where(User.role == Role.ADMIN).limit(1)) is None


def _fail(reason: str) -> int:
    end = "" if reason.endswith(("?", "…", ".")) else "."
    print(f"{reason[:1].upper()}{reason[1:]}{end}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
