"""One step of the sampler on the fast path: the chunks of all requests, on one token axis.

The base model's products are computed once over all tokens, and each adapter's over its own. Keys and values
go into the blocks of a pool, and attention reads them from there. A slot of the pool holds the keys and
values of one token; its number is block · BLOCK + the token's position in its block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.decoders.fast import Decoder, Layer
from worker.engine.decoders.head import capped_logits
from worker.engine.kernels.attention import rotated
from worker.engine.kernels.elementwise import rms_norm_plainly, swiglu_values
from worker.engine.sampler.adapters.served import Factors, ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.native.step import NativeStep
from worker.engine.sampler.running import Chunk, Computed


@dataclass(frozen=True)
class PlacedChunk:
    """A chunk's tokens on the axis, and the slots of all tokens that its last one sees."""

    tokens: slice
    slots_L: Tensor


@dataclass(frozen=True)
class Axis:
    """The tokens of one step: chunks with the same adapter lie side by side, in a span."""

    tokens_T: Tensor
    positions_T: Tensor
    slots_T: Tensor
    chunks: Sequence[PlacedChunk]
    spans: Sequence[tuple[slice, Factors]]

    @classmethod
    def of(cls, chunks: Sequence[Chunk], device: torch.device) -> "Axis":
        tokens: list[int] = []
        positions: list[int] = []
        placed, written = [], []
        spans: list[tuple[slice, Factors]] = []
        for chunk in chunks:
            start = len(tokens)
            tokens += chunk.running.tokens[chunk.start : chunk.stop]
            positions += range(chunk.start, chunk.stop)
            span = slice(start, len(tokens))
            blocks = torch.tensor(chunk.running.blocks, device=device)
            slots_L = (blocks[:, None] * BLOCK + torch.arange(BLOCK, device=device)).flatten()[: chunk.stop]
            placed.append(PlacedChunk(span, slots_L))
            written.append(slots_L[chunk.start :])
            adapter = chunk.adapter
            if adapter is None:
                continue
            if spans and spans[-1][1] is adapter.factors and spans[-1][0].stop == start:
                spans[-1] = slice(spans[-1][0].start, span.stop), adapter.factors
            else:
                spans.append((span, adapter.factors))
        tokens_T, positions_T = (torch.tensor(values, device=device) for values in (tokens, positions))
        return cls(tokens_T, positions_T, torch.cat(written), placed, spans)


