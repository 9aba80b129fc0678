"""transformers' own modules as a decoder, for architectures without a hand-written one.

`PortableDecoder` runs the modules once over the packed token axis, and `PlainDecoder` once for every row.
`base/trial.py` finds out which of the two a model may take.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers.pytorch_utils import Conv1D

from core.estimates.memory_plan import Recompute
from worker.engine.batch.images import embedded
from worker.engine.batch.micro_batch import MicroBatch, Segment
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.head import Head
from worker.engine.decoders.recomputed_modules import recomputing
from worker.engine.decoders.text_decoder import Adapters, Path
from worker.engine.kernels.experts.modules import parameter_names, weights_of
from worker.engine.kernels.frozen_weight import FrozenWeight
from worker.engine.kernels.lora_layers import adapted
from worker.engine.kernels.operations import operations_on
from worker.engine.kernels.transformers_attention import SegmentLayout, attending_in
from worker.engine.kernels.transformers_steps import PlacedChunk, Pool, StepLayout, attend_in_slots

MAMBAS = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}  # as in PEFT's check
ROUTERS = {"gate", "router", "router_gate"}  # names of the module that chooses experts, which stays as it is

Attention = Callable[[], AbstractContextManager[None]]
"""The context in which the modules' attention computes."""


@dataclass(frozen=True)
class Linear:
    """A group of one projection: transformers calls each linear layer by itself."""

    columns: Mapping[str, slice]


class _TransformersDecoder:
    """The base class of both decoders.

    An adapter may be attached to `linears`, by module name, and to the weights of `experts`, modules by name.
    Linear layers of routers are left out, and those on which PEFT puts no LoRA.
    """

    def __init__(
        self,
        model: nn.Module,
        head: Head,
        linears: Sequence[str] = (),
        experts: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self._model = model
        self.head = head
        self._body = body_of(model)
        self._ops = operations_on(head.layer.weight.device)
        self.softcap = head.softcap
        self.experts = {
            f"{module}.{name}": weights_of(found, name).shape
            for module, found in (experts or {}).items()
            for name in parameter_names(found)
        }
        self.groups = {name: Linear({name: slice(None)}) for name in linears if not self._is_left_out(name)}

    @property
    def head_weight(self) -> FrozenWeight:
        return self.head.weight

    def _run(
        self, on_axis: AdaptersOnAxis, recompute: Recompute, attention: Attention, /, **inputs: Tensor
    ) -> Tensor:
        """Return the final hidden states [T, D] of one token axis; each adapter works on its own tokens."""
        names = (*self.groups, *self.experts)
        shares = {name: found for name in names if (found := on_axis.shares(name))}
        project = None if isinstance(self._body, FSDPModule) else self._ops.project

        @contextmanager
        def surroundings(module: str = "") -> Iterator[None]:
            inside = {name: found for name, found in shares.items() if name.startswith(module)}
            with adapted(self._model, inside, self._ops.add_low_rank, project), attention():
                yield

        with surroundings(), recomputing(self._model, self._body, recompute, surroundings):
            hidden_TD: Tensor = self._body(**inputs, use_cache=False).last_hidden_state[0]
        return hidden_TD

    def _inputs(self, tokens_T: Tensor, images_ID: Tensor | None) -> dict[str, Tensor]:
        """Return the arguments by which the text model takes words and images."""
        if images_ID is None:
            return {"input_ids": tokens_T[None]}
        embedding: Any = self._body.get_input_embeddings()  # type: ignore[operator]
        return {"inputs_embeds": embedded(embedding, tokens_T, images_ID)[None]}

    def _is_left_out(self, name: str) -> bool:
        """Return whether a linear layer is part of a router, or one on which PEFT puts no LoRA."""
        config: Any = self._model.config
        if config.model_type in MAMBAS and name.endswith(".out_proj"):
            return True
        return not ROUTERS.isdisjoint(name.split("."))


class PortableDecoder(_TransformersDecoder):
    """One call for the whole token axis; attention follows the segments.

    The model must use the attention of `transformers_attention` (`model.set_attn_implementation`).
    """

    path: Path = "portable"
    step_costs: "StepCosts | None" = None

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D]."""
        layout = SegmentLayout(batch.segments, batch.positions_T)
        hidden_TD = self._run(
            AdaptersOnAxis.of(batch, adapters, self._ops.drop),
            recompute,
            partial(attending_in, layout, self._ops.attend),
            **self._inputs(batch.tokens_T, batch.images_ID),
            position_ids=batch.positions_T[None],
        )
        return self.head.scaled(hidden_TD.index_select(0, batch.supervised_S))

    def step(
        self, tokens_T: Tensor, positions_T: Tensor, layout: StepLayout, images_ID: Tensor | None = None
    ) -> Tensor:
        """Return the final hidden states [T, D] of texts that go on where their last steps have ended."""
        inputs = self._inputs(tokens_T, images_ID)
        with attending_in(layout, attend_in_slots):
            out: Any = self._body(**inputs, position_ids=positions_T[None], use_cache=False)
        hidden_TD: Tensor = out.last_hidden_state[0]
        return hidden_TD


@dataclass(frozen=True)
class StepCosts:
    """A token's bytes of keys and values, a text's bytes of states, and a token's numbers of queries."""

    token_bytes: int
    state_bytes: int
    queries: int


