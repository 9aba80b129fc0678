"""Adapters of a cohort on the resident base: PEFT makes, names and saves them; the engine trains them."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.errors import JobError
from core.jobspec import LoraAdapter
from worker.engine.base_model import ResidentBase
from worker.engine.decoder import Factors

WEIGHTS_NAME = "adapter_model.safetensors"


class TrainableAdapter:
    """One job's adapter, attached to the base model under `name`.

    All its parameters are views of one flat fp32 tensor, and their gradients of another, so that clipping and
    the optimizer touch two tensors instead of hundreds.
    """

    def __init__(self, base: ResidentBase, name: str, spec: LoraAdapter, seed: int) -> None:
        self.name = name
        self._base = base
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = _attach(base, name, lora_config(spec))
        self._parameters = dict(self._named_parameters())
        self.flat = torch.cat([p.data.flatten().float() for p in self._parameters.values()])
        self.flat.grad = torch.zeros_like(self.flat)
        _make_views(self.flat, self._parameters)
        self.factors = dict(self._collect_factors())

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
        """Take over saved weights, in place."""
        outcome = set_peft_model_state_dict(self._model, load_file(weights), adapter_name=self.name)
        if outcome.unexpected_keys:
            raise JobError(
                "damaged_checkpoint", f"The checkpoint holds other tensors: {outcome.unexpected_keys[:3]}"
            )

    def state(self) -> dict[str, Tensor]:
        return get_peft_model_state_dict(self._model, adapter_name=self.name, save_embedding_layers=False)

    def detach(self) -> None:
        """Take the adapter off the base model."""
        self._base.detach(self.name)

    def _named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for module_name, module in self._lora_modules():
            for part in ("lora_A", "lora_B"):
                yield f"{module_name}.{part}", getattr(module, part)[self.name].weight

    def _collect_factors(self) -> Iterator[tuple[str, Factors]]:
        for module_name, module in self._lora_modules():
            A, B = module.lora_A[self.name].weight, module.lora_B[self.name].weight
            yield module_name, Factors(A, B, float(module.scaling[self.name]))

    def _lora_modules(self) -> Iterator[tuple[str, Any]]:
        for module_name, module in self._base.model.named_modules():
            if self.name in getattr(module, "lora_A", {}):
                yield module_name, module


def lora_config(spec: LoraAdapter) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=spec.r,
        lora_alpha=spec.lora_alpha,
        lora_dropout=spec.lora_dropout,
        target_modules=spec.target_modules,
        use_rslora=spec.use_rslora,
        init_lora_weights=spec.init_lora_weights,
        bias="none",
    )


def adapter_name(job_id: str) -> str:
    """A name that PyTorch takes as a module's."""
    return re.sub(r"\W", "_", job_id)


def _attach(base: ResidentBase, name: str, config: LoraConfig) -> PeftModel:
    try:
        return base.attach(name, config)
    except ValueError as error:
        raise JobError("invalid_adapter", f"PEFT refuses the adapter: {error}", "adapter") from error


def _make_views(flat: Tensor, parameters: dict[str, nn.Parameter]) -> None:
    assert flat.grad is not None
    start = 0
    for parameter in parameters.values():
        view = slice(start, start + parameter.numel())
        parameter.data = flat[view].view(parameter.shape)
        parameter.grad = flat.grad[view].view(parameter.shape)
        parameter.requires_grad_(True)
        start += parameter.numel()
