"""CorDA: A and B begin with the part of a weight that matters most, or least, for the job's rows.

    W C = U S Vᵀ,    W = U S (Vᵀ C⁻¹)        (Yang et al. 2024, arXiv:2406.05223)

C [K, K] is the covariance of the layer's inputs for the rows. By the second equation, W is a sum of matrices
of rank 1, one for each singular value in S. s B A is the sum of some of these matrices. With "ipm"
(instruction-previewed mode) they belong to the largest singular values, with "kpm" (knowledge-preserved mode)
to the smallest. As with PiSSA, the base model stays whole (`worker/engine/adapters/residual.py`).
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from core.jobs.spec import JobSpec
from core.methods.low_rank import CordaConfig, LoraAdapter
from core.methods.targets import rank_of
from worker.engine.adapters.refusals import initialisation_refused, refuse_missing_ranks
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.adapters.sizes import scale_of
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.layer_weight import weight_of
from worker.engine.decoders.targets import resolve_targets
from worker.engine.start.observed import divided_by_memory, first_rows, observe_all, sources_of
from worker.engine.step.passes import Abandoned
from worker.rows.row import Row

# The size of the covariances that are held at once, in fp32. If all of them are larger together, the rows are
# computed several times.
COVARIANCE_BYTES = 2**30
DAMPING = 0.01  # share of the mean variance that is added to each variance; doubled until C⁻¹ is accurate
WORST_INVERSE = 0.05  # the largest ‖C C⁻¹ - I‖ that is accepted


def corda(
    base: ResidentBase, spec: JobSpec, adapter: LoraAdapter, rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """Return A and B of each target by their names.

    Raises JobError if a rank is too high or the inputs of a target are all zero or not finite. Raises
    Abandoned between two rows or two weights.
    """
    modules = resolve_targets(adapter.target_modules, base.decoder.groups, adapter.layers)
    shapes = projection_shapes(base.model, base.decoder.groups)
    for module in modules:
        refuse_missing_ranks(module, rank_of(module, adapter), min(shapes[module]))
    shown = first_rows(spec, rows)
    source_of = sources_of(base, modules, shown[0])
    widths = {source: shapes[source][0] for source in source_of.values()}
    found: dict[str, Tensor] = {}
    sizes = {source: 4 * width**2 for source, width in widths.items()}
    for sources in divided_by_memory(sizes, COVARIANCE_BYTES):
        covariances = _covariances(base, {source: widths[source] for source in sources}, shown, abandon)
        for module in modules:
            if source_of[module] in covariances:
                if abandon():
                    raise Abandoned
                A_RK, B_NR = _factors(base, module, adapter, covariances[source_of[module]])
                found |= {f"{module}.lora_A": A_RK, f"{module}.lora_B": B_NR}
    return found


def _covariances(
    base: ResidentBase, widths: Mapping[str, int], rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """Return the covariance of each module's inputs [K, K], not centred.

    As in PEFT, each row's inputs are first divided by the largest of them.
    """
    found = {module: torch.zeros(width, width, device=base.device) for module, width in widths.items()}

    def take(_row: Row, module: str, x_LK: Tensor) -> None:
        x_LK = x_LK.float()
        x_LK = x_LK / x_LK.max().abs().clamp_min(torch.finfo(x_LK.dtype).tiny)
        found[module].addmm_(x_LK.T, x_LK, alpha=1 / len(rows))

    observe_all(base, list(widths), rows, take, abandon)
    return found


def _factors(
    base: ResidentBase, module: str, adapter: LoraAdapter, covariance_KK: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the first A and B of a module."""
    W_NK = weight_of(base.model.get_submodule(module))
    C_KK, inverse_KK = _invertible(module, covariance_KK)
    U, S, Vh = torch.linalg.svd(W_NK @ C_KK, full_matrices=False)
    rank = rank_of(module, adapter)
    method = (adapter.corda_config or CordaConfig()).corda_method
    part = slice(None, rank) if method == "ipm" else slice(len(S) - rank, None)
    root_R = (S[part] / scale_of(module, adapter)).sqrt()
    return root_R[:, None] * (Vh[part] @ inverse_KK), U[:, part] * root_R


def _invertible(module: str, covariance_KK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the covariance, with enough variance added to make it safe to invert, and its inverse.

    Raises JobError if the module's inputs are all zero or not finite.
    """
    variance = covariance_KK.diagonal().mean()
    if not (variance.isfinite() and variance > 0):
        raise initialisation_refused(
            f"corda cannot use {module}: its inputs for the first rows are all zero or not finite."
        )
    identity_KK = torch.eye(len(covariance_KK), device=covariance_KK.device)
    damping = DAMPING
    while True:
        C_KK = covariance_KK + damping * variance * identity_KK
        inverse_KK = torch.linalg.inv(C_KK)
        if torch.dist(C_KK @ inverse_KK, identity_KK) < WORST_INVERSE:
            return C_KK, inverse_KK
        damping *= 2