def find_step_costs(decoder: PortableDecoder) -> StepCosts:
    """Return the costs of steps, found by a first token. Nobody else may use the modules meanwhile."""
    slot = torch.zeros(1, dtype=torch.long, device=decoder.head.layer.weight.device)
    layout = StepLayout([PlacedChunk(slice(0, 1), slot)], slot, Pool(1), [[]])
    with torch.no_grad():
        decoder.step(slot, slot, layout)
    state_bytes = sum(left.nbytes for left in layout.after[0])
    return StepCosts(layout.pool.nbytes, state_bytes, layout.query_numbers)


class PlainDecoder(_TransformersDecoder):
    """One call per row, through the model's own attention: correct for any causal model, and slow.

    A row that shares its beginning with other rows is put together again from its chain of segments.
    """

    path: Path = "plain"

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D].

        The state of a token that several rows share is taken from one of these rows: it is the same in each.
        """
        order_T = torch.empty_like(batch.positions_T)
        rows: list[Tensor] = []
        start = 0
        for segment, axis_L in row_axes(batch.segments, batch.tokens_T.device):
            all_tokens = {
                name: slice(None)
                for name, tokens in batch.adapter_tokens.items()
                if tokens.start <= segment.start < tokens.stop
            }
            dropout_seeds_L = None if batch.dropout_seeds_T is None else batch.dropout_seeds_T[axis_L]
            acting_L = None if batch.acting_T is None else batch.acting_T[axis_L]
            on_axis = AdaptersOnAxis(all_tokens, adapters, dropout_seeds_L, self._ops.drop, acting_L)
            inputs = self._inputs(batch.tokens_T[axis_L], batch.images_ID)
            rows.append(self._run(on_axis, recompute, nullcontext, **inputs))
            order_T[axis_L] = torch.arange(start, start + len(axis_L), device=order_T.device)
            start += len(axis_L)
        return self.head.scaled(torch.cat(rows).index_select(0, order_T[batch.supervised_S]))


def row_axes(segments: Sequence[Segment], device: torch.device) -> list[tuple[Segment, Tensor]]:
    """Return the rows of a micro-batch: each row's last segment, and where its tokens stand on the axis."""
    inner = {span for segment in segments for span in segment.prefix}
    axes = []
    for segment in segments:
        if (segment.start, segment.end) not in inner:
            axes.append((segment, torch.cat([torch.arange(*span, device=device) for span in segment.seen])))
    return axes


def linear_layers(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that PEFT treats as linear, by name."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, Conv1D))}


def body_of(model: Any) -> nn.Module:
    """Return the text model without its head."""
    body: Any = model.get_decoder()
    has_head = body is model or body.get_output_embeddings() is not None
    found: nn.Module = body.model if has_head else body
    return found
