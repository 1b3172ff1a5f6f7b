"""Tells whether processes on different machines belong to one installation, without showing its key or its storage."""

from db.encryption import open_secret_box
from db.storage_address import find_storage_problem
from scheduler_service.dask_orders import Installation
from settings import VERSION, Settings


def describe_installation(instance_id: str, settings: Settings) -> Installation:
    """How this process sees the installation. Raises InvalidSettingsError when the secret key is too short."""
    box = open_secret_box(settings)
    return Installation(
        instance_id=instance_id,
        version=VERSION,
        key_mark=box.fingerprint(_key_text(instance_id)),
        storage_mark=box.fingerprint(_storage_text(instance_id, settings)),
    )


def find_difference(installation: Installation, settings: Settings) -> str | None:
    """Why a process with these settings does not belong to it. Raises InvalidSettingsError as above."""
    box = open_secret_box(settings)
    if installation.version != VERSION:
        return f"it has Punctual {VERSION}, not {installation.version}"
    if not box.matches(_key_text(installation.instance_id), installation.key_mark):
        return "it has another PUNCTUAL_SECRET_KEY"
    if not box.matches(_storage_text(installation.instance_id, settings), installation.storage_mark):
        return "it has another STORAGE_URL"
    return find_storage_problem(settings.effective_storage_url)


# With the instance's id, which is new each time, a mark tells nothing to who has seen others.


def _key_text(instance_id: str) -> str:
    return f"key of {instance_id}"


def _storage_text(instance_id: str, settings: Settings) -> str:
    return f"storage of {instance_id}: {settings.effective_storage_url}"
