"""Any adapter that PEFT can compute: its own modules with autograd, in the engine's loop."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import torch
from peft import PeftConfig, PeftModel, PeftModelForCausalLM
from torch import Tensor, nn

from core.errors import JobError
from core.methods.method import MethodOptions
from core.methods.registry import METHODS
from worker.engine.adapters import make_view
from worker.engine.base_model import ResidentBase
from worker.engine.device import device_is_broken, is_want_of_memory
from worker.engine.dynamic_rank import DynamicRank
from worker.engine.head import Head
from worker.engine.micro_batch import MicroBatch, Segment
from worker.engine.own_tree import own_tree
from worker.engine.parameters import FlatParameters, Place
from worker.engine.peft_config import peft_config
from worker.engine.peft_decoder import PromptDecoder, TrainedHead
from worker.engine.portable import PlainDecoder, PortableDecoder
from worker.engine.projection import LowRank
from worker.engine.rank_budget import RankBudget
from worker.engine.saving import PEFT_NAME, save_adapter, target_names
from worker.engine.text_decoder import TextDecoder
from worker.engine.transformers_attention import NAME

log = structlog.get_logger()


class PeftAdapter:
    """One job's adapter on a tree of its own, which it computes with.

    What PEFT trains becomes views of one flat tensor, values and gradients: autograd fills the gradient that
    the optimizer steps by.
    """

    rank_budget: RankBudget | None = None
    dynamic_rank: DynamicRank | None = None

    def __init__(self, base: ResidentBase, name: str, options: MethodOptions, seed: int) -> None:
        """Raises JobError where the base model or PEFT does not allow for it."""
        self.name = name
        self._base = base
        self._title = METHODS[options.type].title
        self._refuse_bases_that_are_not_whole()
        config = self._config(options, seed)
        tree = _tree_with_own_config(base.model)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self._model = PeftModelForCausalLM(tree, config, adapter_name=PEFT_NAME)
            self.parameters = self._take_parameters()
            self._decoder = self._choose_decoder(tree, config)
            self._try_out()
        except Exception as error:  # of any kind: foreign code, on a model that it may never have met
            if device_is_broken(error) or is_want_of_memory(error):
                raise
            raise self._refusal(error) from error

    def _refuse_bases_that_are_not_whole(self) -> None:
        if self._base.sharded:
            message = f"{self._title} cannot be trained on a base model that is spread over devices."
            raise JobError("invalid_adapter", message, "training.fsdp")
        if self._base.entry.quantization is not None:
            message = f"{self._title} cannot be trained on a quantised base model; LoRA can."
            raise JobError("invalid_adapter", message, "adapter.type")

    def _config(self, options: MethodOptions, seed: int) -> PeftConfig:
        try:
            return peft_config(self._base, options, seed)
        except ValueError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: Exception) -> JobError:
        log.warning("peft_refuses", job=self.name, exc_info=error)
        message = f"{self._title} cannot be trained so on this base model: {error}"
        return JobError("invalid_adapter", message, "adapter")

    def _take_parameters(self) -> FlatParameters:
        trained = {name: each for name, each in self._model.named_parameters() if each.requires_grad}
        places, start = {}, 0
        for name, parameter in trained.items():
            places[name] = Place(start, tuple(parameter.shape))
            start = places[name].stop
        values = torch.cat([parameter.data.flatten().float() for parameter in trained.values()])
        flat = FlatParameters(values, self._base.dtype, places=places)
        for name, parameter in trained.items():
            if parameter.dtype == torch.float32:
                make_view(parameter, places[name], flat)
            else:
                _make_copy(parameter, places[name], flat)
        return flat

    def _choose_decoder(self, tree: Any, config: PeftConfig) -> TextDecoder:
        """On the token axis where the base's rows can be packed, else row by row."""
        head = Head.of(self._base.model)
        packed = self._base.decoder.path != "plain" and not config.is_prompt_learning
        tree.set_attn_implementation(NAME if packed else self._base.own_attention)
        if config.is_prompt_learning:
            return PromptDecoder(self._model, head)
        decoder: TextDecoder = PortableDecoder(tree, head) if packed else PlainDecoder(tree, head)
        layer = tree.get_output_embeddings()
        if hasattr(layer, "get_merged_weights"):
            return TrainedHead(decoder, layer)
        return decoder

    @torch.no_grad()
    def _try_out(self) -> None:
        """Compute once, so that sizes that do not fit show here."""
        tokens_T = torch.zeros(4, dtype=torch.long, device=self._base.device)
        positions_T = torch.arange(4, device=self._base.device)
        last_S, weights_S = positions_T[-1:], torch.ones(1, device=self._base.device)
        batch = MicroBatch(
            tokens_T=tokens_T,
            positions_T=positions_T,
            segments=[Segment(0, 4)],
            adapter_tokens={self.name: slice(0, 4)},
            supervised_S=last_S,
            labels_S=last_S,
            weights_S=weights_S,
            rows_S=torch.zeros_like(last_S),
        )
        self._decoder.hidden(batch, {self.name: {}})

    @property
    def decoder(self) -> TextDecoder:
        return self._decoder

    def low_ranks(self, _lane: int = 0, /) -> Mapping[str, LowRank]:
        return {}

    @property
    def plain_model(self) -> PeftModel:
        return self._model

    @property
    def target_modules(self) -> list[str]:
        return target_names(self._model.peft_config[PEFT_NAME])

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the published base."""
        self.parameters.refresh()
        save_adapter(self._model, self._base.entry, folder)


def _tree_with_own_config(model: nn.Module) -> Any:
    """A tree whose attention can be chosen while others compute with the model."""
    tree = own_tree(model)
    copies: dict[int, Any] = {}
    copy.deepcopy(model.config, copies)
    for module in tree.modules():
        if module._modules and id(getattr(module, "config", None)) in copies:
            module.config = copies[id(module.config)]
    return tree


def _make_copy(parameter: nn.Parameter, place: Place, parameters: FlatParameters) -> None:
    """Let the values follow the flat ones in the type that is computed in; the gradient adds up in fp32."""
    parameter.data = place.of(parameters.low)
    gradient = place.of(parameters.gradient)

    def add(computed: Tensor) -> None:
        if computed.grad is not None:
            gradient.add_(computed.grad)
        computed.grad = None

    parameter.register_post_accumulate_grad_hook(add)
