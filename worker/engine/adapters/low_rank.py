"""Adapters of a cohort on the resident base: PEFT makes, names and saves them; the engine trains them."""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard

import structlog
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel
from torch import nn

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from worker.engine.adapters.adapter import Beginning, Generate
from worker.engine.adapters.dora import MAGNITUDE, Layer, with_magnitudes
from worker.engine.adapters.dora import PARTS as DORA_PARTS
from worker.engine.adapters.dynamic_rank import DynamicRank
from worker.engine.adapters.modules.own_tree import own_tree
from worker.engine.adapters.rank_budget import PARTS, RankBudget, refuse_schedule, scaled_by_e
from worker.engine.adapters.residual import doubling, initialise, plain_config
from worker.engine.adapters.saving import PEFT_NAME, save_adapter, save_files, target_names
from worker.engine.adapters.sizes import redistributed
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.targets import Groups, Targets, chosen, refusal, refused_by_peft
from worker.engine.base.text_decoder import TextDecoder
from worker.engine.batch.dropout import salt_of
from worker.engine.kernels.lora_layers import adapted, add_low_rank
from worker.engine.kernels.projection import LowRank, Part, Share
from worker.engine.parameters.factoring import Factoring
from worker.engine.parameters.flat import FlatParameters, Place, places_of
from worker.engine.parameters.flat_views import make_view

EPS_OF_RANKS = 1e-5  # PEFT's, by which it keeps AdaLoRA's scale finite
FACTORS = ("lora_A", "lora_B")

log = structlog.get_logger()


