"""Importance sampling (Williams 1992; the constant length of Liu et al. 2025, arXiv:2503.20783).

L = −1/(G M) Σ_i Σ_t r A
"""

from core.objectives.policy_losses.description import PolicyLossDescription

DESCRIPTION = PolicyLossDescription(
    title="Importance sampling",
    summary="The plain policy gradient, without a bias of lengths. Right for one update per answer.",
    formula="L = −1/(G M) Σ_i Σ_t r A",
    source="Williams 1992; the constant length of Liu et al. 2025, arXiv:2503.20783",
)
