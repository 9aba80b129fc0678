"""LoRA-GA: A and B begin with the directions in which full fine-tuning would first move a weight.

    G = U S Vᵀ,    A from rows of Vᵀ,    B from columns of U S        (Wang et al. 2024, arXiv:2407.05000)

G [N, K] is the gradient of a layer's weight: a mean over rows, of the mean loss of each row's learnt tokens.
The decomposition and the scales are PEFT's. As with PiSSA, the base model stays whole
(`worker/engine/adapters/residual.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from core.estimates.memory_plan import Recompute
from core.jobs.spec import JobSpec
from core.methods.low_rank import LoraAdapter, LoraGAConfig
from core.methods.targets import rank_of
from worker.engine.adapters.refusals import initialisation_refused, refuse_missing_ranks
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.adapters.sizes import scale_of
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.engine.decoders.head import head_losses
from worker.engine.decoders.layer_weight import weight_of
from worker.engine.decoders.targets import resolve_targets
from worker.engine.start.observed import divided_by_memory, first_rows, hooked, through_modules
from worker.engine.step.passes import Abandoned
from worker.rows.row import Row

# The size of the gradients that are held at once, in fp32. If all of them are larger together, the rows are
# computed several times.
GRADIENT_BYTES = 2 * 2**30
MOST_TOKENS = 4096  # the paper finds a few rows enough, and the other jobs wait while these are computed
ITERATIONS = 4  # PEFT's, of the randomised decomposition


def lora_ga(
    base: ResidentBase, spec: JobSpec, adapter: LoraAdapter, rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """Return A and B of each target by their names.

    Raises JobError if a rank is too high or a gradient is not finite. Raises Abandoned between two rows or
    two weights.
    """
    modules = resolve_targets(adapter.target_modules, base.decoder.groups, adapter.layers)
    shapes = projection_shapes(base.model, base.decoder.groups)
    for module in modules:
        refuse_missing_ranks(module, rank_of(module, adapter), min(shapes[module]) // 2)
    shown = first_rows(spec, rows, MOST_TOKENS)
    shown = [row for row in shown if row.desirable] or shown
    found: dict[str, Tensor] = {}
    sizes = {module: 4 * prod(shapes[module]) for module in modules}
    with torch.random.fork_rng(devices=[]):
        for part in divided_by_memory(sizes, GRADIENT_BYTES):
            for module, gradient_NK in _gradients(base, part, shown, abandon).items():
                if abandon():
                    raise Abandoned
                torch.manual_seed(spec.seed)  # so that no layer depends on the others
                A_RK, B_NR = _factors(base, module, adapter, gradient_NK)
                found |= {f"{module}.lora_A": A_RK, f"{module}.lora_B": B_NR}
    return found


def _gradients(
    base: ResidentBase, modules: Sequence[str], rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """Return the gradient of each module's weight [N, K]."""
    shapes = projection_shapes(base.model, base.decoder.groups)
    found = {module: torch.zeros(shapes[module][::-1], device=base.device) for module in modules}

    def add(module: str, x: Tensor, dy: Tensor) -> None:
        x_LK, dy_LN = (each.reshape(-1, each.shape[-1]).float() for each in (x, dy))
        found[module].addmm_(dy_LN.T, x_LK, alpha=1 / len(rows))

    def see(module: str, x: Tensor, out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(partial(add, module, x.detach()))

    # No parameter needs a gradient: the embedded tokens do
    embedding: Any = base.model.get_input_embeddings()  # type: ignore[operator]
    embedded = embedding.register_forward_hook(lambda _layer, _args, out: out.requires_grad_())
    with torch.enable_grad(), embedded, hooked(base.model, modules, see):
        for row in rows:
            if abandon():
                raise Abandoned
            _loss(base, row).backward()
    return found


def _loss(base: ResidentBase, row: Row) -> Tensor:
    """Return the mean loss of the row's learnt tokens, computed with transformers' own modules."""
    decoder = through_modules(base)
    (batch,) = pack([JobRows("", [row], 1 / row.weight)], len(row.tokens_L), base.device)
    hidden_SD = decoder.hidden(replace(batch, adapter_tokens={}), {}, Recompute.LAYERS)
    losses = head_losses(hidden_SD, decoder.head_weight, decoder.softcap, batch.labels_S, batch.weights_S)
    return losses.weighted_S.sum()


def _factors(
    base: ResidentBase, module: str, adapter: LoraAdapter, gradient_NK: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the first A and B of a module, as PEFT's `lora_ga_init` does."""
    if not gradient_NK.isfinite().all():
        raise initialisation_refused(
            f"lora_ga cannot use {module}: the gradient of its weight is not finite on the first rows."
        )
    options, rank = adapter.lora_ga_config or LoraGAConfig(), rank_of(module, adapter)
    most = min(4 * rank, *gradient_NK.shape)
    U_NQ, S_Q, V_KQ = torch.svd_lowrank(gradient_NK, q=most, niter=ITERATIONS)
    of_A, of_B = _directions(options, rank)
    A_RK, S_R = V_KQ[:, of_A].T, S_Q[of_B]
    B_NR = U_NQ[:, of_B] * S_R
    match options.scale:
        case "stable":
            B_NR = B_NR * (len(B_NR) ** 0.25 / options.stable_gamma**0.5)
        case "weight_svd":
            W_NK = weight_of(base.model.get_submodule(module))
            largest = torch.svd_lowrank(W_NK, q=rank, niter=ITERATIONS)[1][0]
            B_NR = B_NR * (largest / S_R[0]) if S_R[0] > 0 else B_NR
        case "gd_scale":
            scale = scale_of(module, adapter)
            A_RK, B_NR = A_RK / scale, B_NR / scale
    return A_RK, B_NR


def _directions(options: LoraGAConfig, rank: int) -> tuple[slice | Tensor, slice | Tensor]:
    """Return which of the first 2 `rank` directions A takes, and which B."""
    match options.direction:
        case "ArBr":
            return slice(1, 2 * rank, 2), slice(0, 2 * rank, 2)
        case "A2rBr":
            return slice(rank, 2 * rank), slice(rank)
        case "ArB2r":
            return slice(rank), slice(rank, 2 * rank)
        case "random":
            drawn = torch.randperm(2 * rank)[:rank]
            return drawn, drawn
