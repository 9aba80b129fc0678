"""Adapters of a cohort on the resident base: PEFT makes, names and saves them; the engine trains them."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.artifacts import DamagedArtifact
from core.errors import JobError
from core.jobspec import LoraAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.projection import FlatParameters, LowRank, Part, Place

WEIGHTS_NAME = "adapter_model.safetensors"


class TrainableAdapter:
    """One job's adapter, attached to the base model under `name`.

    PEFT's parameters become views of one flat tensor, in which the A of one group lie side by side.
    """

    def __init__(self, base: ResidentBase, name: str, spec: LoraAdapter, seed: int) -> None:
        self.name = name
        self._base = base
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = self._attach(spec)
        try:
            self._take_parameters(base)
        except BaseException:
            self.detach()
            raise

    def _attach(self, spec: LoraAdapter) -> PeftModel:
        try:
            return self._base.attach(self.name, lora_config(spec, _targets(self._base, spec)))
        except ValueError as error:
            raise self._refusal(", ".join(self._strange(spec)) or "Some module") from error

    def _strange(self, spec: LoraAdapter) -> list[str]:
        """The targets that name nothing which the engine can train."""
        targets = [] if spec.target_modules == "all-linear" else spec.target_modules
        known = [f".{module}" for module in _adaptable(self._base)]
        return [one for one in targets if not any(module.endswith(f".{one}") for module in known)]

    def _take_parameters(self, base: ResidentBase) -> None:
        """Make PEFT's parameters views of one tensor. Raises JobError where one cannot be trained."""
        name = self.name
        modules = dict(self._lora_modules())
        targets = [
            (group_name, {module: columns for module, columns in group.columns.items() if module in modules})
            for group_name, group in base.decoder.groups.items()
        ]
        ordered = [
            parameter
            for _, columns in targets
            for part in ("lora_A", "lora_B")
            for parameter in (getattr(modules[module], part)[name].weight for module in columns)
        ]
        self._refuse_others(ordered)
        lanes = range(base.lanes.count)
        self.parameters = FlatParameters(
            torch.cat([p.data.flatten() for p in ordered]), base.dtype, len(lanes)
        )
        self._low_ranks: list[dict[str, LowRank]] = [{} for _ in lanes]
        start = 0
        for group_name, columns in targets:
            if columns:
                layers = [modules[module] for module in columns]
                A, parts = self._place(start, layers, list(columns.values()))
                for lane in lanes:
                    self._low_ranks[lane][group_name] = LowRank(self.parameters, A, parts, lane)
                start = parts[-1].B.stop

    def low_ranks(self, lane: int = 0) -> Mapping[str, LowRank]:
        """The factors by the name of their group of projections, with the lane's gradient."""
        return self._low_ranks[lane]

    @property
    def config(self) -> LoraConfig:
        return self._model.peft_config[self.name]

    def save(self, folder: Path) -> None:
        """Write PEFT's adapter_model.safetensors and adapter_config.json, which name the published base."""
        config = copy.deepcopy(self.config)
        config.base_model_name_or_path = self._base.entry.repository
        config.revision = self._base.entry.revision
        config.target_modules = sorted(config.target_modules)
        config.inference_mode = True
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(str(folder))
        state = {name: tensor.contiguous() for name, tensor in self.state().items()}
        save_file(state, folder / WEIGHTS_NAME, metadata={"format": "pt"})

    def load(self, weights: Path) -> None:
        """Take over saved weights, in place. Raises DamagedArtifact where they are not all this adapter's."""
        saved = load_file(weights)
        others = sorted(saved.keys() ^ self.state().keys())
        if others:
            raise DamagedArtifact(f"its tensors are not this adapter's: {', '.join(others[:3])}")
        set_peft_model_state_dict(self._model, saved, adapter_name=self.name)

    def state(self) -> dict[str, Tensor]:
        return get_peft_model_state_dict(self._model, adapter_name=self.name, save_embedding_layers=False)

    def detach(self) -> None:
        """Take the adapter off the base model."""
        self._base.detach(self.name)

    def _place(self, start: int, layers: Sequence[Any], columns: Sequence[slice]) -> tuple[Place, list[Part]]:
        """A group's factors in the flat tensor, from `start`: first every A, then every B."""
        ranks, parts = 0, []
        As = [layer.lora_A[self.name].weight for layer in layers]
        A = Place(start, (sum(a.shape[0] for a in As), As[0].shape[1]))
        place = A.stop
        for layer, a, output in zip(layers, As, columns, strict=True):
            b = layer.lora_B[self.name].weight
            _make_view(a, Place(start + ranks * a.shape[1], tuple(a.shape)), self.parameters)
            B = Place(place, tuple(b.shape))
            _make_view(b, B, self.parameters)
            parts.append(Part(output, slice(ranks, ranks + a.shape[0]), B, float(layer.scaling[self.name])))
            ranks, place = ranks + a.shape[0], B.stop
        return A, parts

    def _refuse_others(self, known: Sequence[nn.Parameter]) -> None:
        """Raises JobError where PEFT made parameters that the engine would not train."""
        ours = {id(parameter) for parameter in known}
        for name, parameter in self._base.model.named_parameters():
            if self.name in name.split(".") and id(parameter) not in ours:
                raise self._refusal(name.split(".lora_")[0])

    def _refusal(self, what: str) -> JobError:
        choices = sorted({module.rpartition(".")[2] for module in _adaptable(self._base)})
        message = f"{what} cannot be adapted; name target_modules among {', '.join(choices)}."
        return JobError("invalid_adapter", message, "adapter.target_modules")

    def _lora_modules(self) -> Iterator[tuple[str, Any]]:
        for module_name, module in self._base.model.named_modules():
            if self.name in getattr(module, "lora_A", {}):
                yield module_name, module


def lora_config(spec: LoraAdapter, target_modules: Literal["all-linear"] | list[str]) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=target_modules,
        use_rslora=spec.use_rslora,
        init_lora_weights=spec.init_lora_weights,
        bias="none",
    )


def _targets(base: ResidentBase, spec: LoraAdapter) -> Literal["all-linear"] | list[str]:
    """What PEFT is asked for: in models that see or hear too, the text part's layers by their full names."""
    wanted = spec.target_modules
    if base.text_only:
        return wanted
    layers = _adaptable(base)
    if wanted == "all-linear":
        return layers
    return [layer for layer in layers if layer.rpartition(".")[2] in wanted] or wanted


def _adaptable(base: ResidentBase) -> list[str]:
    """The modules that the engine can train an adapter on, by their full names."""
    return [module for group in base.decoder.groups.values() for module in group.columns]


def adapter_name(job_id: str) -> str:
    """A name that PyTorch takes as a module's."""
    return re.sub(r"\W", "_", job_id)


def _make_view(parameter: nn.Parameter, place: Place, parameters: FlatParameters) -> None:
    parameter.data = place.of(parameters.master.detach())
    parameter.grad = place.of(parameters.gradient)
    parameter.requires_grad_(True)
