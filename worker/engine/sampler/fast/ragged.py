"""A step of the sampler with the weights of the fast decoder.

The base model's products are computed once over all tokens, and each adapter's over its own. Keys and values
go into the blocks of a pool, and attention reads them from there.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from worker.engine.decoders.architecture import AttentionKind
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.head import capped_logits
from worker.engine.decoders.layer import Layer, times
from worker.engine.decoders.quantised_weight import QuantisedWeight
from worker.engine.device.transfer import on_device
from worker.engine.kernels.attention import one_attention
from worker.engine.kernels.elementwise import rms_norm_plainly, swiglu_values
from worker.engine.kernels.experts.modules import parameter_names
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.transformers_steps import visible
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.fast.block_pool import BLOCK
from worker.engine.sampler.fast.native.step import NativeStep
from worker.engine.sampler.fast.step import Axis, RaggedStep
from worker.engine.sampler.running import Chunk

# Tokens of a chunk. PyTorch multiplies more of them so much faster that its calls do not matter: measured.
# On a base in few bits, PyTorch has to make each weight first. With pairs of bf16, C is as fast for more too.
MOST_IN_C, MOST_IN_C_IN_FEW_BITS, MOST_IN_PAIRS = 40, 96, 512
# In fp32 the step computes all of them, because it has the bits of the training
MOST_IN_C_IN_FP32 = 1 << 31


class RaggedDecoder(RaggedStep):
    """The fast path's weights with a pool of keys and values for `blocks` blocks.

    On a CPU a step in C takes the place of PyTorch's calls if it can be built (`native`), and if no chunk has
    more than `most_in_c` tokens, by default as many as are faster there.
    """

    def __init__(self, decoder: Decoder, blocks: int, most_in_c: int | None = None) -> None:
        self._decoder = decoder
        self._pool = list(_pools(decoder, blocks))
        self._native = None if most_in_c == 0 else NativeStep.for_pool(decoder, self._pool)
        self.longest_in_c = _most_in_c(decoder, self._native) if most_in_c is None else most_in_c

    @staticmethod
    def block_bytes(decoder: Decoder) -> int:
        """Return the bytes of one block, in all layers."""
        numbers = sum(layer.heads.key * layer.heads.size for layer in decoder.layers if not layer.borrows)
        return 2 * BLOCK * numbers * decoder.dtype.itemsize

    def prepare(self, adapter: ServedAdapter) -> None:
        """Do what the first step with the adapter would otherwise do."""
        if self._native:
            self._native.prepare(adapter)

    @torch.inference_mode()
    def logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        longest = max(chunk.stop - chunk.start for chunk in chunks)
        in_c = longest <= self.longest_in_c and not any(chunk.has_images for chunk in chunks)
        if self._native and in_c:
            return self._native.logits(chunks, rows)
        return self._logits(chunks, rows)

    def _logits(self, chunks: Sequence[Chunk], rows: Sequence[int]) -> Tensor:
        decoder = self._decoder
        axis = Axis.of(chunks, decoder.device)
        x_TD = decoder.embedded(axis.tokens_T, axis.images_ID)
        rotations = {kind: decoder.rotation(kind, x_TD, axis.positions_T) for kind in decoder.kinds}
        query_scale_T1 = decoder.query_scale(axis.positions_T, x_TD)
        own_inputs = self._own_inputs(x_TD, axis)
        for layer, kv in zip(decoder.layers, self._pool, strict=True):
            q_HTE = self._queries(layer, kv, x_TD, axis, *rotations[layer.kind])
            q_HTE = q_HTE if query_scale_T1 is None else q_HTE * query_scale_T1
            x_TD = self._layer(layer, kv, q_HTE, x_TD, axis)
            own_TP = None if own_inputs is None else own_inputs[layer.number]
            x_TD = self._with_own_input(layer, x_TD, own_TP, axis)
            x_TD = x_TD if layer.output_scale_1 is None else x_TD * layer.output_scale_1
        if not rows:  # the head may have to be dequantised
            return x_TD.new_empty(0, len(decoder.head.layer.weight), dtype=torch.float32)
        x_SD = x_TD[on_device(torch.tensor(rows, dtype=torch.long), x_TD.device)]
        hidden_SD = decoder.head.scaled(rms_norm_plainly(x_SD, decoder.final_norm_D, decoder.eps))
        return capped_logits(hidden_SD, decoder.head_weight, decoder.softcap)

    def _queries(
        self, layer: Layer, kv: Tensor, x_TD: Tensor, axis: Axis, cos_TE: Tensor, sin_TE: Tensor
    ) -> Tensor:
        """Write the tokens' keys and values to their slots, and return their rotated queries."""
        heads, eps, pairs = layer.heads, self._decoder.eps, self._decoder.pairs[layer.kind]
        qkv_TN = _project(layer, "qkv", _normed(x_TD, layer.norms.before_attention_D, eps), axis)
        heads_HTE = layer.with_head_norms(qkv_TN).unflatten(1, (-1, heads.size)).transpose(0, 1)
        if not layer.borrows:
            k, v = heads_HTE[heads.query :].chunk(2)
            kv[0, axis.slots_T] = pairs.rotated(k, cos_TE, sin_TE).transpose(0, 1)
            kv[1, axis.slots_T] = v.transpose(0, 1)
        return pairs.rotated(heads_HTE[: heads.query], cos_TE, sin_TE)

    def _layer(self, layer: Layer, kv: Tensor, q_HTE: Tensor, x_TD: Tensor, axis: Axis) -> Tensor:
        eps, norms, factor = self._decoder.eps, layer.norms, layer.added_times
        attended_TN = torch.cat(
            [_attended(q_HTE[:, one.tokens], kv, one.slots_L, layer) for one in axis.chunks]
        )
        out_TD = _project(layer, "out", attended_TN, axis)
        x_TD = x_TD + times(_normed(out_TD, norms.after_attention_D, eps), factor)
        mlp_TD = _mlp(layer, _normed(x_TD, norms.before_mlp_D, eps), axis)
        return x_TD + times(_normed(mlp_TD, norms.after_mlp_D, eps), factor)

    def _own_inputs(self, x_TD: Tensor, axis: Axis) -> Sequence[Tensor] | None:
        if (own := self._decoder.own_inputs) is None:
            return None
        projected_TN = _product(own.name, own.weight, x_TD, axis)
        return own.by_layer(axis.tokens_T, projected_TN, rms_norm_plainly)

    def _with_own_input(self, layer: Layer, x_TD: Tensor, own_TP: Tensor | None, axis: Axis) -> Tensor:
        if own_TP is None:
            return x_TD
        gate_TP = layer.activation.values(_project(layer, "own_gate", x_TD, axis))
        own_TD = _project(layer, "own_out", gate_TP * own_TP, axis)
        return x_TD + _normed(own_TD, layer.norms.after_own_input_D, self._decoder.eps)


