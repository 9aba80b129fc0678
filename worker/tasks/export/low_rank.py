"""An adapter as plain factors: one pair A [R, K] and B [N, R] for each linear layer, with the scale in B."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.errors import JobError
from worker.engine.sampler.adapters.check import AdapterRefused
from worker.engine.sampler.adapters.plain_lora import read_plain_lora
from worker.tasks.export.experts import changes_experts, read_by_expert
from worker.tasks.export.merging import load_merged
from worker.tasks.export.source import Source

OVERSAMPLING, ITERATIONS = 16, 4  # of the randomised decomposition (Halko et al. 2011, arXiv:0909.4061)


@dataclass(frozen=True)
class LayerUpdate:
    """The update B A of one linear layer, in fp32."""

    A_RK: Tensor
    B_NR: Tensor


@dataclass(frozen=True)
class LowRankUpdate:
    """The updates of all layers, by the layers' names in the base model.

    `error` is the relative error in the Frobenius norm, √(Σ|ΔW − BA|² / Σ|ΔW|²): 0 if nothing was left out.
    """

    layers: Mapping[str, LayerUpdate]
    error: float = 0.0

    @property
    def rank(self) -> int:
        """The largest rank of a layer."""
        return max(len(factors.A_RK) for factors in self.layers.values())

    def padded(self) -> "LowRankUpdate":
        """Return the same update with one rank for all layers, by rows and columns of zeros."""
        rank = self.rank
        return LowRankUpdate({name: _pad(f, rank) for name, f in self.layers.items()}, self.error)


def low_rank_update(source: Source, rank: int | None) -> LowRankUpdate:
    """Return the adapter as plain factors: exactly, or at `rank`.

    Every LoRA is exact at its own rank. Another method's update is decomposed, which needs a rank. Raises
    JobError with the reason if there are no such factors.
    """
    try:
        exact = _exact(source)
    except AdapterRefused as error:
        if rank is None:
            reason = str(error).rstrip(".")
            raise JobError(
                "not_a_lora",
                f"The adapter cannot be written as a LoRA exactly: {reason}. Send 'rank' for the closest "
                "LoRA of that rank, or export the merged model.",
                "rank",
            ) from error
        return _decomposed(source, rank)
    return exact if rank is None or rank >= exact.rank else _reduced(exact, rank)


def _exact(source: Source) -> LowRankUpdate:
    """Return the factors of a LoRA with its scales folded in. Raises AdapterRefused for other adapters."""
    if source.is_whole_model:
        raise AdapterRefused("it is a whole model")
    found = read_by_expert(source) if changes_experts(source) else read_plain_lora(source.folder)
    return LowRankUpdate(
        {name: LayerUpdate(each.A_RK, each.B_NR * each.scale) for name, each in found.items()}
    )


def _reduced(exact: LowRankUpdate, rank: int) -> LowRankUpdate:
    """Keep the largest singular values of each B A."""
    layers, lost, whole = {}, 0.0, 0.0
    for name, factors in exact.layers.items():
        U_NR, s_R, Vh_RK = svd_of_product(factors.B_NR, factors.A_RK)
        layers[name] = _halves(U_NR, s_R, Vh_RK, rank)
        lost += float(s_R[rank:].square().sum())
        whole += float(s_R.square().sum())
    return LowRankUpdate(layers, _relative(lost, whole))


def svd_of_product(B_NR: Tensor, A_RK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular value decomposition of B A, by two QR decompositions of thin matrices."""
    QB_NR, RB_RR = torch.linalg.qr(B_NR)
    QA_KR, RA_RR = torch.linalg.qr(A_RK.T)
    U_RR, s_R, Vh_RR = torch.linalg.svd(RB_RR @ RA_RR.T, full_matrices=False)
    return QB_NR @ U_RR, s_R, Vh_RR @ QA_KR.T


def _decomposed(source: Source, rank: int) -> LowRankUpdate:
    """Return the closest factors to the difference between the merged weights and the base model's."""
    torch.manual_seed(0)
    layers, lost, whole = {}, 0.0, 0.0
    for name, delta_NK in _differences(source):
        kept = min(rank, *delta_NK.shape)
        U_NR, s_R, V_KR = torch.svd_lowrank(
            delta_NK, min(kept + OVERSAMPLING, *delta_NK.shape), niter=ITERATIONS
        )
        layers[name] = _halves(U_NR, s_R, V_KR.T, kept)
        energy = float(delta_NK.square().sum())
        lost += max(0.0, energy - float(s_R[:kept].square().sum()))
        whole += energy
    if not layers:
        raise JobError("not_a_lora", "The adapter changes no linear layer, so it has no LoRA.", "format")
    return LowRankUpdate(layers, _relative(lost, whole))


def _differences(source: Source) -> Iterator[tuple[str, Tensor]]:
    """Yield the changed linear layers with their ΔW [N, K]. Raises JobError if anything else has changed."""
    tuned, base = load_merged(source), source.load_base()
    for name, merged in tuned.named_parameters():
        delta = merged - base.get_parameter(name)
        if not bool(delta.any()):
            continue
        layer, _, kind = name.rpartition(".")
        module = base.get_submodule(layer)
        if kind != "weight" or not isinstance(module, nn.Linear) or module is base.get_output_embeddings():
            raise JobError(
                "not_a_lora",
                f"The adapter changes {name}, which is not a linear layer of the decoder, so no LoRA has "
                "this change. Export the merged model.",
                "format",
            )
        yield layer, delta


def _halves(U_NR: Tensor, s_R: Tensor, Vh_RK: Tensor, rank: int) -> LayerUpdate:
    """Give each factor the root of the singular values, so that both have numbers of the same size."""
    root_R = s_R[:rank].sqrt()
    return LayerUpdate(root_R[:, None] * Vh_RK[:rank], U_NR[:, :rank] * root_R)


def _relative(lost: float, whole: float) -> float:
    return math.sqrt(lost / whole) if whole else 0.0


def _pad(factors: LayerUpdate, rank: int) -> LayerUpdate:
    missing = rank - len(factors.A_RK)
    pad = torch.nn.functional.pad
    return LayerUpdate(pad(factors.A_RK, (0, 0, 0, missing)), pad(factors.B_NR, (0, missing)))
