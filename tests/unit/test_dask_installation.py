"""Whether a Dask worker belongs to the installation, and what of it travels."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler_service.dask_installation import describe_installation, find_difference
from settings import VERSION, Settings

KEY = "a test key of more than thirty-two characters"
OTHER_KEY = "another test key of more than thirty-two characters"


def make_settings(**changes: Any) -> Settings:
    return Settings(**({"secret_key": KEY, "storage_url": "s3://bills"} | changes))


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({}, None),
        ({"secret_key": f"{OTHER_KEY},{KEY}"}, None),
        ({"secret_key": OTHER_KEY}, "it has another PUNCTUAL_SECRET_KEY"),
        ({"storage_url": "s3://other"}, "it has another STORAGE_URL"),
    ],
)
def test_worker_must_have_the_same_key_and_storage(changes: dict[str, str], difference: str | None) -> None:
    assert find_difference(describe_installation("i", make_settings()), make_settings(**changes)) == difference


def test_worker_must_have_the_same_version() -> None:
    installation = replace(describe_installation("i", make_settings()), version="0.0.1")
    assert find_difference(installation, make_settings()) == f"it has Punctual {VERSION}, not 0.0.1"


def test_no_secret_travels_and_marks_differ_from_instance_to_instance() -> None:
    first, second = (describe_installation(i, make_settings()) for i in ("first", "second"))
    assert KEY not in repr(first)
    assert "s3://bills" not in repr(first)
    assert first.key_mark != second.key_mark
    assert first.storage_mark != second.storage_mark


def test_dask_is_loaded_only_where_it_is_used() -> None:
    program = (
        "import sys; import scheduler_service.service, scheduler_service.dask_orders;"
        "sys.exit(any(m.partition('.')[0] in ('dask', 'distributed', 'tornado') for m in sys.modules))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0
