"""Settings: what is read, what is refused, and in which words."""

import ast
from pathlib import Path

import pytest

from settings import PROJECT_ROOT, InvalidSettingsError, Settings, read_settings

PACKAGES = {"api", "db", "demo", "pages", "portal_import", "recurrence", "scheduler_service", "ui", "web"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting from outside, and no .env of a developer."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"PUNCTUAL_{name.upper()}", raising=False)
    for name in ("DATABASE_URL", "STORAGE_URL", "DASK_SCHEDULER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)


def test_nothing_needs_to_be_set() -> None:
    settings = read_settings()
    assert settings.home == PROJECT_ROOT / "var"
    assert (settings.host, settings.port, settings.effective_demo_port) == ("127.0.0.1", 8501, 8502)
    assert settings.effective_storage_url == f"file://{PROJECT_ROOT / 'var' / 'bills'}"
    assert settings.database_url is None


def test_env_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PUNCTUAL_PORT=9001\nPUNCTUAL_SLOTS=7\nUNRELATED=1\n")
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")
    monkeypatch.setenv("PUNCTUAL_SLOTS", "0")
    settings = read_settings()
    assert (settings.port, settings.slots, settings.effective_demo_port) == (9001, 0, 9002)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PUNCTUAL_PORT", "abc", 'found "abc"'),
        ("PUNCTUAL_PORT", "70000", "less than or equal to 65535"),
        ("PUNCTUAL_SLOTS", "-1", "greater than or equal to 0"),
        ("PUNCTUAL_DEMO", "maybe", "valid boolean"),
        ("PUNCTUAL_KEEP_RUNS_DAYS", "29", "at least 30 days, or 0 for ever"),
        ("PUNCTUAL_KEEP_LOG_DAYS", "13", "at least 14 days, or 0 for ever"),
        ("PUNCTUAL_LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_invalid_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettingsError) as refused:
        read_settings()
    assert str(refused.value).startswith(f"{name}: ")
    assert words in str(refused.value)


def test_blank_optional_values_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "STORAGE_URL", "DASK_SCHEDULER", "PUNCTUAL_DEMO_PORT", "PUNCTUAL_ADMIN_PASSWORD"):
        monkeypatch.setenv(name, "")
    settings = read_settings()
    assert settings.database_url is None
    assert settings.dask_scheduler is None
    assert settings.effective_demo_port == 8502


def test_secrets_are_in_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("PUNCTUAL_ADMIN_PASSWORD", "hunter2")
    monkeypatch.setenv("PUNCTUAL_SECRET_KEY", "hunter2" * 9)
    assert "hunter2" not in repr(read_settings())


def test_readme_documents_every_setting() -> None:
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    bare = ("database_url", "storage_url", "dask_scheduler")
    names = {n.upper() if n in bare else f"PUNCTUAL_{n.upper()}" for n in Settings.model_fields}
    assert {name for name in names if f"| `{name}` |" not in readme} == set()


def test_settings_import_no_project_code() -> None:
    tree = ast.parse((PROJECT_ROOT / "settings.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name.split(".")[0] in PACKAGES} == set()
