"""LoftQ: an adapter that begins with the part of the weights that quantisation has lost.

    s B A ≈ W - Q        (Li et al. 2023, arXiv:2310.08659, with one iteration)

W is the source weight. Q is the weight that the quantised base model multiplies by; it stays as it is. s B A
is the product of rank R that is nearest to W - Q.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from core.methods.low_rank import LoraAdapter
from core.methods.targets import rank_of
from worker.engine.adapters.refusals import initialisation_refused, refuse_missing_ranks
from worker.engine.adapters.sizes import scale_of
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.source import SourceWeights
from worker.engine.decoders.layer_weight import is_quantised, weight_of
from worker.engine.decoders.targets import resolve_targets
from worker.engine.step.passes import Abandoned

# If ‖W - Q‖ / ‖Q‖ is larger, W is not the weight from which Q was made. Quantisation to 4 bits gives about
# 0.1, and another weight gives more than 1.
MOST_LOST = 0.5


def loftq(base: ResidentBase, adapter: LoraAdapter, abandon: Callable[[], bool]) -> dict[str, Tensor]:
    """Return A and B of each quantised target by their names.

    Raises JobError if a rank is too high or a source weight is missing, and Abandoned between two modules.
    """
    source_weights = SourceWeights(base.folder)
    names = source_weights.names_in(base.model)
    found: dict[str, Tensor] = {}
    for module in resolve_targets(adapter.target_modules, base.decoder.groups, adapter.layers):
        if abandon():
            raise Abandoned
        layer = base.model.get_submodule(module)
        if not is_quantised(layer):
            continue
        name = names.get(f"{module}.weight")
        W = None if name is None else source_weights.tensor(name)
        lost_NK, rank = _lost(module, layer, W), rank_of(module, adapter)
        refuse_missing_ranks(module, rank, min(lost_NK.shape))
        B_NR, A_RK = nearest(lost_NK / scale_of(module, adapter), rank)
        found |= {f"{module}.lora_A": A_RK, f"{module}.lora_B": B_NR}
    return found


def nearest(W_NK: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return B_NR and A_RK, whose product is the matrix of this rank that is nearest to W.

    Both contain the square roots of the singular values. The eigenvectors of the smaller Gram matrix with the
    largest eigenvalues span the product. They are found faster than a singular value decomposition.
    """
    if W_NK.shape[0] > W_NK.shape[1]:
        A_KR, B_RN = nearest(W_NK.T, rank)
        return B_RN.T, A_KR.T
    _, vectors_NN = torch.linalg.eigh(W_NK @ W_NK.T)
    U_NR = vectors_NN[:, -rank:].flip(1)
    SV_RK = U_NR.T @ W_NK
    root_R1 = SV_RK.norm(dim=1, keepdim=True).sqrt()
    return U_NR * root_R1.T, SV_RK / root_R1.clamp_min(torch.finfo(W_NK.dtype).tiny)


def _lost(module: str, layer: Any, W: Tensor | None) -> Tensor:
    """Return W - Q [N, K]. Raises JobError if the source weight is not in the files, or is another one."""
    Q_NK = weight_of(layer)
    if W is not None and getattr(layer, "source_cls", None) is Conv1D:
        W = W.T
    if W is not None and W.shape == Q_NK.shape:
        lost_NK = W.to(Q_NK) - Q_NK
        if lost_NK.norm() < MOST_LOST * Q_NK.norm():
            return lost_NK
    raise initialisation_refused(
        f"loftq does not find the source weight of {module} in this base model's files."
    )
