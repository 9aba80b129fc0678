"""Our own answers, with which all runtimes are compared: they are those of PEFT's forward pass."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig

from tests.fixtures.models.random_adapters import MakeSource, save_base, small_llama
from worker.tasks.export.merging import load_with_adapter
from worker.tasks.portability.ours import base_in_fp32, our_answers
from worker.tasks.portability.prompts import PromptSet

PROMPTS = PromptSet([[5, 17, 400], [31, 9, 220, 8, 77]], None)
CONFIGS = {
    "lora": LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    "prefix_tuning": PrefixTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
    "prompt_tuning": PromptTuningConfig(num_virtual_tokens=4, task_type="CAUSAL_LM"),
}


@pytest.mark.parametrize("method", CONFIGS)
def test_our_answers_are_those_of_the_whole_computation_of_each_token(
    make_source: MakeSource, tokenizer: Any, tmp_path: Path, method: str
) -> None:
    """No cache is used here, and no `generate`: with a cache, PEFT 0.21 loses virtual tokens."""
    base = save_base(small_llama(initializer_range=0.15), tokenizer, tmp_path / "base")
    source = make_source(CONFIGS[method], base=base, type_=method)
    ours, _ = our_answers(source, base_in_fp32(source), PROMPTS)
    model = load_with_adapter(source)
    for prompt, answer in zip(PROMPTS.tokens, ours.answers, strict=True):
        tokens = list(prompt)
        for token, top in zip(answer.tokens, answer.tops, strict=False):
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([tokens])).logits[0, -1]
            expected = torch.log_softmax(logits.float(), -1)
            assert int(expected.argmax()) == token
            assert top[token] == pytest.approx(float(expected[token]), abs=1e-4)
            tokens.append(token)