def _most_in_c(decoder: Decoder, native: NativeStep | None) -> int:
    if decoder.dtype is torch.float32:
        return MOST_IN_C_IN_FP32
    if any(isinstance(group.weight, QuantisedWeight) for group in decoder.groups.values()):
        return MOST_IN_C_IN_FEW_BITS
    return MOST_IN_PAIRS if native and native.has_pairs else MOST_IN_C


def _pools(decoder: Decoder, blocks: int) -> Iterator[Tensor]:
    """Yield the pool of each layer, [2, slots, J, E]: its own one, or that of the layer that lends to it.

    A slot is written before it is read; memory is taken as slots are used.
    """
    last: dict[AttentionKind, Tensor] = {}
    for layer in decoder.layers:
        if not layer.borrows:
            shape = 2, blocks * BLOCK, layer.heads.key, layer.heads.size
            last[layer.kind] = torch.empty(shape, dtype=decoder.dtype, device=decoder.device)
        yield last[layer.kind]


def _mlp(layer: Layer, x_TD: Tensor, axis: Axis) -> Tensor:
    """Return what the MLP and the experts make of normed hidden states, as far as the layer has them."""
    values_TD = None
    if (routed := layer.routed) is not None:
        updates = axis.expert_updates(routed.name, parameter_names(routed.experts))
        values_TD = routed.updated(x_TD, updates)
        if not layer.has_mlp:
            return values_TD
    gate_up_TI = _project(layer, "gate_up", x_TD, axis)
    mlp_TD = _project(layer, "down", swiglu_values(gate_up_TI, layer.activation), axis)
    return mlp_TD if values_TD is None else values_TD + mlp_TD


def _project(layer: Layer, key: str, x_TK: Tensor, axis: Axis) -> Tensor:
    name = f"{layer.name}.{key}"
    return _product(name, layer.groups[name].weight, x_TK, axis)


def _product(name: str, weight: FrozenWeight, x_TK: Tensor, axis: Axis) -> Tensor:
    """Return the base's product of all tokens, with each adapter's update of its own."""
    y_TN = weight.forward(x_TK)
    for span, adapter in axis.spans:
        if name in adapter.factors:
            adapter.factors[name].add_to(y_TN[span], x_TK[span], weight.bias_N)
    return y_TN


def _normed(x_TD: Tensor, weight_D: Tensor | None, eps: float) -> Tensor:
    """Return x with a norm, or as it is if there is none."""
    return x_TD if weight_D is None else rms_norm_plainly(x_TD, weight_D, eps)


def _attended(q_HTE: Tensor, kv: Tensor, slots_L: Tensor, layer: Layer) -> Tensor:
    """Return the attended values of one chunk, [T, H·E]: its last token sees all slots, or a window's."""
    tokens, window = q_HTE.shape[1], layer.kind.window
    if window is not None:
        slots_L = slots_L[-(tokens + window - 1) :]
    k_JLE, v_JLE = kv[:, slots_L].transpose(1, 2)
    mask = visible(tokens, len(slots_L), window, q_HTE.device)
    out_HTE = one_attention(q_HTE, k_JLE, v_JLE, mask, layer.scale, layer.kind.softcap, layer.sinks_H)
    return out_HTE.transpose(0, 1).flatten(1)
