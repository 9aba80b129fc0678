"""Adapters that PEFT computes: with PEFT's own modules and autograd, in the engine's loop."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM, set_peft_model_state_dict
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer
from peft.utils.other import AuxiliaryTrainingWrapper

from core.errors import JobError
from core.methods.method import MethodOptions
from worker.engine.adapters.modules.own_decoder import WithOwnDecoder, own_decoder
from worker.engine.adapters.modules.own_tree import tree_with_own_config
from worker.engine.adapters.modules.peft_config import peft_config
from worker.engine.adapters.modules.peft_decoder import PromptDecoder, TrainedHead
from worker.engine.adapters.refusals import other_adapter, refused_by_peft
from worker.engine.adapters.saving import PEFT_NAME, save_adapter, target_names
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.micro_batch import trial_row
from worker.engine.decoders.head import Head
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.parameters.flat import FlatParameters
from worker.engine.parameters.flat_views import flat_views

# Tensors that PEFT derives from the weights when it makes an adapter, and computes with. They may differ on
# another machine: singular vectors in their signs, the largest entries in their order where they are equal.
DERIVED_FROM_WEIGHTS = ("tinylora_A", "tinylora_B", "supertuning_indices")

log = structlog.get_logger()


class PeftAdapter(WithOwnDecoder):
    """One job's adapter on a tree of modules of its own, which computes the job's rows.

    The parameters that PEFT trains become views of one flat tensor, and their gradients views of another one,
    so that autograd fills the gradient that the optimizer uses.
    """

    def __init__(self, base: ResidentBase, name: str, options: MethodOptions, seed: int) -> None:
        """Attach the adapter. Raises JobError if the base model or PEFT does not allow it."""
        self.name = name
        self._base = base
        self._options = options
        config = self._config(options, seed)
        tree = tree_with_own_config(base.model)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self._model = PeftModelForCausalLM(tree, config, adapter_name=PEFT_NAME)
            self.parameters = self._take_parameters()
            self._decoder = self._choose_decoder(tree, config)
            self._compute_once()
        except Exception as error:  # any kind: foreign code, on a model that it was perhaps not tested with
            if device_is_broken(error) or is_out_of_memory(error):
                raise
            raise self._refusal(error) from error

    def _config(self, options: MethodOptions, seed: int) -> PeftConfig:
        try:
            return peft_config(self._base, options, seed)
        except ValueError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> JobError:
        log.warning("peft_refuses", job=self.name, exc_info=error)
        return refused_by_peft(self._options, error)

    def _take_parameters(self) -> FlatParameters:
        trained = {name: each for name, each in self._model.named_parameters() if each.requires_grad}
        kept = dict(self._derived_from_weights())
        return flat_views(self._model, trained, self._base.dtype, kept)

    def _derived_from_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors that a resumed job must take from the checkpoint too."""
        for name, tensor in self._model.named_buffers():
            if any(f".{kind}." in name for kind in DERIVED_FROM_WEIGHTS):
                yield name, tensor

    def _choose_decoder(self, tree: Any, config: PeftConfig) -> TextDecoder:
        """Return a decoder over the tree; virtual tokens and a trained head have one of their own."""
        head = Head.of(self._base.model)
        if config.is_prompt_learning:
            tree.set_attn_implementation(self._base.own_attention)
            return PromptDecoder(self._model, head)
        decoder = own_decoder(self._base, tree, head)
        layer = tree.get_output_embeddings()
        if isinstance(layer, TrainableTokensLayer | AuxiliaryTrainingWrapper):
            return TrainedHead(decoder, layer)
        return decoder

    @torch.no_grad()
    def _compute_once(self) -> None:
        """Compute four tokens, so that sizes that do not fit fail here and not in the middle of a round."""
        self._decoder.hidden(trial_row(self.name, 4, self._base.device), {self.name: {}})

    @property
    def plain_model(self) -> PeftModel:
        return self._model

    @property
    def target_modules(self) -> list[str]:
        return target_names(self._model.peft_config[PEFT_NAME])

    @torch.no_grad()
    def load(self, published: Mapping[str, torch.Tensor]) -> None:
        """Take the values of an adapter with the same options from the tensors that `save` has written.

        Raises JobError if they are those of another adapter.
        """
        own = self.parameters.named(self.parameters.master)
        trained = {name: each for name, each in self._model.named_parameters() if name in own}
        for parameter in trained.values():
            parameter.data.fill_(torch.nan)  # so that PEFT cannot leave one out unnoticed
        try:
            found = set_peft_model_state_dict(self._model, dict(published), adapter_name=PEFT_NAME)
        except (KeyError, RuntimeError) as error:
            raise other_adapter(str(error)) from error
        others = {name for name, parameter in trained.items() if parameter.isnan().any()}
        if not self._model.peft_config[PEFT_NAME].is_prompt_learning:
            others |= set(found.unexpected_keys)
        if others:
            raise other_adapter(f"only one of the two has {min(others)}.")
        for name, parameter in trained.items():
            own[name].copy_(parameter.data)
        self.parameters.refresh()

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the base model."""
        self.parameters.refresh()
        save_adapter(self._model, self._base.entry, folder)
