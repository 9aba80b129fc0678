"""Loads adapters for the sampler from PEFT's two files, or a whole model from transformers' files."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError
from torch import Tensor

from core.methods.targets import is_target
from core.storage.file_names import WEIGHTS_NAME
from worker.engine.adapters.dora import DoraLayer
from worker.engine.adapters.modules.own_tree import tree_with_own_config
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.adapters.sizes import scale
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.loading import load_plain
from worker.engine.kernels.experts.layer import ExpertUpdate
from worker.engine.sampler.adapters.check import (
    CONFIG_NAME,
    INVOCATION,
    TENSOR,
    AdapterRefused,
    check_origin,
    invocation_in,
    read_config,
    read_tensors,
    special_option,
    target_parameters_in,
)
from worker.engine.sampler.adapters.parameters import compute_with_factors, layers_of_experts
from worker.engine.sampler.adapters.served import ServedAdapter, UnpackedProjection, pack_factors


def load_adapter(
    base: ResidentBase,
    folder: Path,
    content_hash: str,
    undisturbed: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> ServedAdapter:
    """Load the adapter in `folder`. Raises AdapterRefused if its files are damaged or do not fit the base.

    What PEFT or transformers build, they build in the context `undisturbed`: meanwhile they draw from torch's
    random numbers, or change its default type.
    """
    if not (folder / CONFIG_NAME).exists() and (folder / "config.json").exists():
        with undisturbed():
            return _load_whole_model(base, folder, content_hash)
    config = read_config(folder / CONFIG_NAME)
    check_origin(config, base.entry.repository)
    tensors = read_tensors(folder / WEIGHTS_NAME)
    why_slow = _why_slow(base, config, tensors)
    if why_slow is None:
        return _load_factors(base, config, tensors, content_hash)
    with undisturbed():
        model = _load_by_peft(base, folder)
    nbytes = sum(tensor.nbytes for tensor in tensors.values())
    return ServedAdapter(content_hash, nbytes, why_slow, model=model, invocation=invocation_in(config))


def _why_slow(base: ResidentBase, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str | None:
    """Return why the fast path does not take the adapter; None if it does."""
    if base.decoder.path == "plain":
        return f"{base.entry.id} has no fast path"
    plain = {**config, INVOCATION: None}
    if base.decoder.experts and not (config.get(INVOCATION) or config.get("use_dora")):
        plain["target_parameters"] = None
    if (special := special_option(plain)) is not None:
        return special
    adaptable = {module for group in base.decoder.groups.values() for module in group.columns}
    adaptable |= _layers_of_experts(base, config).keys()
    for name in tensors:
        if (found := TENSOR.fullmatch(name)) is None or found["module"] not in adaptable:
            return f"it changes {name}"
    return None


def _load_factors(
    base: ResidentBase,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    content_hash: str,
) -> ServedAdapter:
    by_module: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = TENSOR.fullmatch(name)
        assert found is not None
        by_module.setdefault(found["module"], {})[found["parameter"]] = tensor.to(base.device)
    groups = {}
    shapes = projection_shapes(base.model, base.decoder.groups)
    for group_name, group in base.decoder.groups.items():
        projections, end = [], 0
        for module in group.columns:
            inputs, outputs = shapes[module]
            columns, end = slice(end, end + outputs), end + outputs
            if module in by_module:
                projections.append(_projection(base, module, by_module[module], columns, inputs, config))
        if projections:
            groups[group_name] = end, projections
    experts = {
        name: _expert_update(base, name, by_module[layer], config)
        for layer, name in _layers_of_experts(base, config).items()
        if layer in by_module
    }
    if not groups and not experts:
        raise AdapterRefused("The adapter has no weights.")
    factors = pack_factors(groups, base.dtype)
    nbytes = sum(each.nbytes for each in factors.values())
    nbytes += sum(each.nbytes for each in experts.values())
    return ServedAdapter(
        content_hash, nbytes, factors=factors, experts=experts, invocation=invocation_in(config)
    )


def _layers_of_experts(base: ResidentBase, config: Mapping[str, Any]) -> dict[str, str]:
    return layers_of_experts(base.decoder.experts, target_parameters_in(config))


def _projection(
    base: ResidentBase,
    module: str,
    tensors: Mapping[str, Tensor],
    columns: slice,
    inputs: int,
    config: Mapping[str, Any],
) -> UnpackedProjection:
    """Return one projection's factors. Raises AdapterRefused if their shapes do not fit."""
    outputs = columns.stop - columns.start
    A_RK, B_NR = _pair(module, tensors, (outputs, inputs))
    factor = scale_in(config, module, len(A_RK))
    magnitude_N = tensors.get("lora_magnitude_vector")
    if (magnitude_N is not None) != bool(config.get("use_dora")):
        raise AdapterRefused(f"The adapter's DoRA magnitudes of {module} are missing or not declared.")
    if magnitude_N is None:
        return UnpackedProjection(columns, A_RK, B_NR, factor)
    if magnitude_N.numel() != outputs:
        raise AdapterRefused(f"The adapter's magnitudes of {module} do not fit the base model.")
    layer = DoraLayer.of(base.model.get_submodule(module), factor)
    norms_N = layer.norms(A_RK.float(), B_NR.float())
    return UnpackedProjection(columns, A_RK, B_NR, factor, magnitude_N.float().flatten() / norms_N - 1)


