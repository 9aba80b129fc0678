"""Low-rank adapters, which train in a cohort: PEFT makes, names and saves them; the engine trains them."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

import structlog
import torch
from peft import LoraConfig, PeftModel
from torch import nn

from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter, invocation_of
from worker.engine.adapters.adapter import InitialValues
from worker.engine.adapters.dora import MAGNITUDE, DoraLayer, dora_factoring
from worker.engine.adapters.dora import PARAMETERS as DORA_PARAMETERS
from worker.engine.adapters.dynamic_rank import DynamicRank
from worker.engine.adapters.lora_config import lora_config
from worker.engine.adapters.modules.own_tree import own_tree
from worker.engine.adapters.modules.template import attach_from_template, keep_template
from worker.engine.adapters.peft_targets import peft_targets
from worker.engine.adapters.rank_budget import PARAMETERS as ADALORA_PARAMETERS
from worker.engine.adapters.rank_budget import (
    RankBudget,
    adalora_factoring,
    refuse_schedule,
    with_removed_ranks,
)
from worker.engine.adapters.refusals import refuse_other_adapter, refuse_unknown_tokens, refused_by_peft
from worker.engine.adapters.residual import (
    doubled_rank_config,
    initialise_from_weight,
    residual_factoring,
    without_residual,
)
from worker.engine.adapters.saving import (
    IN_FILE,
    PEFT_NAME,
    parameters_of,
    save_adapter,
    save_files,
    target_names,
)
from worker.engine.adapters.sizes import with_redistributed_ranks
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.dropout import salt_of
from worker.engine.decoders.targets import Groups, not_adaptable, resolve_experts
from worker.engine.decoders.text_decoder import TextDecoder
from worker.engine.kernels.lora_layers import adapted, add_low_rank
from worker.engine.kernels.projection import LowRank, ProjectionFactors, Share, project
from worker.engine.parameters.factoring import Factoring
from worker.engine.parameters.flat import Extent, FlatParameters, extents_of
from worker.engine.parameters.flat_views import make_view

LORA_PARAMETERS = ("lora_A", "lora_B")
RANK_COUNT_EPSILON = 1e-5  # PEFT adds it to the number of ranks, which keeps AdaLoRA's scale finite

log = structlog.get_logger()


class TrainableAdapter:
    """A low-rank adapter, which shares the base model's decoder with the adapters of other jobs.

    PEFT attaches it to a copy of the tree of modules (`own_tree`), and the base model stays as it is. PEFT's
    parameters become views of one flat tensor: first every A, with the A of one group side by side, then
    every B. AdaLoRA's e stand between the two. The factors that follow from the parameters lie in the same
    order.
    """

    def __init__(
        self,
        base: ResidentBase,
        name: str,
        spec: LowRankAdapter,
        seed: int,
        total_steps: int = 1,
        initial: InitialValues | None = None,
    ) -> None:
        """Attach the adapter. AdaLoRA reduces the number of ranks within `total_steps`.

        Some initialisations need `initial`, the first values of the parameters. Raises JobError if a target
        cannot be trained, or if PEFT refuses the options.
        """
        assert initial is not None or not _needs_initial_values(spec)
        resolve_experts(spec, base.decoder.experts)  # refuses an initialisation that experts cannot have
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
            self._model = self._attach(initial or {})
            self._layers = self._lora_layers(self._model)
            self._initialise(initial or {})
        self.parameters = self._take_parameters()
        self._low_ranks = [self._factors_of(lane) for lane in range(base.lanes.count)]

    def _attach(self, initial: InitialValues) -> PeftModel:
        """Put PEFT's adapter on a tree of modules of its own. Raises JobError if PEFT refuses."""
        spec = _as_attached(self.spec, initial, self._base.decoder.groups)
        attached = attach_from_template(self._base, spec)
        if attached is None:
            attached = self._attached_by_peft(spec)
            self._refuse_other_parameters(attached)
            keep_template(self._base, spec, attached)
        return attached

    def _attached_by_peft(self, spec: LowRankAdapter) -> PeftModel:
        groups = self._base.decoder.groups
        refuse_unknown_tokens(self._base.model, invocation_of(spec), "adapter.alora_invocation_tokens")
        modules, parameters = peft_targets(self._base, spec)
        try:
            config = lora_config(spec, modules, self._total_steps, parameters)
            # PEFT need not make each parameter fp32, since all come into one tensor in fp32
            return PeftModel(
                own_tree(self._base.model), config, adapter_name=PEFT_NAME, autocast_adapter_dtype=False
            )
        except ValueError as error:
            log.warning("peft_refuses", job=self.name, reason=str(error))
            if _is_about_modules(error):
                raise not_adaptable("Some module", groups) from error
            raise refused_by_peft(spec, error) from error

    def _lora_layers(self, attached: PeftModel) -> dict[str, dict[str, Any]]:
        """Return PEFT's layers, by the name of their group of projections and by their own name.

        Experts have a group for each of their weights. PEFT puts one layer around another there.
        """
        model = attached.get_base_model()
        found = {}
        for group_name, group in self._base.decoder.groups.items():
            layers = {module: model.get_submodule(module) for module in group.columns}
            adapted = {module: layer for module, layer in layers.items() if hasattr(layer, "lora_A")}
            if adapted:
                found[group_name] = adapted
        for experts in dict.fromkeys(name.rpartition(".")[0] for name in self._base.decoder.experts):
            module, layer = experts, model.get_submodule(experts)
            while hasattr(layer, "parameter_name"):
                found[f"{experts}.{layer.parameter_name}"] = {module: layer}
                module, layer = f"{module}.base_layer", layer.base_layer
        return found

    def _initialise(self, initial: InitialValues) -> None:
        """Give each layer its values in `initial`, or those that PEFT takes from the weights.

        Other layers keep the values that PEFT gave them when it attached the adapter.
        """
        for layers in self._layers.values():
            for module, layer in layers.items():
                if f"{module}.lora_A" in initial:
                    _set_parameters(initial, module, layer)
                elif _begins_with_weights(self.spec):
                    initialise_from_weight(module, layer, PEFT_NAME, str(self.spec.init_lora_weights))

    def _take_parameters(self) -> FlatParameters:
        """Make PEFT's parameters views of one flat tensor, and return it with the factors that follow."""
        parameters = self._trained(self._layers)
        extents = extents_of(parameters)
        values = torch.cat([parameter.data.flatten() for parameter in parameters.values()]).float()
        self._factoring = self._factoring_of(extents, values)
        factors, kept = self._factoring.factors, self._factoring.kept
        flat = FlatParameters(values, self._base.dtype, self._base.lanes.count, extents, factors, kept)
        for name, parameter in parameters.items():
            make_view(parameter, extents[name], flat)
        return flat

    def _factoring_of(self, extents: Mapping[str, Extent], values: torch.Tensor) -> Factoring:
        """Return the map from the parameters to the factors; DoRA sets its magnitudes in `values`."""
        if isinstance(self.spec, AdaLoraAdapter):
            self.rank_budget = RankBudget(self.spec, extents, values.float(), self._total_steps)
            return dataclasses.replace(adalora_factoring(extents), kept=self.rank_budget.kept)
        if _begins_with_weights(self.spec):
            return residual_factoring(extents, values.float().clone())
        if _has_magnitudes(self.spec):
            layers = {
                module: DoraLayer.of(layer.get_base_layer(), _scale(layer))
                for group in self._layers.values()
                for module, layer in group.items()
            }
            return dora_factoring(extents, values, layers)
        if self.dynamic_rank is not None:
            return self.dynamic_rank.factoring(extents)
        return Factoring(extents)

    def _trained(self, layers: Mapping[str, Mapping[str, Any]]) -> dict[str, nn.Parameter]:
        """Return the parameters of PEFT's layers in the order in which the flat tensor holds them."""
        return {
            f"{module}.{name}": _parameter(getattr(layer, name)[PEFT_NAME])
            for name in _parameter_names(self.spec)
            for group in layers.values()
            for module, layer in group.items()
        }

    def _refuse_other_parameters(self, attached: PeftModel) -> None:
        """Raise JobError if PEFT made parameters that the engine would not train."""
        ours = {id(parameter) for parameter in self._trained(self._lora_layers(attached)).values()}
        for name, parameter in attached.get_base_model().named_parameters():
            if "lora_" in name and id(parameter) not in ours:
                raise not_adaptable(name.split(".lora_")[0], self._base.decoder.groups)

    def _factors_of(self, lane: int) -> dict[str, LowRank]:
        """Return the factors by the name of their group of projections, with the lane's gradient."""
        columns = {name: group.columns for name, group in self._base.decoder.groups.items()}
        return {
            name: self._low_rank(layers, columns.get(name) or dict.fromkeys(layers, slice(None)), lane)
            for name, layers in self._layers.items()
        }

    def _low_rank(self, layers: Mapping[str, Any], columns: Mapping[str, slice], lane: int) -> LowRank:
        """Return the factors of one group, whose A lie side by side in the flat tensor."""
        extents, projections, ranks = self._factoring.extents, [], 0
        for module, layer in layers.items():
            rank = extents[f"{module}.lora_A"].shape[0]
            B = extents[f"{module}.lora_B"]
            gain, bias_N = extents.get(f"{module}.{MAGNITUDE}"), getattr(layer.get_base_layer(), "bias", None)
            own = slice(ranks, ranks + rank)
            projections.append(
                ProjectionFactors(columns[module], own, B, _scale(layer), salt_of(module), gain, bias_N)
            )
            ranks += rank
        first = extents[f"{next(iter(layers))}.lora_A"]
        A = Extent(first.start, (ranks, first.shape[1]))
        is_invoked = bool(self.invocation)
        return LowRank(self.parameters, A, projections, lane, self.spec.lora_dropout, is_invoked)

    @property
    def invocation(self) -> Sequence[int]:
        """The tokens from which on the adapter acts in a row; none if it acts on all tokens."""
        return invocation_of(self.spec)

    @property
    def decoder(self) -> TextDecoder:
        return self._base.decoder

    def low_ranks(self, lane: int = 0) -> Mapping[str, LowRank]:
        """Return the factors by the name of their group of projections, with the lane's gradient."""
        return self._low_ranks[lane]

    @contextmanager
    def answering(self) -> Iterator[Any]:
        """Yield the base model; inside the block, its own modules add the factors.

        Of an adapter that is invoked, yield PEFT's model, which can tell on which tokens it acts.
        """
        if self.invocation:
            yield self._model
            return
        model: Any = self._base.model
        with adapted(model, self._shares, add_low_rank, project):
            yield model

    @cached_property
    def _shares(self) -> dict[str, list[Share]]:
        """The shares of the adapted layers and experts, by their names. All tokens have the adapter."""
        return {
            group if group in self._base.decoder.experts else module: [
                Share(slice(None), low_rank.alone(projection))
            ]
            for group, low_rank in self.low_ranks().items()
            for module, projection in zip(self._layers[group], low_rank.projections, strict=True)
        }

    def _rank_pattern(self) -> dict[str, list[bool]] | None:
        """Return which of AdaLoRA's ranks are left, by PEFT's names of their e; None if all are left.

        Before the first update, every e is 0 although all ranks are left.
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

    @property
    def target_parameters(self) -> list[str]:
        return sorted(self.config.target_parameters or ())

    @torch.no_grad()
    def load(self, published: Mapping[str, torch.Tensor]) -> None:
        """Take the values of an adapter with the same options from the tensors that `save` has written.

        Raises JobError if they are those of another adapter.
        """
        own, first = self.parameters.named(self.parameters.master), dict[str, torch.Tensor]()
        values = parameters_of(published)
        if _begins_with_weights(self.spec):
            values, first = without_residual(values)
        elif self.rank_budget is not None:
            values = with_removed_ranks(values, own)
        refuse_other_adapter(own, values)
        for name, part in own.items():
            part.copy_(values[name])
        for name, part in first.items():
            self.parameters.kept[f"first.{name}"].copy_(part)

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the base model."""
        if self.rank_budget is not None:
            self.config.rank_pattern = self._rank_pattern()  # so that PEFT leaves out the masked ranks
        if _begins_with_weights(self.spec):
            save_files(doubled_rank_config(self.config), self._plain_tensors(), self._base.entry, folder)
        else:
            save_adapter(self._model, self._base.entry, folder)

    def _plain_tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors of the plain LoRA of twice the rank that is saved, by PEFT's names."""
        factors = self.parameters.factors().detach()
        return {
            f"{IN_FILE}{name}.weight": extent.of(factors) for name, extent in self._factoring.extents.items()
        }


