"""CISPO (MiniMax 2025, arXiv:2506.13585).

L = −1/Σ_i |y_i| Σ_i Σ_t sg(min(r, 1 + epsilon_high)) A log p
"""

from core.objectives.policy_losses.description import PolicyLossDescription

DESCRIPTION = PolicyLossDescription(
    title="CISPO",
    summary="Limits the importance weight instead of the gradient, so that rare tokens keep theirs.",
    formula="L = −1/Σ_i |y_i| Σ_i Σ_t sg(min(r, 1 + epsilon_high)) A log p",
    source="MiniMax 2025, arXiv:2506.13585",
)