class TrainableAdapter:
    """One job's adapter. PEFT attaches it to a tree of its own, and the base model stays as it is.

    PEFT's parameters become views of one flat tensor: first every A, those of one group side by side, then
    every B. So do the factors that follow from them. AdaLoRA's e stand between.
    """

    def __init__(
        self,
        base: ResidentBase,
        name: str,
        spec: LowRankAdapter,
        seed: int,
        total_steps: int = 1,
        first: Beginning | None = None,
    ) -> None:
        """Raises JobError where a target cannot be trained. AdaLoRA's ranks fall in the job's steps.

        Parameters begin with their values in `first`, which some initialisations need.
        """
        assert first is not None or not _needs_a_beginning(spec)
        self.name = name
        self._base = base
        self.spec = spec
        self.rank_budget: RankBudget | None = None
        self.dynamic_rank: DynamicRank | None = None
        if isinstance(spec, LoraAdapter) and spec.dynamic_rank:
            self.dynamic_rank = DynamicRank(spec, seed)
        self._total_steps = total_steps
        if isinstance(spec, AdaLoraAdapter):
            refuse_schedule(spec, total_steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = self._attach(first or {})
            self._layers = self._lora_layers()
            self._begin(first or {})
        self.parameters = self._take_parameters()
        self._low_ranks = [self._factors_of(lane) for lane in range(base.lanes.count)]

    def _attach(self, first: Beginning) -> PeftModel:
        groups = self._base.decoder.groups
        spec = _as_attached(self.spec, first, groups)
        modules = chosen(spec.target_modules, groups)
        asked = spec.target_modules if self._base.text_only else modules
        try:
            config = peft_config(spec, asked, self._total_steps)
            return PeftModel(own_tree(self._base.model), config, adapter_name=PEFT_NAME)
        except ValueError as error:
            log.warning("peft_refuses", job=self.name, reason=str(error))
            if _is_about_modules(error):
                raise refusal("Some module", groups) from error
            raise refused_by_peft(spec, error) from error

    def _lora_layers(self) -> dict[str, dict[str, Any]]:
        """PEFT's layers by the name of their group of projections and by their own."""
        model = self._model.get_base_model()
        found = {}
        for group_name, group in self._base.decoder.groups.items():
            layers = {module: model.get_submodule(module) for module in group.columns}
            adapted = {module: layer for module, layer in layers.items() if hasattr(layer, "lora_A")}
            if adapted:
                found[group_name] = adapted
        return found

    def _begin(self, first: Beginning) -> None:
        """With the values in `first`, else with those that PEFT finds in the weights, if in any."""
        for layers in self._layers.values():
            for module, layer in layers.items():
                if f"{module}.lora_A" in first:
                    _begin_with(first, module, layer)
                elif _begins_with_weights(self.spec):
                    initialise(module, layer, PEFT_NAME, str(self.spec.init_lora_weights))

    def _take_parameters(self) -> FlatParameters:
        """PEFT's parameters, made views of one tensor."""
        parameters = {
            f"{module}.{factor}": _parameter(getattr(layer, factor)[PEFT_NAME])
            for factor in _parts(self.spec)
            for layers in self._layers.values()
            for module, layer in layers.items()
        }
        places = places_of(parameters)
        self._refuse_others(parameters.values())
        values = torch.cat([parameter.data.flatten().float() for parameter in parameters.values()])
        self._factoring = self._factoring_of(places, values)
        factors, kept = self._factoring.factors, self._factoring.kept
        flat = FlatParameters(values, self._base.dtype, self._base.lanes.count, places, factors, kept)
        for name, parameter in parameters.items():
            make_view(parameter, places[name], flat)
        return flat

    def _factoring_of(self, places: Mapping[str, Place], values: torch.Tensor) -> Factoring:
        if isinstance(self.spec, AdaLoraAdapter):
            self.rank_budget = RankBudget(self.spec, places, values.float(), self._total_steps)
            return dataclasses.replace(scaled_by_e(places), kept=self.rank_budget.kept)
        if _begins_with_weights(self.spec):
            return doubling(places, values.float().clone())
        if _has_magnitudes(self.spec):
            layers = {
                module: Layer.of(layer.get_base_layer(), _scale(layer))
                for group in self._layers.values()
                for module, layer in group.items()
            }
            return with_magnitudes(places, values, layers)
        if self.dynamic_rank is not None:
            return self.dynamic_rank.factoring(places)
        return Factoring(places)

    def _refuse_others(self, known: Iterable[nn.Parameter]) -> None:
        """Raises JobError where PEFT made parameters that the engine would not train."""
        ours = {id(parameter) for parameter in known}
        for name, parameter in self._model.get_base_model().named_parameters():
            if "lora_" in name and id(parameter) not in ours:
                raise refusal(name.split(".lora_")[0], self._base.decoder.groups)

    def _factors_of(self, lane: int) -> dict[str, LowRank]:
        columns = {name: group.columns for name, group in self._base.decoder.groups.items()}
        return {name: self._low_rank(layers, columns[name], lane) for name, layers in self._layers.items()}

    def _low_rank(self, layers: Mapping[str, Any], columns: Mapping[str, slice], lane: int) -> LowRank:
        places, parts, ranks = self._factoring.places, [], 0
        for module, layer in layers.items():
            rank = places[f"{module}.lora_A"].shape[0]
            B = places[f"{module}.lora_B"]
            gain, bias_N = places.get(f"{module}.{MAGNITUDE}"), layer.get_base_layer().bias
            own = slice(ranks, ranks + rank)
            parts.append(Part(columns[module], own, B, _scale(layer), salt_of(module), gain, bias_N))
            ranks += rank
        first = places[f"{next(iter(layers))}.lora_A"]
        A = Place(first.start, (ranks, first.shape[1]))
        return LowRank(self.parameters, A, parts, lane, self.spec.lora_dropout)

    @property
    def decoder(self) -> TextDecoder:
        return self._base.decoder

    def low_ranks(self, lane: int = 0) -> Mapping[str, LowRank]:
        """The factors by the name of their group of projections, with the lane's gradient."""
        return self._low_ranks[lane]

    @contextmanager
    def generating(self) -> Iterator[Generate]:
        """By the base's own modules, to which the factors are added inside."""
        shares = {
            module: [Share(slice(None), low_rank.alone(part))]
            for group, low_rank in self.low_ranks().items()
            for module, part in zip(self._layers[group], low_rank.parts, strict=True)
        }
        model: Any = self._base.model
        with adapted(model, shares, add_low_rank):
            yield model.generate

    def _rank_pattern(self) -> dict[str, list[bool]] | None:
        """AdaLoRA's ranks that are left, by the names that PEFT has for their e; None where all are.

        Before the first update, every e is 0.
        """
        parts = self.parameters.named(self.parameters.master.detach())
        left = {name: (e_R1[:, 0] != 0).tolist() for name, e_R1 in parts.items() if name.endswith("lora_E")}
        masked = any(map(any, left.values())) and not all(map(all, left.values()))
        return left if masked else None

    @property
    def plain_model(self) -> PeftModel:
        """The slow twin: transformers' and PEFT's own computation, with the present parameters."""
        return self._model

    @property
    def config(self) -> LoraConfig:
        return self._model.peft_config[PEFT_NAME]

    @property
    def target_modules(self) -> list[str]:
        return target_names(self.config)

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the published base."""
        if self.rank_budget is not None:
            self.config.rank_pattern = self._rank_pattern()  # by which PEFT leaves out what is masked
        if _begins_with_weights(self.spec):
            save_files(plain_config(self.config), self._plain_tensors(), self._base.entry, folder)
        else:
            save_adapter(self._model, self._base.entry, folder)

    def _plain_tensors(self) -> dict[str, torch.Tensor]:
        """Of what begins with a part of the weights, the plain LoRA that it comes to, by PEFT's names."""
        factors = self.parameters.factors().detach()
        return {
            f"base_model.model.{name}.weight": place.of(factors)
            for name, place in self._factoring.places.items()
        }


def peft_config(spec: LowRankAdapter, target_modules: Targets, total_steps: int) -> LoraConfig:
    """PEFT's configuration of a job's adapter."""
    options = {
        **spec.model_dump(exclude={"type", "target_modules", "dynamic_rank"}),
        "task_type": "CAUSAL_LM",
        "target_modules": target_modules,
        "bias": "none",
    }
    if isinstance(spec, AdaLoraAdapter):
        return AdaLoraConfig(total_step=total_steps, **options)
    return LoraConfig(**options)


def _as_attached(spec: LowRankAdapter, first: Beginning, groups: Groups) -> LowRankAdapter:
    """What PEFT attaches without touching the base's weights, nor asking for rows."""
    if not (_begins_with_weights(spec) or _needs_a_beginning(spec)):
        return spec
    if spec.init_lora_weights == "eva":
        spec = redistributed(spec, first, groups)
    return spec.model_copy(update={"init_lora_weights": True, "eva_config": None, "corda_config": None})


def _begins_with_weights(spec: LowRankAdapter) -> TypeGuard[LoraAdapter]:
    return isinstance(spec, LoraAdapter) and spec.begins_with_weights


def _has_magnitudes(spec: LowRankAdapter) -> bool:
    return isinstance(spec, LoraAdapter) and spec.use_dora


def _parts(spec: LowRankAdapter) -> Sequence[str]:
    if isinstance(spec, AdaLoraAdapter):
        return PARTS
    return DORA_PARTS if _has_magnitudes(spec) else FACTORS


def _is_about_modules(error: ValueError) -> bool:
    """PEFT raises the same type for all that it refuses."""
    return re.search("target[_ ]module", str(error), re.IGNORECASE) is not None


def _needs_a_beginning(spec: LowRankAdapter) -> TypeGuard[LoraAdapter]:
    return isinstance(spec, LoraAdapter) and spec.needs_a_beginning


def _begin_with(first: Beginning, module: str, layer: Any) -> None:
    """Let the layer's factors have their values in `first`, as far as it has any."""
    for factor in PARTS:
        if (values := first.get(f"{module}.{factor}")) is not None:
            parameter = _parameter(getattr(layer, factor)[PEFT_NAME])
            parameter.data = values.to(parameter)


def _parameter(part: Any) -> nn.Parameter:
    """LoRA's factors are layers, AdaLoRA's are parameters."""
    found: nn.Parameter = part if isinstance(part, nn.Parameter) else part.weight
    return found


def _scale(layer: Any) -> float:
    scale = float(layer.scaling[PEFT_NAME])
    return (
        scale / (float(layer.ranknum[PEFT_NAME].detach()) + EPS_OF_RANKS)
        if hasattr(layer, "ranknum")
        else scale
    )
