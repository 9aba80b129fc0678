"""Decoders over PEFT's own modules, for adapters that the engine has no computation of its own for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from peft import PeftModel
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from torch import Tensor, nn

from core.estimates.memory_plan import Recompute
from worker.engine.batch.micro_batch import MicroBatch
from worker.engine.decoders.adapters_on_axis import AdaptersOnAxis
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import Attention, PlainDecoder
from worker.engine.decoders.recomputed_modules import recomputing
from worker.engine.decoders.text_decoder import Adapters, Path, Projections, TextDecoder
from worker.engine.kernels.frozen_weight import DenseWeight, FrozenWeight


class PromptDecoder(PlainDecoder):
    """Computes row by row; PEFT's model puts virtual tokens before each row."""

    def __init__(self, model: PeftModel, head: Head) -> None:
        super().__init__(model.get_base_model(), head)
        self._prompted = model

    def _run(
        self, _on_axis: AdaptersOnAxis, recompute: Recompute, _attention: Attention, /, **inputs: Tensor
    ) -> Tensor:
        """Return the final hidden states [T, D] of a row, without those of the virtual tokens."""
        again = recomputing(self._model, self._body, recompute, lambda _: nullcontext())
        with again, _recorded_states(self._body) as states:
            self._prompted(**inputs, use_cache=False)
        return states[0][0, -inputs["input_ids"].shape[1] :]


class TrainedHead:
    """A decoder whose head is trained, as a whole or in some rows; `layer` is PEFT's, with its matrix."""

    def __init__(self, decoder: TextDecoder, layer: Any) -> None:
        self._decoder = decoder
        self._layer = layer
        self.path: Path = decoder.path
        self.softcap = decoder.softcap

    @property
    def groups(self) -> Mapping[str, Projections]:
        return self._decoder.groups

    @property
    def experts(self) -> Mapping[str, tuple[int, int, int]]:
        return self._decoder.experts

    @property
    def head_weight(self) -> FrozenWeight:
        layer = self._layer
        own = isinstance(layer, TrainableTokensLayer)
        weight: Tensor = layer.get_merged_weights(layer.active_adapters) if own else layer.weight
        return DenseWeight(weight)

    def hidden(self, batch: MicroBatch, adapters: Adapters, recompute: Recompute = Recompute.NONE) -> Tensor:
        """Return the final hidden states of the supervised positions, [S, D]."""
        return self._decoder.hidden(batch, adapters, recompute)


@contextmanager
def _recorded_states(body: nn.Module) -> Iterator[list[Tensor]]:
    """Record a body's final hidden states.

    Inside, the body gives only its last token to the head: the logits are not used, and take time.
    """
    states: list[Tensor] = []
    own = body.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        out = own(*args, **kwargs)
        states.append(out.last_hidden_state)
        out.last_hidden_state = out.last_hidden_state[:, -1:]
        return out

    body.forward = forward
    try:
        yield states
    finally:
        del body.forward
