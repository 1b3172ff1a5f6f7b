"""Users: who can sign in, who cannot, and what ends their sessions."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from db import users as users_module
from db.engine import transaction
from db.errors import ConflictError, NotFoundError
from db.models import AuditEntry, Role, SessionKind, User, UserSession
from db.passwords import MAX_PASSWORD_BYTES, UnusablePasswordError, hash_password, verify_password
from db.sign_in_throttle import TooManyAttemptsError
from db.user_sessions import create_user_session, find_viewer
from db.users import (
    InvalidCredentialsError,
    InvalidUserError,
    UsernameTakenError,
    authenticate_user,
    change_password,
    create_user,
    deactivate_user,
    ensure_admin,
    find_user,
    get_user,
    get_viewer,
    list_users,
    reactivate_user,
    reset_password,
    set_role,
    set_time_zone,
)

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
IP = "192.0.2.7"
PASSWORD = "Right-horse-1"


def add_user(engine: Engine, username: str = "bob", role: Role = Role.OPERATOR) -> str:
    with transaction(engine) as session:
        return create_user(session, username=username, password=PASSWORD, role=role).id


def sign_in(engine: Engine, username: str = "bob", password: str = PASSWORD, now: datetime = NOW) -> str:
    with transaction(engine) as session:
        user = authenticate_user(session, username, password, IP, now)
        return create_user_session(session, user, SessionKind.BROWSER, now, timedelta(hours=1), IP, "tests")


def is_live(engine: Engine, token: str, now: datetime = NOW) -> bool:
    with transaction(engine) as session:
        return find_viewer(session, token, SessionKind.BROWSER, now) is not None


def run_together(actions: Sequence[Callable[[], object]]) -> None:
    together = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> None:
        together.wait(30)
        action()

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_create_user_stores_no_password_and_takes_the_username_as_name(engine: Engine) -> None:
    user_id = add_user(engine, "  Bob ")
    with transaction(engine) as session:
        user = get_user(session, user_id)
        assert (user.username, user.name, user.email, user.is_active) == ("Bob", "Bob", None, True)
        assert PASSWORD not in user.password_hash
        assert verify_password(PASSWORD, user.password_hash)


def test_create_user_refuses_the_same_name_in_another_case_and_leaves_the_transaction_usable(engine: Engine) -> None:
    add_user(engine, "bob")
    with transaction(engine) as session:
        with pytest.raises(UsernameTakenError, match='"BOB"'):
            create_user(session, username="BOB", password=PASSWORD, role=Role.VIEWER)
        create_user(session, username="carol", password=PASSWORD, role=Role.VIEWER)
    with transaction(engine) as session:
        assert [u.username for u in list_users(session)] == ["bob", "carol"]


@pytest.mark.parametrize("username", ["", "   ", "two words", "tab\tinside", "nul\x00", "zero\u200bwidth", "x" * 255])
def test_create_user_refuses_names_nobody_could_type(engine: Engine, username: str) -> None:
    with transaction(engine) as session, pytest.raises(InvalidUserError):
        create_user(session, username=username, password=PASSWORD, role=Role.VIEWER)


@pytest.mark.parametrize("password", ["", "x" * (MAX_PASSWORD_BYTES + 1), "ä" * 37])
def test_create_user_refuses_passwords_that_bcrypt_would_cut(engine: Engine, password: str) -> None:
    with transaction(engine) as session, pytest.raises(UnusablePasswordError):
        create_user(session, username="bob", password=password, role=Role.VIEWER)


def test_verify_password_agrees_with_streamlit_authenticator() -> None:
    from streamlit_authenticator.utilities import Hasher

    assert verify_password(PASSWORD, Hasher.hash(PASSWORD))
    assert Hasher.check_pw(PASSWORD, hash_password(PASSWORD))


@pytest.mark.parametrize("password", ["", "x" * 100, "\x00", "\ud800", "Right-horse-2"])
def test_verify_password_is_false_and_raises_nothing_for_what_cannot_be_right(password: str) -> None:
    assert not verify_password(password, hash_password(PASSWORD))
    assert not verify_password(password, None)


def test_authenticate_user_takes_any_case_of_the_name_and_notes_the_time(engine: Engine) -> None:
    user_id = add_user(engine)
    with transaction(engine) as session:
        assert authenticate_user(session, " BoB ", PASSWORD, IP, NOW).id == user_id
    with transaction(engine) as session:
        assert get_user(session, user_id).last_login_at == NOW


@pytest.mark.parametrize("username", ["nobody", "", "nul\x00", "half\ud800", "x" * 10_000])
def test_authenticate_user_refuses_unknown_names_like_wrong_passwords(engine: Engine, username: str) -> None:
    add_user(engine)
    with pytest.raises(InvalidCredentialsError) as unknown:
        sign_in(engine, username)
    with pytest.raises(InvalidCredentialsError) as wrong:
        sign_in(engine, password="wrong")
    assert str(unknown.value) == str(wrong.value)


def test_authenticate_user_hashes_once_whether_or_not_the_user_exists(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_user(engine)
    hashed: list[str] = []
    real = users_module.verify_password

    def counting(password: str, password_hash: str | None) -> bool:
        hashed.append(password)
        return real(password, password_hash)

    monkeypatch.setattr(users_module, "verify_password", counting)
    for username in ("bob", "nobody"):
        with pytest.raises(InvalidCredentialsError):
            sign_in(engine, username, "wrong")
    assert hashed == ["wrong", "wrong"]


def test_authenticate_user_counts_a_refusal_though_the_caller_rolls_back(engine: Engine) -> None:
    add_user(engine)
    for _ in range(5):
        with pytest.raises(InvalidCredentialsError):
            sign_in(engine, password="wrong")
    with pytest.raises(TooManyAttemptsError) as refusal:
        sign_in(engine)
    assert refusal.value.retry_after_seconds == 30


def test_authenticate_user_answers_no_more_parallel_guesses_than_guesses_in_a_row(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_user(engine)
    outcomes: list[str] = []
    all_checked = threading.Barrier(8)
    real = users_module.verify_password

    def slow(password: str, password_hash: str | None) -> bool:
        matches = real(password, password_hash)
        all_checked.wait(30)
        return matches

    def guess(password: str) -> None:
        try:
            sign_in(engine, password=password)
        except InvalidCredentialsError:
            outcomes.append("wrong")
        except TooManyAttemptsError:
            outcomes.append("wait")

    monkeypatch.setattr(users_module, "verify_password", slow)
    run_together([partial(guess, f"guess {number}") for number in range(8)])
    assert sorted(outcomes) == ["wait"] * 3 + ["wrong"] * 5


def test_right_passwords_in_parallel_are_no_guesses(engine: Engine) -> None:
    add_user(engine)
    tokens: list[str] = []
    run_together([lambda: tokens.append(sign_in(engine)) for _ in range(8)])
    assert len(set(tokens)) == 8


def test_sign_in_overtaken_by_a_deactivation_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    user_id = add_user(engine)
    real = users_module.verify_password

    def deactivated_meanwhile(password: str, password_hash: str | None) -> bool:
        with transaction(engine) as session:
            deactivate_user(session, user_id, now=NOW)
        return real(password, password_hash)

    monkeypatch.setattr(users_module, "verify_password", deactivated_meanwhile)
    with pytest.raises(InvalidCredentialsError):
        sign_in(engine)


def test_deactivate_user_ends_sessions_and_refuses_sign_in_until_reactivated(engine: Engine) -> None:
    user_id = add_user(engine)
    token = sign_in(engine)
    with transaction(engine) as session:
        deactivate_user(session, user_id, now=NOW)
    assert not is_live(engine, token)
    with pytest.raises(InvalidCredentialsError):
        sign_in(engine)
    with transaction(engine) as session:
        assert get_viewer(session, user_id) is None
        reactivate_user(session, user_id)
    assert not is_live(engine, token)
    assert is_live(engine, sign_in(engine))


def test_last_admin_can_neither_be_deactivated_nor_demoted(engine: Engine) -> None:
    ann = add_user(engine, "ann", Role.ADMIN)
    with transaction(engine) as session, pytest.raises(ConflictError):
        deactivate_user(session, ann, now=NOW)
    with transaction(engine) as session, pytest.raises(ConflictError):
        set_role(session, ann, Role.VIEWER)
    add_user(engine, "eve", Role.ADMIN)
    with transaction(engine) as session:
        set_role(session, ann, Role.VIEWER)
        viewer = get_viewer(session, ann)
    assert viewer is not None
    assert not viewer.is_admin
    assert not viewer.may_write


def test_change_password_ends_all_sessions_but_the_one_it_came_from(engine: Engine) -> None:
    user_id = add_user(engine)
    here, elsewhere = sign_in(engine), sign_in(engine)
    with transaction(engine) as session:
        change_password(session, user_id, current=PASSWORD, new="Other-horse-2", ip=IP, now=NOW, keep_token=here)
    assert is_live(engine, here)
    assert not is_live(engine, elsewhere)
    with pytest.raises(InvalidCredentialsError):
        sign_in(engine)
    assert is_live(engine, sign_in(engine, password="Other-horse-2"))


def test_change_password_needs_the_current_one_and_is_throttled_like_sign_in(engine: Engine) -> None:
    user_id = add_user(engine)
    token = sign_in(engine)
    for _ in range(5):
        with pytest.raises(InvalidCredentialsError), transaction(engine) as session:
            change_password(session, user_id, current="wrong", new="Other-horse-2", ip=IP, now=NOW)
    with pytest.raises(TooManyAttemptsError), transaction(engine) as session:
        change_password(session, user_id, current=PASSWORD, new="Other-horse-2", ip=IP, now=NOW)
    assert is_live(engine, token)


def test_reset_password_ends_sessions_and_the_throttle(engine: Engine) -> None:
    ann, bob = add_user(engine, "ann", Role.ADMIN), add_user(engine)
    token = sign_in(engine)
    for _ in range(5):
        with pytest.raises(InvalidCredentialsError):
            sign_in(engine, password="wrong")
    with transaction(engine) as session:
        admin = get_viewer(session, ann)
        assert admin is not None
        reset_password(session, bob, "Other-horse-2", by=admin, now=NOW)
    assert not is_live(engine, token)
    assert is_live(engine, sign_in(engine, password="Other-horse-2"))


def test_audit_entries_hold_who_and_what_but_no_password(engine: Engine) -> None:
    user_id = add_user(engine)
    with transaction(engine) as session:
        change_password(session, user_id, current=PASSWORD, new="Other-horse-2", ip=IP, now=NOW)
    with transaction(engine) as session:
        entry = session.scalars(select(AuditEntry)).one()
        assert (entry.user_id, entry.action, entry.subject) == (user_id, "password changed", "user bob")
        assert (entry.before, entry.after) == (None, None)


def test_set_time_zone_takes_iana_names_and_nothing_else(engine: Engine) -> None:
    user_id = add_user(engine)
    with transaction(engine) as session:
        set_time_zone(session, user_id, "Europe/London")
        with pytest.raises(InvalidUserError, match='"Europe/Londn"'):
            set_time_zone(session, user_id, "Europe/Londn")
        viewer = get_viewer(session, user_id)
        assert viewer is not None
        assert viewer.time_zone == "Europe/London"
        set_time_zone(session, user_id, None)
        assert get_user(session, user_id).time_zone is None


def test_ensure_admin_generates_a_password_once(engine: Engine) -> None:
    with transaction(engine) as session:
        password = ensure_admin(session, "admin", None)
    assert password is not None
    with transaction(engine) as session:
        assert ensure_admin(session, "admin", None) is None
    assert is_live(engine, sign_in(engine, "admin", password))


def test_ensure_admin_takes_the_given_password_and_never_overwrites(engine: Engine) -> None:
    with transaction(engine) as session:
        assert ensure_admin(session, "admin", "given") is None
    with transaction(engine) as session:
        assert ensure_admin(session, "admin", "another") is None
    assert is_live(engine, sign_in(engine, "admin", "given"))
    with transaction(engine) as session:
        user = find_user(session, "admin")
        assert user is not None
        assert user.role == Role.ADMIN


def test_ensure_admin_invents_no_second_account_beside_existing_users(engine: Engine) -> None:
    add_user(engine, "bob", Role.ADMIN)
    with transaction(engine) as session:
        assert ensure_admin(session, "admin", None) is None
        assert find_user(session, "admin") is None
        ensure_admin(session, "admin", "given")
        assert find_user(session, "admin") is not None


def test_ensure_admin_by_two_processes_at_once_makes_one_user(engine: Engine) -> None:
    passwords: list[str | None] = []

    def start() -> None:
        with transaction(engine) as session:
            passwords.append(ensure_admin(session, "admin", None))

    run_together([start, start])
    assert sorted(p is None for p in passwords) == [False, True]


def test_get_user_that_does_not_exist_is_not_found(engine: Engine) -> None:
    with Session(engine) as session, pytest.raises(NotFoundError):
        get_user(session, "no-such-id")


def test_deleting_a_user_deletes_the_sessions(engine: Engine) -> None:
    user_id = add_user(engine)
    sign_in(engine)
    with transaction(engine) as session:
        session.delete(session.get_one(User, user_id))
    with transaction(engine) as session:
        assert session.scalar(select(func.count()).select_from(UserSession)) == 0