def _as_attached(spec: LowRankAdapter, initial: InitialValues, groups: Groups) -> LowRankAdapter:
    """Return the options with which PEFT neither changes the base's weights nor asks for rows.

    PEFT attaches the adapter with these options, and the adapter gets its initial values afterwards.
    """
    if not (_begins_with_weights(spec) or _needs_initial_values(spec)):
        return spec
    if spec.init_lora_weights == "eva":
        spec = with_redistributed_ranks(spec, initial, groups)
    configs = dict.fromkeys(("eva_config", "corda_config", "lora_ga_config"))
    return spec.model_copy(update={"init_lora_weights": True, **configs})


def _begins_with_weights(spec: LowRankAdapter) -> TypeGuard[LoraAdapter]:
    return isinstance(spec, LoraAdapter) and spec.begins_with_weights


def _has_magnitudes(spec: LowRankAdapter) -> bool:
    return isinstance(spec, LoraAdapter) and spec.use_dora


def _parameter_names(spec: LowRankAdapter) -> Sequence[str]:
    """Return PEFT's names of a layer's parameters, in the order in which the flat tensor holds them."""
    if isinstance(spec, AdaLoraAdapter):
        return ADALORA_PARAMETERS
    return DORA_PARAMETERS if _has_magnitudes(spec) else LORA_PARAMETERS


