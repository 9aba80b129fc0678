"""The lists of types that the API knows are those of transformers, and workers load no others."""

from pathlib import Path

import pytest
import transformers
from packaging.version import Version
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from core.offering.known_types import CAUSAL, WRAPPERS, listed_types
from worker.engine.base.transformers_class import is_known_type

HAS_CAUSAL = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
HAS_WRAPPERS = {each for each in MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES if is_known_type(each)} - HAS_CAUSAL


@pytest.mark.parametrize(("file", "installed"), [(CAUSAL, HAS_CAUSAL), (WRAPPERS, HAS_WRAPPERS)])
def test_the_types_are_those_of_transformers(file: Path, installed: set[str]) -> None:
    """A newer release may have more types. Write them and its number into the file when it is taken up."""
    listed_of = Version(file.read_text().split("\n")[0].split("transformers ")[1].split(",")[0])
    if Version(transformers.__version__) >= listed_of:
        assert listed_types(file) <= installed
    if Version(transformers.__version__) <= listed_of:
        assert installed <= listed_types(file)


@pytest.mark.parametrize("model_type", ["mistral3", "llava", "qwen3_vl", "qwen3_5", "gemma4"])
def test_models_of_texts_and_images_are_among_them(model_type: str) -> None:
    assert model_type in listed_types(CAUSAL) | listed_types(WRAPPERS)
