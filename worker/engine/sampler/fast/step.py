"""One step of the sampler on the fast path: the chunks of all requests, on one token axis.

A slot of the pool holds the keys and values of one token; its number is block · BLOCK + the token's position
in its block.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from worker.engine.batch.images import ImageVectors
from worker.engine.device.transfer import on_device
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.kernels.transformers_steps import PlacedChunk
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.running import Chunk, Computed


@dataclass(frozen=True)
class Axis:
    """The tokens of one step: chunks with the same adapter lie side by side, in a span."""

    tokens_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    chunks: Sequence[PlacedChunk]
    spans: Sequence[tuple[slice, ServedAdapter]]
    images_ID: Tensor | None = None

    @classmethod
    def of(cls, chunks: Sequence[Chunk], device: torch.device) -> "Axis":
        tokens: list[int] = []
        positions: list[int] = []
        places: list[slice] = []
        on_host: list[Tensor] = []
        spans: list[tuple[slice, ServedAdapter]] = []
        images = ImageVectors()
        for chunk in chunks:
            start = len(tokens)
            tokens += _with_vectors(chunk, images)
            positions += range(chunk.start, chunk.stop)
            span = slice(start, len(tokens))
            places.append(span)
            blocks = torch.tensor(chunk.running.blocks)
            on_host.append((blocks[:, None] * BLOCK + torch.arange(BLOCK)).flatten()[: chunk.stop])
            adapter = chunk.adapter
            if adapter is None:
                continue
            if spans and spans[-1][1] is adapter and spans[-1][0].stop == start:
                spans[-1] = slice(spans[-1][0].start, span.stop), adapter
            else:
                spans.append((span, adapter))
        written = torch.cat([slots_L[chunk.start :] for slots_L, chunk in zip(on_host, chunks, strict=True)])
        seen = on_device(torch.cat(on_host), device).split([len(slots_L) for slots_L in on_host])
        placed = [PlacedChunk(*each) for each in zip(places, seen, strict=True)]
        tokens_T, positions_T = (on_device(torch.tensor(values), device) for values in (tokens, positions))
        return cls(tokens_T, positions_T, on_device(written, device), placed, spans, images.on(device))

    def expert_updates(self, experts: str, weights: Iterable[str]) -> dict[str, list[ExpertUpdate]]:
        """Return the updates of a module of experts in this step, by the names of its weights."""
        return {
            name: [
                replace(adapter.experts[whole], tokens=span)
                for span, adapter in self.spans
                if (whole := f"{experts}.{name}") in adapter.experts
            ]
            for name in weights
        }


def _with_vectors(chunk: Chunk, images: ImageVectors) -> list[int]:
    """Return the tokens of a chunk, after adding the vectors of its images."""
    if not chunk.has_images:
        return chunk.tokens
    tokens: list[int] = images.add(np.array(chunk.tokens, np.int32), chunk.running.request.images).tolist()
    return tokens


class RaggedStep(ABC):
    """A base model with a pool of keys and values.

    A step with a chunk of more than `longest_in_c` tokens is computed by another kernel than one without.
    """

    longest_in_c: int = 0

    def prepare(self, adapter: ServedAdapter) -> None:  # noqa: B027 - most have nothing to do
        """Do what the first step with the adapter would otherwise do."""

    @abstractmethod
    def logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        """Return the logits of these rows of the token axis in fp32, [S, V]."""

    def compute(self, chunks: Sequence[Chunk]) -> list[Computed]:
        """Compute the chunks. Return those of which logits are needed."""
        chunks = sorted(chunks, key=_adapter_order)
        wanted = list(_wanted(chunks))
        logits_SV = self.logits(chunks, [row for _, own in wanted for row in own])
        parts = logits_SV.split([len(own) for _, own in wanted])
        return [Computed(chunk, part) for (chunk, _), part in zip(wanted, parts, strict=True)]


def _wanted(chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, range]]:
    """Yield the chunks of which logits are needed, and the rows of the token axis that they are of."""
    start = 0
    for chunk in chunks:
        stop = start + chunk.stop - chunk.start
        if chunk.running.wants_prompt_logprobs:
            yield chunk, range(start, stop)
        elif chunk.is_last:
            yield chunk, range(stop - 1 - len(chunk.draft), stop)
        start = stop


def _adapter_order(chunk: Chunk) -> str:
    return chunk.adapter.content_hash if chunk.adapter else ""
