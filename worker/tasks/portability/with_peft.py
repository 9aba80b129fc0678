"""The answers of transformers with PEFT, in this process, from the published files."""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any

import torch
from transformers import GenerationConfig

from worker.tasks.export.merging import load_with_adapter
from worker.tasks.export.source import Source
from worker.tasks.portability.answers import NEW_TOKENS, TOP, Answer, Answered
from worker.tasks.portability.prompts import PromptSet, render


def peft_version() -> str:
    return f"{version('peft')} on transformers {version('transformers')}"


def peft_answers(source: Source, prompts: PromptSet, ends: Collection[int]) -> Answered:
    """Return its answers. Raises JobError if it cannot load the files."""
    model: Any = source.load_whole_model() if source.is_whole_model else load_with_adapter(source)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        eos_token_id=sorted(ends) or None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    answers = [_answer(model, prompt, config, ends) for prompt in prompts.tokens]
    tokenizer = source.tokenizer
    chats = [render(tokenizer, chat) for chat in prompts.chats] if prompts.chats is not None else None
    return Answered(answers, chats)


@torch.inference_mode()
def _answer(model: Any, prompt: list[int], config: GenerationConfig, ends: Collection[int]) -> Answer:
    ids = torch.tensor([prompt])
    made = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
    tops = [_top(logits[0]) for logits in made.logits]
    tokens = made.sequences[0, -len(tops) :].tolist()  # a prompt of virtual tokens may be left out
    return Answer.cut(tokens, tops, ends)


def _top(logits_V: torch.Tensor) -> dict[int, float]:
    found = torch.log_softmax(logits_V.float(), -1).topk(min(TOP, len(logits_V)))
    return dict(zip(found.indices.tolist(), found.values.tolist(), strict=True))
