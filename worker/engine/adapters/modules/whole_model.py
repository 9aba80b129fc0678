"""Full fine-tuning: a job's own copy of the base model, every weight of which is trained."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import JobError
from worker.engine.adapters.memory import GRADIENT_BYTES, OPTIMIZED_BYTES
from worker.engine.adapters.modules.own_decoder import WithOwnDecoder, own_decoder
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.head import Head
from worker.engine.base.portable import body_of
from worker.engine.batch.micro_batch import trial_row
from worker.engine.device.free_memory import free_bytes
from worker.engine.kernels.loss import CHUNK_TOKENS
from worker.engine.parameters.flat_views import flat_views

TRIED_TOKENS = 64
LOGIT_BYTES = 3 * 4  # fp32, of a chunk of tokens: logits, log-probabilities and their gradient
MAX_FILE = "5GB"
GB = 1e9


class WholeModel(WithOwnDecoder):
    """One job's copy of the base model, which it computes with; transformers' modules with autograd.

    Trained are the weights of the text model and its head. Towers of a model that sees images stay the
    base's: no gradient reaches them. What is tied stays tied.
    """

    def __init__(self, base: ResidentBase, name: str, step_tokens: int) -> None:
        """`step_tokens` is the most tokens of a micro-batch.

        Raises JobError where its copy does not fit into memory.
        """
        self.name = name
        self._base = base
        text = _text_parameters(base.model)
        trained = {each: nn.Parameter(each.data) for each in text.values()}  # the base's values, as yet
        self._model = _copied(base.model, trained)
        self._decoder = own_decoder(base, self._model, Head.of(self._model))
        self._refuse_without_memory(step_tokens)
        own = {each: trained[parameter] for each, parameter in text.items()}
        self.parameters = flat_views(own, base.dtype)

    def _refuse_without_memory(self, step_tokens: int) -> None:
        needed, free = self._needed_bytes(step_tokens), free_bytes(self._base.device)
        if needed > free:
            raise JobError(
                "out_of_memory",
                f"Full fine-tuning of {self._base.entry.id} takes {needed / GB:.1f} GB of memory beside the "
                f"base model, and this worker has {free / GB:.1f} GB left. Train LoRA instead, or a smaller "
                "model.",
                "adapter.type",
            )

    def _needed_bytes(self, step_tokens: int) -> int:
        """Weights, gradients and moments, and the larger of what a step and a saved copy take beside them.

        A step takes activations, which those of a few tokens tell, and a chunk's logits.
        """
        trained = [each for each in self._model.parameters() if each.requires_grad]
        copies = sum(each.nbytes for each in trained if each.dtype != torch.float32)
        numbers = sum(each.numel() for each in trained)
        head_VD = self._decoder.head_VD
        head = CHUNK_TOKENS * len(head_VD) * LOGIT_BYTES + 2 * head_VD.nbytes  # two chunks' gradients meet
        activations = step_tokens * self._kept_bytes() // TRIED_TOKENS
        on_cpu = self._base.device.type == "cpu"
        saved = numbers * self._base.source_dtype.itemsize if on_cpu else 0
        state = numbers * (OPTIMIZED_BYTES + GRADIENT_BYTES) + copies
        return state + max(activations + head, saved)

    def _kept_bytes(self) -> int:
        """What the backward pass of a row of TRIED_TOKENS needs beside the weights."""
        weights = {each.untyped_storage().data_ptr() for each in self._model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        row = trial_row(self.name, TRIED_TOKENS, self._base.device)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self._decoder.hidden(row, {self.name: {}})
        return sum(kept.values())

    @property
    def plain_model(self) -> Any:
        """transformers' model, with the present parameters."""
        return self._model

    @property
    def target_modules(self) -> list[str]:
        return []

    def save(self, folder: Path) -> None:
        """Write what `from_pretrained` of transformers loads, with weights in the base's published type."""
        dtype = self._base.source_dtype
        trained = self.parameters.named(self.parameters.master.detach())
        values = {each: trained.get(name, each.data) for name, each in self._model.named_parameters()}
        saved = {each: _published(value, dtype) for each, value in values.items()}
        _copied(self._model, saved).save_pretrained(folder, max_shard_size=MAX_FILE)


def _text_parameters(model: Any) -> dict[str, nn.Parameter]:
    """Of the text model and its head, by their names in the whole; tied ones once."""
    text = {*body_of(model).parameters(), *model.get_output_embeddings().parameters()}
    return {
        name: each for name, each in model.named_parameters() if each in text and each.is_floating_point()
    }


def _published(values: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """In memory of its own, and not the device's."""
    return nn.Parameter(values.to("cpu", dtype, copy=True), requires_grad=False)


def _copied(model: nn.Module, others: Mapping[nn.Parameter, nn.Parameter]) -> Any:
    """The model with these parameters in the place of its own; all others are shared.

    Other than in `own_tree`, layers are copied too: it is their parameters that differ.
    """
    kept = {id(each): others.get(each, each) for each in model.parameters()}
    return copy.deepcopy(model, kept)
