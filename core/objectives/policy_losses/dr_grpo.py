"""Dr. GRPO (Liu et al. 2025, arXiv:2503.20783).

L = −1/(G M) Σ_i Σ_t min(r A, clip(r) A)
"""

from core.objectives.policy_losses.description import PolicyLossDescription

DESCRIPTION = PolicyLossDescription(
    title="Dr. GRPO",
    summary="GRPO without the bias of lengths: all answers are divided by the same constant.",
    formula="L = −1/(G M) Σ_i Σ_t min(r A, clip(r) A)",
    source="Liu et al. 2025, arXiv:2503.20783",
)
