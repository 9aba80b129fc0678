"""GRPO (Shao et al. 2024, arXiv:2402.03300).

L = −1/G Σ_i 1/|y_i| Σ_t min(r A, clip(r) A)
"""

from core.objectives.policy_losses.description import PolicyLossDescription

DESCRIPTION = PolicyLossDescription(
    title="GRPO",
    summary="Weighs all answers alike, so a token of a short answer counts more.",
    formula="L = −1/G Σ_i 1/|y_i| Σ_t min(r A, clip(r) A)",
    source="Shao et al. 2024, arXiv:2402.03300",
)
