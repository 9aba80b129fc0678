"""The slow path: transformers' modules, with PEFT's if there are adapters, one request after the other.

It takes every base model and every method. Each request has a cache of its own, as transformers makes it for
the model.
"""

import inspect
from collections import deque
from typing import Any

import torch
from peft import PeftModel, PeftType
from torch import Tensor
from transformers import DynamicCache

from worker.engine.adapters.modules.own_tree import tree_with_own_config
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.running import Chunk, Computed, Running


class SlowComputation:
    """Computes requests one by one; `most_running` bounds the memory of their caches."""

    def __init__(self, base: ResidentBase, most_running: int) -> None:
        self._base, self._most_running = base, most_running
        self._model: Any = None
        options = inspect.signature(base.model.forward).parameters
        # The name of the cache among the model's options and results: newer transformers have the shorter one
        self._cache_name = "cache" if "cache" in options else "past_key_values"
        self._caches: dict[Running, Any] = {}
        self._waiting: deque[Running] = deque()

    @property
    def running(self) -> int:
        return len(self._caches)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def add(self, one: Running) -> None:
        """Take a request, which waits until there is room for it."""
        self._waiting.append(one)

    def remove(self, one: Running) -> None:
        """Forget a request and its cache."""
        if one in self._waiting:
            self._waiting.remove(one)
        else:
            del self._caches[one]

    @torch.no_grad()  # not `inference_mode`: what a model keeps of its tensors may be trained with later
    def step(self) -> list[Computed]:
        """Compute the tokens that each running request has and its cache has not."""
        while self._waiting and len(self._caches) < self._most_running:
            self._caches[self._waiting.popleft()] = None
        return [self._compute(one) for one in self._caches]

    def _compute(self, one: Running) -> Computed:
        chunk = Chunk(one, one.computed, len(one.tokens))
        tokens = torch.tensor([one.tokens[one.computed :]], device=self._base.device)
        keep = tokens.shape[1] if one.wants_prompt_logprobs else 1
        out = self._forward(one, tokens, keep)
        self._caches[one] = out[self._cache_name]
        one.computed = len(one.tokens)
        return Computed(chunk, out.logits[0, -keep:].float())

    def _forward(self, one: Running, tokens: Tensor, keep: int) -> Any:
        """Run the model on the tokens behind the request's cache."""
        adapter = one.request.adapter
        model = adapter.model if adapter else self._plain_model()
        cache, inputs = self._caches[one], {"input_ids": tokens}
        if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
            if cache is None:
                cache, inputs = _behind_virtual_tokens(model, tokens)
            model = model.get_base_model()
        options = {self._cache_name: cache, "use_cache": True, "logits_to_keep": keep}
        return model(**inputs, **options)

    def _plain_model(self) -> Any:
        """Return the base model's modules, with transformers' own attention: the engine's has no cache."""
        if self._model is None:
            self._model = tree_with_own_config(self._base.model)
            self._model.set_attn_implementation(self._base.own_attention)
        return self._model


def _behind_virtual_tokens(model: PeftModel, tokens: Tensor) -> tuple[Any, dict[str, Tensor]]:
    """Return the cache and the inputs of a prompt behind PEFT's virtual tokens.

    Prefix tuning has keys and values for them, other methods have embeddings.
    """
    made: Any = model.get_prompt(batch_size=1)
    if model.active_peft_config.peft_type == PeftType.PREFIX_TUNING:
        return made, {"input_ids": tokens}
    embedded = model.get_input_embeddings()(tokens)
    base: Any = model.get_base_model()
    cache = DynamicCache(config=base.config)
    return cache, {"inputs_embeds": torch.cat([made.to(embedded.dtype), embedded], dim=1)}