def _expert_update(
    base: ResidentBase, name: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> ExpertUpdate:
    """Return the update of one of the experts' weights. Raises AdapterRefused if its shapes do not fit."""
    experts, *shape = base.decoder.experts[name]
    A, B = _pair(name, tensors, shape, experts)
    scale = scale_in(config, name, len(A) // experts)
    return ExpertUpdate.frozen(A.to(base.dtype, copy=True), B.to(base.dtype), experts, scale)


def _pair(
    name: str, tensors: Mapping[str, Tensor], shape: Sequence[int], experts: int = 1
) -> tuple[Tensor, Tensor]:
    """Return A and B of weights of `shape` [N, K]. Raises AdapterRefused if they do not fit."""
    A, B = tensors.get("lora_A"), tensors.get("lora_B")
    if A is None or B is None:
        raise AdapterRefused(f"The adapter has only one of the two factors of {name}.")
    outputs, inputs = shape
    if A.dim() != 2 or A.shape[1] != inputs or B.shape != (outputs, len(A)) or len(A) % experts:
        of_experts = f" of {experts} experts" if experts > 1 else ""
        raise AdapterRefused(
            f"The adapter's factors of {name} have the shapes {list(A.shape)} and {list(B.shape)}, "
            f"which do not fit the base model's [{outputs}, {inputs}]{of_experts}."
        )
    return A, B


def scale_in(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return the factor that PEFT's configuration gives to the product of a module's A and B.

    A pattern means the module's weight instead if this is a target by its own name. Raises AdapterRefused.
    """
    if not rank:
        raise AdapterRefused(f"The adapter's factors of {module} have no ranks.")
    pattern, weight = config.get("alpha_pattern") or {}, f"{module}.weight"
    key = weight if is_target(weight, target_parameters_in(config)) else module
    alpha = pattern.get(get_pattern_key(pattern.keys(), key), config.get("lora_alpha", 8))
    return scale(alpha, rank, bool(config.get("use_rslora")))


def _load_by_peft(base: ResidentBase, folder: Path) -> Any:
    tree = tree_with_own_config(base.model)
    tree.set_attn_implementation(base.own_attention)
    try:
        model = PeftModel.from_pretrained(tree, folder)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        reason = first_line.replace(str(folder), "the adapter")
        raise AdapterRefused(f"PEFT cannot load the adapter on {base.entry.id}: {reason}") from error
    compute_with_factors(tree)
    return model.eval().requires_grad_(False)


def _load_whole_model(base: ResidentBase, folder: Path, content_hash: str) -> ServedAdapter:
    try:
        model = load_plain(folder, base.dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise AdapterRefused("The model's files cannot be read: they are damaged or missing.") from error
    own: Any = base.model
    sizes = {each.config.get_text_config().vocab_size for each in (model, own)}
    if type(model) is not type(own) or len(sizes) > 1:
        raise AdapterRefused(f"The model is not one that was trained from {base.entry.repository}.")
    if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
        raise AdapterRefused("The model's weights hold numbers that are not finite.")
    nbytes = sum(parameter.nbytes for parameter in model.parameters())
    model = model.to(base.device).eval().requires_grad_(False)
    return ServedAdapter(content_hash, nbytes, "it is a whole model of its own", model=model)
