"""Merges an adapter into the weights of its base model, and measures what that changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from core.errors import JobError
from worker.tasks.export.source import Model, Source

PROBES = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "List three prime numbers.",
    "Translate 'good morning' into Spanish.",
    "SELECT name FROM users WHERE",
    '{"city": "Berlin", "population":',
)


@dataclass(frozen=True)
class Agreement:
    """How a model's next-token distributions differ from those of another one, over all tokens of PROBES."""

    tokens: int
    same_top_token: float
    mean_kl: float

    def shown(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "same_top_token": self.same_top_token, "mean_kl_nats": self.mean_kl}


def load_merged(source: Source) -> Model:
    """Return the model with the adapter merged into its weights, in fp32. Raises JobError if PEFT cannot."""
    return source.load_whole_model() if source.is_whole_model else merge(source, load_with_adapter(source))


def load_with_adapter(source: Source) -> PeftModel:
    """Return the base model with the adapter beside it, in fp32. Raises JobError."""
    source.require_plain_base()
    try:
        return PeftModel.from_pretrained(source.load_base(), source.folder, torch_device="cpu").eval()
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise JobError("adapter_damaged", f"PEFT cannot load the adapter: {_first_line(error)}") from error


def merge(source: Source, model: PeftModel) -> Model:
    """Merge in place, and return the plain model. Raises JobError for a method that cannot be merged."""
    _require_own_head(source, model)
    try:
        return model.merge_and_unload(safe_merge=True).requires_grad_(False)
    except (AttributeError, NotImplementedError, ValueError, TypeError) as error:
        raise JobError(
            "not_mergeable",
            f"An adapter of the method {source.type!r} cannot be merged into the base model's weights.",
            "format",
        ) from error


def _require_own_head(source: Source, model: PeftModel) -> None:
    """Raise JobError if the adapter changes a head that is the embedding too: merging would change both."""
    targeted = getattr(model, "targeted_module_names", ())  # prompt methods have none
    changed = any(name.startswith("lm_head") for name in targeted)
    if changed and source.config.tie_word_embeddings:
        raise JobError(
            "not_mergeable",
            f"The adapter changes the head of {source.entry.repository}, which is its embedding too. Export "
            "it as 'lora'.",
            "format",
        )


@torch.inference_mode()
def distributions(model: Model, source: Source) -> list[Tensor]:
    """Return the log-probabilities [T, V] of the next token at each token of the probes."""
    tokenizer = source.tokenizer
    return [
        torch.log_softmax(model(input_ids=torch.tensor([tokens])).logits[0].float(), -1)
        for tokens in _rendered(tokenizer)
    ]


def agreement(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Agreement:
    """Compare the distributions of two models; the divergence is KL(expected ‖ found) in nats."""
    p_TV, q_TV = torch.cat(list(expected)), torch.cat(list(found))
    kl_T = (p_TV.exp() * (p_TV - q_TV)).sum(-1)
    same_T = p_TV.argmax(-1) == q_TV.argmax(-1)
    mean = float(kl_T.clamp_min(0).mean())
    if not math.isfinite(mean):
        raise JobError("not_finite", "The merged model gives numbers that are not finite.")
    return Agreement(len(p_TV), float(same_T.float().mean()), mean)


def round_weights(model: Model, dtype: torch.dtype) -> None:
    """Round all weights to `dtype` in place; they stay in fp32, so that only the rounding is measured."""
    for parameter in model.parameters():
        parameter.copy_(parameter.to(dtype).float())


def _rendered(tokenizer: Any) -> list[list[int]]:
    """Return the probes as tokens: as chats if the model has a template, else as they are."""
    if not tokenizer.chat_template:
        return [tokenizer(text)["input_ids"] for text in PROBES]
    chats = [[{"role": "user", "content": text}] for text in PROBES]
    return [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
        for chat in chats
    ]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
