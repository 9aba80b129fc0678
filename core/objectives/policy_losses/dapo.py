"""DAPO (Yu et al. 2025, arXiv:2503.14476).

L = −1/Σ_i |y_i| Σ_i Σ_t min(r A, clip(r) A)
"""

from core.objectives.policy_losses.description import PolicyLossDescription

DESCRIPTION = PolicyLossDescription(
    title="DAPO",
    summary="GRPO with a higher upper bound, in which all tokens of a step count alike.",
    formula="L = −1/Σ_i |y_i| Σ_i Σ_t min(r A, clip(r) A)",
    source="Yu et al. 2025, arXiv:2503.14476",
)
