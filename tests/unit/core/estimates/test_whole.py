"""The memory of full fine-tuning follows from the tokens that a step has."""

from core.estimates.shapes import Load, ModelShape
from core.estimates.whole import whole_memory, whole_state
from core.estimates.workspace import CHUNK_TOKENS

MODEL = ModelShape(
    layers=2, hidden=64, inner=128, heads=4, key_heads=2, head_size=16, vocabulary=49152, tied=True
)


def test_the_logits_are_those_of_the_learnt_tokens_up_to_a_chunk() -> None:
    load = Load(whole_state(MODEL), 64, "cpu")

    def head(tokens: int) -> float:
        return whole_memory(MODEL, load, tokens).step.head

    of_token = 3 * 4 * MODEL.vocabulary  # three fp32 values of each word
    assert head(200) - head(100) == 100 * of_token
    assert head(CHUNK_TOKENS) == head(2 * CHUNK_TOKENS)
