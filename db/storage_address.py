"""`STORAGE_URL`: what it may be, what is missing for it, and the file system that it leads to.

Anything that fsspec knows can be used. Credentials are none of its business: each file system takes them from its own
environment variables (for `s3://`: `AWS_*`, or `FSSPEC_S3_*`).
"""

import logging
from importlib.util import find_spec
from typing import Any, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from fsspec.core import split_protocol  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from fsspec.registry import known_implementations  # pyright: ignore[reportMissingTypeStubs]

from db.errors import PunctualError

LOCAL_PROTOCOLS = ("file", "local")
S3_PROTOCOLS = ("s3", "s3a")
# On DEBUG these write the headers of every request into the log, session tokens among them.
TALKATIVE = ("botocore", "aiobotocore", "s3fs", "fsspec", "urllib3")


class StorageUnusableError(PunctualError):
    """STORAGE_URL cannot be used."""


def find_storage_problem(storage_url: str) -> str | None:
    """Why this storage cannot be used by this process, and what to do; None when nothing is in its way.

    Nothing is opened, and no package is loaded.
    """
    protocol = _protocol_of(storage_url)
    if protocol in LOCAL_PROTOCOLS:
        return None
    if protocol not in fsspec.available_protocols():  # pyright: ignore[reportUnknownMemberType]
        return (
            f'STORAGE_URL: found "{protocol}://…"; bills are kept in a folder (file:///…) or in S3 (s3://bucket/folder)'
        )
    if protocol in S3_PROTOCOLS:
        bucket = storage_url.partition("://")[2].partition("/")[0]
        if not bucket:
            return "STORAGE_URL: no bucket is named; it looks like s3://bucket/folder"
        if "@" in bucket:
            return (
                "STORAGE_URL: found credentials in it, which end up in logs; write s3://bucket/folder and set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
    return _find_missing_package(protocol)


def open_file_system(storage_url: str) -> tuple[Any, str]:
    """The file system and the path of the storage's root in it, without a slash at its end.

    Raises StorageUnusableError.
    """
    problem = find_storage_problem(storage_url)
    if problem is not None:
        raise StorageUnusableError(problem)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        file_system, root = cast("tuple[Any, str]", fsspec.url_to_fs(storage_url))  # pyright: ignore[reportUnknownMemberType]
    except (ImportError, ValueError) as error:
        raise StorageUnusableError(f"STORAGE_URL can't be used: {error}") from error
    file_system.invalidate_cache()  # of listings: other processes write there too
    return file_system, root.rstrip("/")


def load_file_system_class(storage_url: str) -> None:
    """Load the code for this kind of storage, and open nothing. What cannot be loaded is said when it is used."""
    if find_storage_problem(storage_url) is None:
        fsspec.get_filesystem_class(_protocol_of(storage_url))  # pyright: ignore[reportUnknownMemberType]


def describe_storage_error(error: Exception) -> str:
    """What a file system says of its failure, as the end of a sentence."""
    words = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"{words[:1].lower()}{words[1:]}".rstrip(".")


def _protocol_of(storage_url: str) -> str:
    return str(split_protocol(storage_url)[0] or "file")


def _find_missing_package(protocol: str) -> str | None:
    known = known_implementations.get(protocol)
    package = known["class"].partition(".")[0] if known else "fsspec"
    if find_spec(package) is not None:
        return None
    how = "pip install --require-hashes -r requirements-s3.txt" if package == "s3fs" else f"pip install {package}"
    return f"STORAGE_URL is {protocol}://…, and the package {package} is missing; run: {how}"
