"""`tunery aliases`: set, move, move back, list, delete."""

import pytest

from cli.commands.aliases import weights_in
from core.errors import ConfigurationError
from tests.fixtures.service.api import BASE_MODEL
from tests.fixtures.service.shell import Shell


def test_an_alias_is_set_moved_and_moved_back(tunery: Shell) -> None:
    assert tunery.json("aliases", "set", "prod", BASE_MODEL)["version"] == 1
    shared = tunery.json("aliases", "set", "prod", f"{BASE_MODEL}=95", "small-model=5")
    assert shared["weights"] == {BASE_MODEL: 95, "small-model": 5}
    refused = tunery.run("aliases", "back", "prod", "--version", "1")
    assert refused.returncode == 1
    assert "alias_moved" in refused.stderr
    assert tunery.json("aliases", "back", "prod")["model"] == BASE_MODEL
    shown = tunery.run("aliases", "history", "prod").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["VERSION", "3", "2", "1"]
    assert BASE_MODEL in tunery.run("aliases", "list").stdout
    assert tunery.json("aliases", "delete", "prod")["deleted"] is True


@pytest.mark.parametrize("models", [["a", "b=1"], ["a=x", "b=1"], ["=1"], ["a="]])
def test_models_without_weights_are_refused(models: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="MODEL_A=95"):
        weights_in(models)