class RaggedDecoder:
    """The fast path's weights with a pool of keys and values for `blocks` blocks.

    On a CPU a step in C takes the place of PyTorch's calls if it can be built (`native`).
    """

    def __init__(self, decoder: Decoder, blocks: int, native: bool = True) -> None:
        self._decoder, heads = decoder, decoder.heads
        shape = len(decoder.layers), 2, blocks * BLOCK, heads.key, heads.size
        # A slot is written before it is read; memory is taken as slots are used
        self._pool = torch.empty(shape, dtype=decoder.dtype, device=decoder.device)
        self._native = NativeStep.for_pool(decoder, self._pool) if native else None

    @staticmethod
    def block_bytes(decoder: Decoder) -> int:
        """Return the bytes of one block, in all layers."""
        heads = decoder.heads
        return 2 * len(decoder.layers) * BLOCK * heads.key * heads.size * decoder.dtype.itemsize

    def prepare(self, adapter: ServedAdapter) -> None:
        """Do what the first step with the adapter would otherwise do."""
        if self._native:
            self._native.prepare(adapter)

    @torch.inference_mode()
    def compute(self, chunks: Sequence[Chunk]) -> list[Computed]:
        """Compute the chunks. Return those of which logits are needed, with their logits in fp32."""
        chunks = sorted(chunks, key=_adapter_order)
        wanted = list(_wanted(chunks))
        rows = [row for _, own in wanted for row in own]
        logits_SV = self._native.logits(chunks, rows) if self._native else self._logits(chunks, rows)
        parts = logits_SV.split([len(own) for _, own in wanted])
        return [Computed(chunk, part) for (chunk, _), part in zip(wanted, parts, strict=True)]

    def _logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        """Return the logits of these rows of the token axis, [S, V]."""
        decoder = self._decoder
        axis = Axis.of(chunks, decoder.device)
        x_TD = decoder.embedding(axis.tokens_T)
        rotations = {kind: decoder.rotation(kind, x_TD, axis.positions_T) for kind in decoder.kinds}
        for layer, kv in zip(decoder.layers, self._pool, strict=True):
            x_TD = self._layer(layer, kv, x_TD, axis, *rotations[layer.kind])
        x_SD = x_TD[torch.tensor(rows, dtype=torch.long, device=x_TD.device)]
        hidden_SD = rms_norm_plainly(x_SD, decoder.final_norm_D, decoder.eps)
        return capped_logits(hidden_SD, decoder.head_VD, decoder.softcap)

    def _layer(
        self, layer: Layer, kv: Tensor, x_TD: Tensor, axis: Axis, cos_TE: Tensor, sin_TE: Tensor
    ) -> Tensor:
        heads, eps = self._decoder.heads, self._decoder.eps
        qkv_TN = _project(layer, "qkv", rms_norm_plainly(x_TD, layer.norms.before_attention_D, eps), axis)
        qkv_TN = layer.with_head_norms(qkv_TN, heads)
        q, k, v = (
            qkv_TN[:, columns].unflatten(1, (-1, heads.size)).transpose(0, 1)
            for columns in (heads.query_columns, heads.key_columns, heads.value_columns)
        )
        q_HTE, k_JTE = rotated(q, cos_TE, sin_TE), rotated(k, cos_TE, sin_TE)
        kv[0, axis.slots_T] = k_JTE.transpose(0, 1)
        kv[1, axis.slots_T] = v.transpose(0, 1)
        window = layer.kind.window
        attended_TN = torch.cat(
            [_attended(q_HTE[:, one.tokens], kv, one.slots_L, window, layer.scale) for one in axis.chunks]
        )
        out_TD = _project(layer, "out", attended_TN, axis)
        x_TD = x_TD + _normed(out_TD, layer.norms.after_attention_D, eps)
        gate_up_TI = _project(layer, "gate_up", rms_norm_plainly(x_TD, layer.norms.before_mlp_D, eps), axis)
        mlp_TD = _project(layer, "down", swiglu_values(gate_up_TI, layer.activation), axis)
        return x_TD + _normed(mlp_TD, layer.norms.after_mlp_D, eps)


def _wanted(chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, range]]:
    """Yield the chunks of which logits are needed, and the rows of the token axis that they are of."""
    start = 0
    for chunk in chunks:
        stop = start + chunk.stop - chunk.start
        if chunk.running.wants_prompt_logprobs:
            yield chunk, range(start, stop)
        elif chunk.is_last:
            yield chunk, range(stop - 1, stop)
        start = stop


def _adapter_order(chunk: Chunk) -> str:
    return chunk.adapter.content_hash if chunk.adapter else ""


def _project(layer: Layer, key: str, x_TK: Tensor, axis: Axis) -> Tensor:
    """Return the base's product of all tokens, with each adapter's update of its own."""
    name = f"{layer.name}.{key}"
    weight = layer.groups[name].weight
    y_TN = weight.forward(x_TK)
    for span, factors in axis.spans:
        if name in factors:
            factors[name].add_to(y_TN[span], x_TK[span], weight.bias_N)
    return y_TN


def _normed(x_TD: Tensor, weight_D: Tensor | None, eps: float) -> Tensor:
    """Return x with a norm, or as it is if there is none."""
    return x_TD if weight_D is None else rms_norm_plainly(x_TD, weight_D, eps)


def _attended(q_HTE: Tensor, kv: Tensor, slots_L: Tensor, window: int | None, scale: float) -> Tensor:
    """Return the attended values of one chunk, [T, H·E]: its last token sees all slots, or a window's."""
    tokens = q_HTE.shape[1]
    if window is not None:
        slots_L = slots_L[-(tokens + window - 1) :]
    k_JLE, v_JLE = kv[:, slots_L].transpose(1, 2)
    keys = len(slots_L)
    mask = None if tokens == 1 else q_HTE.new_ones(tokens, keys, dtype=torch.bool).tril(keys - tokens)
    if mask is not None and window is not None:
        mask = mask.triu(keys - tokens - window + 1)
    out_HTE = F.scaled_dot_product_attention(
        q_HTE[None], k_JLE[None], v_JLE[None], attn_mask=mask, scale=scale, enable_gqa=True
    )
    return out_HTE[0].transpose(0, 1).flatten(1)
