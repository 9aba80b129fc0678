"""The names of layers in files of adapters, as the base model knows them."""

from pathlib import Path

import pytest

from core.errors import JobError
from tests.fixtures.engine.wrappers import FAST_WRAPPERS, PLAIN_WRAPPERS, PORTABLE_WRAPPERS
from tests.fixtures.models.tiny import save_model
from worker.tasks.importing.layers import Layers

WRAPPERS = FAST_WRAPPERS | PORTABLE_WRAPPERS | PLAIN_WRAPPERS


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("mistral small 3, text beside a tower", "model.language_model"),
        ("qwen 3.5, text beside a tower", "model.language_model"),
    ],
)
def test_an_adapter_on_the_text_model_alone_gets_the_names_of_the_whole_model(
    name: str, body: str, tmp_path: Path
) -> None:
    save_model(WRAPPERS[name](), tmp_path)
    layers = Layers(tmp_path)
    known = f"{body}.layers.1.self_attn.q_proj"
    for given in ("model.layers.1.self_attn.q_proj", "layers.1.self_attn.q_proj", known):
        assert layers.find(given) == known
    with pytest.raises(JobError, match="no layer under"):
        layers.find("model.layers.7.self_attn.q_proj")
