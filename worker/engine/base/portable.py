"""transformers' own modules as a decoder, for architectures that nobody wrote by hand.

`PortableDecoder` runs them once over the packed token axis, `PlainDecoder` once for every row. Which of the
two a model may take is tried out by `trial.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from worker.engine.base.head import Head
from worker.engine.base.sharing import Sharing
from worker.engine.base.text_decoder import Adapters, Path
from worker.engine.batch.micro_batch import MicroBatch, Segment
from worker.engine.kernels.lora_layers import adapted
from worker.engine.kernels.operations import operations_on
from worker.engine.kernels.transformers_attention import SegmentLayout, attending_in


@dataclass(frozen=True)
class Linear:
    """A group of one: transformers calls each linear layer by itself."""

    columns: Mapping[str, slice]


class _TransformersDecoder:
    """`linears` are the layers that an adapter may be attached to, by module name."""

    def __init__(self, model: nn.Module, head: Head, linears: Sequence[str] = ()) -> None:
        self._model = model
        self._head = head
        self._body = body_of(model)
        self._do = operations_on(head.layer.weight.device)
        self.softcap = head.softcap
        self.groups = {name: Linear({name: slice(None)}) for name in linears}

    @property
    def head_VD(self) -> Tensor:  # noqa: N802 - axes
        return self._head.weight_VD

    def _run(self, sharing: Sharing, /, **inputs: Tensor) -> Tensor:
        """Final hidden states [T, D] of one token axis, each adapter working on its tokens."""
        shares = {linear: found for linear in self.groups if (found := sharing.shares(linear))}
        with adapted(self._model, shares, self._do.add_low_rank):
            hidden_TD: Tensor = self._body(**inputs, use_cache=False).last_hidden_state[0]
        return hidden_TD


class PortableDecoder(_TransformersDecoder):
    """One call for the whole token axis; attention follows the segments.

    The model must be under `transformers_attention`'s implementation (`model.set_attn_implementation`).
    """

    path: Path = "portable"

    def hidden(self, batch: MicroBatch, adapters: Adapters) -> Tensor:
        """Final hidden states of the supervised positions, [S, D]."""
        with attending_in(SegmentLayout(batch.segments, batch.positions_T), self._do.attend):
            hidden_TD = self._run(
                Sharing.of(batch, adapters),
                input_ids=batch.tokens_T[None],
                position_ids=batch.positions_T[None],
            )
        return self._head.scaled(hidden_TD.index_select(0, batch.supervised_S))


class PlainDecoder(_TransformersDecoder):
    """One call per row, through the model's own attention: right for any causal model, and slow.

    A row that shares its beginning with others is put together again from its chain of segments.
    """

    path: Path = "plain"

    def hidden(self, batch: MicroBatch, adapters: Adapters) -> Tensor:
        """Final hidden states of the supervised positions, [S, D].

        A token of several rows is taken from one of them: it sees the same in each.
        """
        places_T = torch.empty_like(batch.positions_T)
        rows: list[Tensor] = []
        start = 0
        for segment, axis_L in row_axes(batch.segments, batch.tokens_T.device):
            everything = {
                name: slice(None)
                for name, tokens in batch.adapter_tokens.items()
                if tokens.start <= segment.start < tokens.stop
            }
            dropout_seeds_L = None if batch.dropout_seeds_T is None else batch.dropout_seeds_T[axis_L]
            sharing = Sharing(everything, adapters, dropout_seeds_L)
            rows.append(self._run(sharing, input_ids=batch.tokens_T[axis_L][None]))
            places_T[axis_L] = torch.arange(start, start + len(axis_L), device=places_T.device)
            start += len(axis_L)
        return self._head.scaled(torch.cat(rows).index_select(0, places_T[batch.supervised_S]))


def row_axes(segments: Sequence[Segment], device: torch.device) -> list[tuple[Segment, Tensor]]:
    """The rows of a micro-batch: the segment that ends each, and where on the axis its tokens stand."""
    inner = {run for segment in segments for run in segment.prefix}
    axes = []
    for segment in segments:
        if (segment.start, segment.end) not in inner:
            axes.append((segment, torch.cat([torch.arange(*run, device=device) for run in segment.seen])))
    return axes


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Those that PEFT takes for linear, by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}


def is_text_only(model: Any) -> bool:
    """Whether every linear layer is the text model's, or the head."""
    text = {*linear_layers(body_of(model)).values(), model.get_output_embeddings()}
    return text.issuperset(linear_layers(model).values())


def body_of(model: Any) -> nn.Module:
    """The text model without its head."""
    body: Any = model.get_decoder()
    found: nn.Module = model.model if body is model else body
    return found
