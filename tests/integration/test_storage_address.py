"""What STORAGE_URL may be, and what is said at the start when it cannot be used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import db.storage_address
from db.storage_address import StorageUnusableError, find_storage_problem, open_file_system
from launcher import StartError, check_storage
from settings import PROJECT_ROOT, Settings

GCS = "STORAGE_URL is gs://…, and the package gcsfs is missing; run: pip install gcsfs"


@pytest.mark.parametrize("url", ["file:///srv/bills", "/srv/bills", "s3://bucket/bills", "s3://bucket", "memory://x"])
def test_usable_addresses(url: str) -> None:
    assert find_storage_problem(url) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("gs://bucket/bills", GCS),
        ("nosuch://bucket", 'STORAGE_URL: found "nosuch://…"; bills are kept in a folder (file:///…) or in S3'),
        ("s3:///bills", "STORAGE_URL: no bucket is named; it looks like s3://bucket/folder"),
        ("s3://AKIA:hush@bucket/bills", "STORAGE_URL: found credentials in it, which end up in logs; write s3://"),
    ],
)
def test_unusable_addresses_are_explained(url: str, problem: str) -> None:
    told = find_storage_problem(url) or ""
    assert told.startswith(problem)
    assert "hush" not in told
    with pytest.raises(StorageUnusableError) as caught:
        open_file_system(url)
    assert str(caught.value) == told


def test_missing_package_for_s3_names_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db.storage_address, "find_spec", lambda name: None)
    assert find_storage_problem("s3://bucket/bills") == (
        "STORAGE_URL is s3://…, and the package s3fs is missing; run: "
        "pip install --require-hashes -r requirements-s3.txt"
    )
    assert (PROJECT_ROOT / "requirements-s3.txt").is_file()


def test_launcher_does_not_start_anything(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="gcsfs is missing"):
        check_storage(Settings(home=tmp_path, storage_url="gs://bucket"))
    check_storage(Settings(home=tmp_path))


@pytest.mark.parametrize("module", ["scheduler_service", "uvicorn web.app:app --port 0"])
def test_processes_end_at_their_start_with_one_sentence(database_url: str, tmp_path: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *module.split()],
        env=os.environ | {"DATABASE_URL": database_url, "PUNCTUAL_HOME": str(tmp_path), "STORAGE_URL": "gs://bucket"},
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert GCS in done.stderr
    assert "Traceback" not in done.stderr


def test_asking_loads_no_package() -> None:
    code = (
        "import sys; from db.storage_address import find_storage_problem as f; assert f('s3://b/x') is None;"
        " print('s3fs' in sys.modules, 'botocore' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "False False\n"
