"""Encryption at rest: keys, their rotation, and the key file that is made at first use."""

import os
import stat
import threading
from pathlib import Path

import pytest

from db.encryption import SecretBox, WrongSecretKeyError, open_secret_box
from settings import InvalidSettingsError, Settings

OLD, NEW = "o" * 32, "n" * 32


def settings(home: Path, key: str | None = None) -> Settings:
    return Settings(home=home, secret_key=key)  # type: ignore[arg-type]


@pytest.mark.parametrize("plain", ["", "pässwörd 😀", "x" * 10_000, "a,b\nc\0"])
def test_text_comes_back_as_it_was(plain: str) -> None:
    box = SecretBox((OLD,))
    encrypted = box.encrypt(plain)
    assert box.decrypt(encrypted) == plain
    assert encrypted != box.encrypt(plain)
    assert plain == "" or plain.encode() not in encrypted


def test_another_key_is_told_apart(tmp_path: Path) -> None:
    encrypted = SecretBox((OLD,)).encrypt("secret")
    with pytest.raises(WrongSecretKeyError, match="PUNCTUAL_SECRET_KEY") as caught:
        SecretBox((NEW,)).decrypt(encrypted)
    assert caught.value.__cause__ is None
    with pytest.raises(WrongSecretKeyError):
        SecretBox((OLD,)).decrypt(encrypted[:-4] + b"AAAA")


def test_old_keys_still_decrypt_and_the_first_encrypts() -> None:
    rotated = SecretBox((NEW, OLD))
    assert rotated.decrypt(SecretBox((OLD,)).encrypt("secret")) == "secret"
    assert SecretBox((NEW,)).decrypt(rotated.encrypt("secret")) == "secret"


def test_fingerprints_compare_without_showing() -> None:
    box, other = SecretBox((OLD,)), SecretBox((NEW,))
    assert box.fingerprint("a") == box.fingerprint("a") != box.fingerprint("b")
    assert box.fingerprint("a") != other.fingerprint("a")
    assert box.matches("a", box.fingerprint("a"))
    assert not box.matches("b", box.fingerprint("a"))
    assert SecretBox((NEW, OLD)).matches("a", box.fingerprint("a"))
    assert not other.matches("a", box.fingerprint("a"))


def test_tokens_are_signed_with_a_key_of_their_own() -> None:
    box = SecretBox((OLD,))
    assert len(box.signing_key) == 32
    assert box.signing_key == SecretBox((OLD, NEW)).signing_key != SecretBox((NEW,)).signing_key


def test_box_shows_no_key() -> None:
    box = SecretBox((OLD,))
    assert OLD not in repr(box)
    assert not [mark for mark in box.marks if mark in (OLD, box.fingerprint(OLD), box.signing_key.hex())]
    assert SecretBox((NEW, OLD)).marks == (*SecretBox((NEW,)).marks, *box.marks)


def test_keys_come_from_the_setting(tmp_path: Path) -> None:
    box = open_secret_box(settings(tmp_path, f" {NEW} ,{OLD},"))
    assert box.decrypt(SecretBox((OLD,)).encrypt("x")) == "x"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["short", f"{OLD},short", ",", "x" * 31])
def test_short_key_is_refused_without_being_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidSettingsError, match="PUNCTUAL_SECRET_KEY: too short") as caught:
        open_secret_box(settings(tmp_path, key))
    assert OLD not in str(caught.value)


def test_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    encrypted = open_secret_box(settings(home)).encrypt("secret")
    assert open_secret_box(settings(home)).decrypt(encrypted) == "secret"
    assert [p.name for p in home.iterdir()] == ["secret_key"]
    assert stat.S_IMODE((home / "secret_key").stat().st_mode) == 0o600


def test_processes_that_make_the_key_file_at_once_agree(tmp_path: Path) -> None:
    for n in range(20):
        barrier = threading.Barrier(4)
        keys: list[bytes] = []

        def work(
            home: Path = tmp_path / str(n), barrier: threading.Barrier = barrier, keys: list[bytes] = keys
        ) -> None:
            barrier.wait(20)
            keys.append(open_secret_box(settings(home)).signing_key)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(keys) == 4
        assert len(set(keys)) == 1
        assert os.listdir(tmp_path / str(n)) == ["secret_key"]  # noqa: PTH208


@pytest.mark.parametrize("content", ["", "abc\n"])
def test_damaged_key_file_is_not_used(tmp_path: Path, content: str) -> None:
    (tmp_path / "secret_key").write_text(content)
    with pytest.raises(InvalidSettingsError, match="secret_key is damaged"):
        open_secret_box(settings(tmp_path))
