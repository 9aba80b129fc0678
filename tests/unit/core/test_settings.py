"""Settings, as a process reads them from its environment."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cli.client.home import load_settings
from core.errors import ConfigurationError
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


@pytest.mark.parametrize(
    ("named", "vllm", "llama_cpp", "measures"),
    [
        (None, False, False, False),
        ("auto", False, False, False),
        ("auto", True, False, True),
        ("auto", False, True, True),
        ("true", False, False, True),
        ("1", False, False, True),
        ("false", True, True, False),
        ("0", True, True, False),
    ],
)
def test_results_are_measured_where_another_runtime_is_installed_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    named: str | None,
    vllm: bool,
    llama_cpp: bool,
    measures: bool,
) -> None:
    """The values true and false are also those of the time when the setting was off by default."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if llama_cpp else None)
    monkeypatch.setenv("TUNERY_VLLM_PYTHON", sys.executable if vllm else str(tmp_path / "gone"))
    monkeypatch.delenv("TUNERY_PORTABILITY_AT_PUBLICATION", raising=False)
    if named is not None:
        monkeypatch.setenv("TUNERY_PORTABILITY_AT_PUBLICATION", named)
    assert Settings().measures_at_publication is measures


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"devices": 8, "nodes": 3, "rendezvous": "first:29500"}, "nodes"),
        ({"devices": 8, "nodes": 2, "node_rank": 2, "rendezvous": "first:29500"}, "node_rank"),
        ({"devices": 8, "nodes": 2}, "rendezvous"),
        ({"devices": 8, "nodes": 2, "rendezvous": "first"}, "rendezvous"),
        ({"device_classes": "1,0"}, "device_classes"),
        ({"devices": 2, "serve_share": 0.3}, "serve_share"),
        ({"serve_upstream": "tiny=http://vllm:8000", "serve_share": 0.3}, "serve_share"),
        ({"serve_share": 1}, "serve_share"),
        ({"idle_seconds": 60, "serve_share": 0.3}, "serve_share"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**settings)
    assert [error["loc"] for error in refused.value.errors()] == [(wrong,)]


def test_a_direct_address_alone_is_refused() -> None:
    """It would lead past the servers of `up`."""
    settings = Settings(database_direct_url="postgresql://elsewhere/tunery")
    with pytest.raises(ConfigurationError, match="TUNERY_DATABASE_URL"):
        _ = settings.needs_embedded_servers
    with pytest.raises(ConfigurationError, match="TUNERY_DATABASE_URL"):
        _ = settings.direct_database_url


def test_the_classes_on_offer_are_the_worker_s_unless_they_are_named() -> None:
    assert Settings().offered_classes == [1]
    assert Settings(devices=4).offered_classes == [4]
    assert Settings(devices=4, device_classes="8,1").offered_classes == [1, 8]


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


GROUPS = '{"team": {"research": "member"}}'


@pytest.mark.parametrize(
    ("variable", "value", "wrong"),
    [
        ("SIGN_ON_GROUPS", "team=research", "this is no JSON"),
        ("SIGN_ON_GROUPS", '{"team": {"research": "owner"}}', "'read-only', 'member' or 'admin'"),
        ("SIGN_ON_GROUPS", '{"team": {"a:b": "member"}}', "pattern"),
        ("SIGN_ON_ISSUER", "http://login.example.com", "pattern"),
        ("SIGN_ON_SCOPES", "profile email", "pattern"),
    ],
)
def test_a_wrong_setting_of_the_sign_on_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wrong: str
) -> None:
    monkeypatch.setenv(f"TUNERY_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"TUNERY_{variable}.*{wrong}"):
        load_settings()


def test_a_sign_on_that_lacks_a_setting_says_which() -> None:
    settings = Settings(sign_on_issuer="https://login.example.com", sign_on_client_id="tunery")
    with pytest.raises(ConfigurationError, match="TUNERY_SIGN_ON_GROUPS, TUNERY_PUBLIC_URL"):
        _ = settings.redirect_uri
    whole = settings.model_copy(update={"sign_on_groups": GROUPS, "public_url": "https://tunery.example.com"})
    assert whole.redirect_uri == "https://tunery.example.com/v1/sign_on/callback"
    plain = whole.model_copy(update={"public_url": "http://tunery.example.com"})
    with pytest.raises(ConfigurationError, match="TUNERY_PUBLIC_URL has to begin with https"):
        _ = plain.redirect_uri
    here = whole.model_copy(update={"public_url": "http://localhost:8000"})
    assert here.redirect_uri == "http://localhost:8000/v1/sign_on/callback"
