"""CorDA: A and B begin with the part of a weight that matters most, or least, to the job's rows.

    W C = U S Vᵀ,    W = U S (Vᵀ C⁻¹)        (Yang et al. 2024, arXiv:2406.05223)

C [K, K] is the covariance of what the layer sees of the rows. s B A are terms of the second sum: under "ipm",
which previews the instructions, those of the largest S; under "kpm", which preserves knowledge, those of the
smallest. As with PiSSA, the base model stays whole (`residual.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from core.errors import JobError
from core.jobs.spec import JobSpec
from core.methods.low_rank import CordaConfig, LoraAdapter
from worker.engine.adapters.memory import projection_shapes
from worker.engine.adapters.residual import OPTION
from worker.engine.adapters.sizes import rank_of, refuse_missing_ranks, scale_of
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.quantisation import weight_of
from worker.engine.base.targets import chosen
from worker.engine.start.observed import first_rows, observe_all, sources_of
from worker.engine.step.passes import Abandoned
from worker.rows import Row

COVARIANCE_BYTES = 2**30  # held at once, in fp32; the rows are computed as often as it takes
DAMPING = 0.01  # of the mean variance, added to each; doubled until the inverse is right
WORST_INVERSE = 0.05  # ‖C C⁻¹ - I‖


def corda(
    base: ResidentBase, spec: JobSpec, adapter: LoraAdapter, rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """A and B of each target by their names. Raises JobError, and Abandoned between two rows or weights."""
    modules = chosen(adapter.target_modules, base.decoder.groups)
    shapes = projection_shapes(base.model, base.decoder.groups)
    for module in modules:
        refuse_missing_ranks(module, rank_of(module, adapter), min(shapes[module]))
    shown = first_rows(spec, rows)
    source_of = sources_of(base, modules, shown[0])
    inputs = {source: shapes[source][0] for source in source_of.values()}
    found: dict[str, Tensor] = {}
    for sources in _parts(inputs):
        covariances = _covariances(base, {source: inputs[source] for source in sources}, shown, abandon)
        for module in modules:
            if source_of[module] in covariances:
                if abandon():
                    raise Abandoned
                A_RK, B_NR = _factors(base, module, adapter, covariances[source_of[module]])
                found |= {f"{module}.lora_A": A_RK, f"{module}.lora_B": B_NR}
    return found


def _parts(inputs: Mapping[str, int]) -> Iterator[list[str]]:
    """As many modules at once as have covariances of COVARIANCE_BYTES together, at least one."""
    part: list[str] = []
    held = 0
    for module, width in inputs.items():
        held += 4 * width**2
        if part and held > COVARIANCE_BYTES:
            yield part
            part, held = [], 4 * width**2
        part.append(module)
    yield part


def _covariances(
    base: ResidentBase, inputs: Mapping[str, int], rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """Of what each module sees [K, K], not centred. Each row counts by parts of its largest, as in PEFT."""
    found = {module: torch.zeros(width, width, device=base.device) for module, width in inputs.items()}

    def take(_row: Row, module: str, x_LK: Tensor) -> None:
        x_LK = x_LK.float()
        x_LK = x_LK / x_LK.max().abs().clamp_min(torch.finfo(x_LK.dtype).tiny)
        found[module].addmm_(x_LK.T, x_LK, alpha=1 / len(rows))

    observe_all(base, list(inputs), rows, take, abandon)
    return found


def _factors(
    base: ResidentBase, module: str, adapter: LoraAdapter, covariance_KK: Tensor
) -> tuple[Tensor, Tensor]:
    """A and B that a module begins with."""
    W_NK = weight_of(base.model.get_submodule(module))
    C_KK, inverse_KK = _invertible(module, covariance_KK)
    U, S, Vh = torch.linalg.svd(W_NK @ C_KK, full_matrices=False)
    rank = rank_of(module, adapter)
    method = (adapter.corda_config or CordaConfig()).corda_method
    part = slice(None, rank) if method == "ipm" else slice(len(S) - rank, None)
    root_R = (S[part] / scale_of(module, adapter)).sqrt()
    return root_R[:, None] * (Vh[part] @ inverse_KK), U[:, part] * root_R


def _invertible(module: str, covariance_KK: Tensor) -> tuple[Tensor, Tensor]:
    """The covariance with as much variance added as makes it safe to invert, and its inverse."""
    variance = covariance_KK.diagonal().mean()
    if not (variance.isfinite() and variance > 0):
        message = f"corda finds no use in {module}: it sees nothing of the first rows, or no finite numbers."
        raise JobError("invalid_adapter", message, OPTION)
    identity_KK = torch.eye(len(covariance_KK), device=covariance_KK.device)
    damping = DAMPING
    while True:
        C_KK = covariance_KK + damping * variance * identity_KK
        inverse_KK = torch.linalg.inv(C_KK)
        if torch.dist(C_KK @ inverse_KK, identity_KK) < WORST_INVERSE:
            return C_KK, inverse_KK
        damping *= 2