def _is_about_modules(error: ValueError) -> bool:
    """Return whether PEFT refuses the targets, by its message: all refusals have the same type."""
    return re.search("target[_ ]module", str(error), re.IGNORECASE) is not None


def _needs_initial_values(spec: LowRankAdapter) -> TypeGuard[LoraAdapter]:
    return isinstance(spec, LoraAdapter) and spec.needs_initial_values


def _set_parameters(initial: InitialValues, module: str, layer: Any) -> None:
    """Set those of the layer's parameters that have a value in `initial`."""
    for name in LORA_PARAMETERS:
        if (values := initial.get(f"{module}.{name}")) is not None:
            parameter = _parameter(getattr(layer, name)[PEFT_NAME])
            parameter.data = values.to(parameter)


def _parameter(held: Any) -> nn.Parameter:
    """Return the parameter that PEFT's layer holds: LoRA holds it in a layer, AdaLoRA as it is."""
    found: nn.Parameter = held if isinstance(held, nn.Parameter) else held.weight
    return found


def _scale(layer: Any) -> float:
    """Return the factor that multiplies the update; PEFT divides AdaLoRA's factor by the number of ranks."""
    scale = float(layer.scaling[PEFT_NAME])
    if not hasattr(layer, "ranknum"):
        return scale
    return scale / (float(layer.ranknum[PEFT_NAME].detach()) + RANK_COUNT_EPSILON)
