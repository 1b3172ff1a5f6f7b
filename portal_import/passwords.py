"""Reads the stored passwords of a run's accounts, also while the installation's key is being changed."""

from collections.abc import Callable

from db.encryption import SecretBox, WrongSecretKeyError


class PasswordReader:
    """Decrypts with the keys that were known when the run began, and with those that came after.

    `rotate-key` may be at work, or done, before all accounts of the run are read: of a key file, a run keeps the keys
    that it saw, because what it has read from the database may still be encrypted with one that is gone by now.
    """

    def __init__(self, open_box: Callable[[], SecretBox]) -> None:
        self._open_box = open_box
        self._boxes = [open_box()]

    def read(self, secret: bytes) -> str:
        """The password. Raises WrongSecretKeyError."""
        for box in self._boxes:
            try:
                return box.decrypt(secret)
            except WrongSecretKeyError:
                continue
        box = self._open_box()
        password = box.decrypt(secret)
        self._boxes.append(box)
        return password
