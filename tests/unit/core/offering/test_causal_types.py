"""The list of causal models that the API knows is that of transformers."""

import transformers
from packaging.version import Version
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core.offering.causal_types import FILE, causal_types


def test_the_types_are_those_of_transformers() -> None:
    """A newer release may have more types. Write them and its number into the file when it is taken up."""
    installed = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    listed_of = Version(FILE.read_text().split("\n")[0].split("transformers ")[1].split(",")[0])
    if Version(transformers.__version__) >= listed_of:
        assert causal_types() <= installed
    if Version(transformers.__version__) <= listed_of:
        assert installed <= causal_types()
