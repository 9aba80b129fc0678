"""Full fine-tuning: a job's own copy of the base model, with all weights of the text model trained."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import JobError
from core.estimates.planning import usable
from core.estimates.shapes import Load
from core.estimates.sizes import in_words
from core.estimates.whole import Whole, whole_memory, whole_workspace
from core.jobs.spec import JobSpec
from worker.engine.adapters.modules.own_decoder import WithOwnDecoder, own_decoder
from worker.engine.adapters.refusals import refuse_other_adapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.micro_batch import trial_row
from worker.engine.decoders.head import Head
from worker.engine.decoders.portable import body_of
from worker.engine.device.free_memory import free_bytes
from worker.engine.parameters.flat_views import flat_views

TRIAL_TOKENS = 64  # the length of the shorter row whose activations are measured
MAX_FILE = "5GB"


class WholeModel(WithOwnDecoder):
    """One job's copy of the base model, computed by transformers' modules with autograd.

    The weights of the text model and of its head are trained. The towers of a model that processes images
    stay the base's own: no gradient reaches them. Tied weights stay tied.
    """

    def __init__(
        self, base: ResidentBase, name: str, step_tokens: int, longest_row: int, spec: JobSpec
    ) -> None:
        """Copy the weights. `step_tokens` and `longest_row` are the most tokens of a micro-batch and a row.

        Raises JobError if the training does not fit into memory.
        """
        self.name = name
        self._base = base
        text = _text_parameters(base.model)
        # Still the base's values, which `flat_views` copies once the memory is known to suffice
        trained = {each: nn.Parameter(each.data) for each in text.values()}
        self._model = _copy_with(base.model, trained)
        self._decoder = own_decoder(base, self._model, Head.of(self._model))
        self._refuse_without_memory(step_tokens, longest_row, spec)
        own = {each: trained[parameter] for each, parameter in text.items()}
        self.parameters = flat_views(self._model, own, base.dtype)

    def _refuse_without_memory(self, step_tokens: int, longest_row: int, spec: JobSpec) -> None:
        """Raise JobError if the training needs more memory than it may take."""
        needed = self._needed_bytes(step_tokens, longest_row, spec)
        left = usable(free_bytes(self._base.device), self._base.budget.device)
        if needed > left:
            raise JobError(
                "out_of_memory",
                f"Full fine-tuning of {self._base.entry.id} takes {in_words(needed)} of memory beside the "
                f"base model, but only {in_words(left)} can be used on this worker. Train LoRA instead, or "
                "a smaller model.",
                "adapter.type",
            )

    def _needed_bytes(self, step_tokens: int, longest_row: int, spec: JobSpec) -> int:
        """Return the bytes of weights, gradients and moments, with the larger of a step and a saved copy.

        A step and a saved copy never exist together. A step takes activations, extrapolated from those of a
        few tokens, and the logits of a chunk. A job whose reference is its parent also holds two fp32 copies:
        the parent's weights, and its own while the reference computes.
        """
        numbers = sum(each.numel() for each in self._model.parameters() if each.requires_grad)
        V, D = self._decoder.head_weight.shape
        whole = Whole(numbers, D, V, self._base.dtype.itemsize, self._base.source_dtype.itemsize)
        state = whole.state(spec.keeps_parent)
        state = state.with_moments(in_eight_bits=spec.training.has_eight_bit_moments)
        budget = self._base.budget
        load = Load(state, longest_row, budget.device)
        workspace = whole_workspace(budget.model, load, step_tokens) if budget.model else 0.0
        kept = self._kept_bytes(step_tokens, longest_row)
        return whole_memory(whole, load, step_tokens, [kept], workspace).beside_base

    def _kept_bytes(self, step_tokens: int, longest_row: int) -> float:
        """Return the bytes that autograd keeps of a micro-batch, from what it keeps of two short rows.

        They grow with the tokens. If scores are kept, they also grow with the square of a row's length, so a
        row of L tokens keeps a L + c L².
        """
        n = TRIAL_TOKENS
        short, twice = self._kept_of_row(n), self._kept_of_row(2 * n)
        squares = max(0, twice - 2 * short) / (2 * n * n)
        return step_tokens * (short / n + squares * (longest_row - n))

    def _kept_of_row(self, tokens: int) -> int:
        """Return the bytes, without weights, that autograd keeps for the backward pass of one row."""
        weights = {each.untyped_storage().data_ptr() for each in self._model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        row = trial_row(self.name, tokens, self._base.device)
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

    @torch.no_grad()
    def load(self, published: Mapping[str, Tensor]) -> None:
        """Take the values of a model that `save` has written; its other weights are the base's own."""
        own = self.parameters.named(self.parameters.master)
        refuse_other_adapter(own, {name: each for name, each in published.items() if name in own})
        for name, part in own.items():
            part.copy_(published[name])
        self.parameters.refresh()

    def save(self, folder: Path) -> None:
        """Write the model as transformers' `from_pretrained` loads it, in the type of the source weights."""
        dtype = self._base.source_dtype
        trained = self.parameters.named(self.parameters.master.detach())
        values = {each: trained.get(name, each.data) for name, each in self._model.named_parameters()}
        saved = {each: _cpu_copy(value, dtype) for each, value in values.items()}
        _copy_with(self._model, saved).save_pretrained(folder, max_shard_size=MAX_FILE)


def _text_parameters(model: Any) -> dict[str, nn.Parameter]:
    """Return the parameters of the text model and its head, by their names in the model; tied ones once."""
    text = {*body_of(model).parameters(), *model.get_output_embeddings().parameters()}
    return {
        name: each for name, each in model.named_parameters() if each in text and each.is_floating_point()
    }


def _cpu_copy(values: Tensor, dtype: torch.dtype) -> nn.Parameter:
    """Return a copy in `dtype`, in memory of its own on the CPU."""
    return nn.Parameter(values.to("cpu", dtype, copy=True), requires_grad=False)


def _copy_with(model: nn.Module, replacements: Mapping[nn.Parameter, nn.Parameter]) -> Any:
    """Return a copy of the model in which these parameters are replaced; all others are shared.

    `own_tree` shares the layers. Here they are copied too, because their parameters differ.
    """
    kept = {id(each): replacements.get(each, each) for each in model.parameters()}
    return copy.deepcopy(model, kept)
