"""Settings, as a process reads them from its environment."""

from pathlib import Path

import pytest

from core.settings import Settings


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"TUNERY_{name.upper()}", "")
    assert Settings().model_dump() == {name: field.default for name, field in Settings.model_fields.items()}


def test_models_are_kept_in_the_home_unless_a_store_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNERY_HOME", "/state")
    monkeypatch.delenv("TUNERY_MODEL_STORE", raising=False)
    assert Settings().models_folder == Path("/state/models")
    monkeypatch.setenv("TUNERY_MODEL_STORE", "/shared")
    assert Settings().models_folder == Path("/shared")


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
