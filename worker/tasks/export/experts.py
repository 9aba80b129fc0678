"""The factors of experts as runtimes take them: a pair for each matrix of each expert.

PEFT keeps the factors of all experts of a layer in one A and one B. vLLM, SGLang and llama.cpp load one pair
for each of an expert's projections, by the names of the original checkpoints.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from worker.engine.base.transformers_class import described_model
from worker.engine.kernels.experts.modules import experts_in, parameter_names
from worker.engine.sampler.adapters.check import (
    CONFIG_NAME,
    AdapterRefused,
    read_config,
    special_option,
    target_parameters_in,
)
from worker.engine.sampler.adapters.files import scale_in
from worker.engine.sampler.adapters.parameters import layers_of_experts
from worker.engine.sampler.adapters.plain_lora import ScaledFactors, read_pairs, scaled
from worker.tasks.export.source import Source

# Original checkpoints may name the module, and gate, up and down, in another way than transformers
ORIGINAL = {"mixtral": (".mlp.experts", ".block_sparse_moe.experts", ("w1", "w3", "w2"))}
USUAL = "gate_proj", "up_proj", "down_proj"


def changes_experts(source: Source) -> bool:
    """Return whether the adapter changes experts: PEFT names their weights as parameters."""
    config = source.folder / CONFIG_NAME
    return config.exists() and bool(read_config(config).get("target_parameters"))


def read_by_expert(source: Source) -> Mapping[str, ScaledFactors]:
    """Return the factors of each layer and of each expert's matrices, by their names in checkpoints.

    Raises AdapterRefused for an adapter that is more than a LoRA, and for damaged files.
    """
    config = read_config(source.folder / CONFIG_NAME)
    if (special := special_option({**config, "target_parameters": None})) is not None:
        raise AdapterRefused(special)
    pairs = read_pairs(source.folder)
    layers: dict[str, ScaledFactors] = {}
    model = described_model(source.base_folder)
    weights = [
        f"{module}.{each}" for module, found in experts_in(model).items() for each in parameter_names(found)
    ]
    for layer, weight in layers_of_experts(weights, target_parameters_in(config)).items():
        if (pair := pairs.pop(layer, None)) is None:
            continue
        module, _, parameter = weight.rpartition(".")
        experts: Any = model.get_submodule(module)
        scale = scale_in(config, weight, len(pair["lora_A"]) // experts.num_experts)
        original = ORIGINAL.get(source.config.model_type, ("", "", USUAL))
        for name, factors in _each_matrix(experts, parameter, pair, scale, original[2]):
            layers[f"{module.replace(*original[:2])}.{name}"] = factors
    for module, pair in pairs.items():
        if not isinstance(model.get_submodule(module), nn.Linear):
            raise AdapterRefused(f"it changes {module}, whose weights are no matrix")
        layers[module] = scaled(config, module, pair)
    return layers


def _each_matrix(
    experts: Any, parameter: str, pair: Mapping[str, Tensor], scale: float, names: tuple[str, str, str]
) -> Iterator[tuple[str, ScaledFactors]]:
    """Yield the factors of each expert's matrices, which share their A if they are one parameter."""
    gate, up, down = names
    As_ERK = pair["lora_A"].unflatten(0, (experts.num_experts, -1))
    Bs_ENR = pair["lora_B"].unflatten(1, (-1, experts.num_experts)).permute(2, 0, 1)
    for expert, (A_RK, B_NR) in enumerate(zip(As_ERK, Bs_ENR, strict=True)):
        parts = {down: B_NR}
        if parameter == "gate_up_proj":
            halves = B_NR.chunk(2) if experts.is_concatenated else (B_NR[::2], B_NR[1::2])
            parts = dict(zip((gate, up), halves, strict=True))
        elif parameter == "up_proj":
            parts = {up: B_NR}
        for name, B in parts.items():
            yield f"{expert}.{name}", ScaledFactors(A_RK, B.contiguous(), scale)
