"""The slow path: transformers' modules, with PEFT's if there are adapters, one request after the other.

It takes every base model and every method. Each request has a cache of its own, as transformers makes it for
the model. A step computes one chunk of one request, so that nobody waits for more than that.
"""

import inspect
from collections import deque
from itertools import islice
from typing import Any

import numpy as np
import torch
from peft import PeftModel, PeftType
from torch import Tensor
from transformers import DynamicCache

from worker.engine.adapters.modules.own_tree import tree_with_own_config
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.images import ImageVectors, embedded
from worker.engine.sampler.isolation import Failed, each
from worker.engine.sampler.places import Places
from worker.engine.sampler.running import Chunk, Computed, Running


class SlowComputation:
    """Computes requests one by one; `most_running` bounds the memory of their caches.

    The next step is that of the project whose last step is longest ago, and so it is within a project.
    """

    def __init__(self, base: ResidentBase, most_running: int, step_tokens: int) -> None:
        """A step computes at most `step_tokens` of a prompt. On the plain path it computes a prompt whole."""
        self._base = base
        self._model: Any = None
        options = inspect.signature(base.model.forward).parameters
        # The name of the cache among the model's options and results: newer transformers have the shorter one
        self._cache_name = "cache" if "cache" in options else "past_key_values"
        self._places = Places(most_running)
        self._caches: dict[Running, Any] = {}
        self._projects: deque[str] = deque()  # in the order of their turns
        self._steps = 0
        # There tokens depend on the whole row, as by a rotation or a state that a cache does not take up
        self._step_tokens = None if base.decoder.path == "plain" else step_tokens

    @property
    def running(self) -> int:
        return len(self._places.running)

    @property
    def waiting(self) -> int:
        return self._places.waiting

    def add(self, one: Running) -> None:
        """Take a request, which waits until there is room for it."""
        self._places.add(one)

    def remove(self, one: Running) -> None:
        """Forget a request and its cache."""
        self._places.remove(one)
        self._caches.pop(one, None)

    @torch.no_grad()  # not `inference_mode`: what a model keeps of its tensors may be trained with later
    def step(self) -> list[Computed | Failed]:
        """Compute the next chunk of the request whose turn it is."""
        self._admit()
        if (one := self._next()) is None:
            return []
        self._steps += 1
        one.last_step = self._steps
        return each(self._compute, [Chunk(one, one.computed, self._end(one))])

    def _admit(self) -> None:
        """Give requests places. If none is left, a project with less than its share gets another one's."""
        for project in self._places.projects():
            for one in [*islice(self._places.waiting_of(project), self._places.count)]:
                if self._places.full:
                    if not self._places.has_right_to_one_more(project):
                        break
                    newest = self._places.newest_of_largest()
                    self._places.give_way(newest)
                    self._caches.pop(newest, None)
                    newest.computed = 0
                self._places.begin(one)

    def _next(self) -> Running | None:
        """Return the request whose turn it is, if there is one."""
        running = self._places.by_project()
        self._projects.extend(project for project in reversed(running) if project not in self._projects)
        while self._projects:
            project = self._projects.popleft()
            if project in running:
                self._projects.append(project)
                return min(reversed(running[project]), key=lambda one: one.last_step)
        return None

    def _end(self, one: Running) -> int:
        """Return up to which token the next chunk of a request goes."""
        whole = len(one.tokens)
        return whole if self._step_tokens is None else min(whole, one.computed + self._step_tokens)

    def _compute(self, chunk: Chunk) -> Computed:
        one = chunk.running
        images = ImageVectors()
        of_axis = images.add(np.array(one.tokens[chunk.start : chunk.stop], np.int32), one.request.images)
        tokens = torch.tensor(of_axis, dtype=torch.long, device=self._base.device)[None]
        keep = tokens.shape[1] if one.wants_prompt_logprobs else 1
        out = self._forward(one, tokens, images.on(self._base.device), keep)
        self._caches[one] = out[self._cache_name]
        one.computed = chunk.stop
        return Computed(chunk, out.logits[0, -keep:].float())

    def _forward(self, one: Running, tokens: Tensor, images_ID: Tensor | None, keep: int) -> Any:
        """Run the model on the tokens behind the request's cache."""
        adapter = one.request.adapter
        model = adapter.model if adapter else self._plain_model()
        cache, inputs = self._caches.get(one), {"input_ids": tokens}
        if images_ID is not None:
            embedding = model.get_input_embeddings()
            inputs = {"inputs_embeds": embedded(embedding, tokens[0], images_ID)[None]}
        if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
            if cache is None:
                cache, inputs = _behind_virtual_tokens(model, tokens)
            model = model.get_base_model()
        options = {self._cache_name: cache, "use_cache": True, "logits_to_keep": keep}
        if adapter and adapter.invocation:
            acting = one.computed + tokens.shape[1] - one.acts_from
            options["alora_offsets"] = [acting if acting > 0 else None]
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
