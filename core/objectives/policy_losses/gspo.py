"""GSPO (Zheng et al. 2025, arXiv:2507.18071).

L = −1/G Σ_i min(s A, clip(s) A), s = (p(y_i) / p_sampler(y_i))^(1/|y_i|)
"""

from core.objectives.policy_losses.description import PolicyLossDescription

DESCRIPTION = PolicyLossDescription(
    title="GSPO",
    summary="GRPO with one ratio for a whole answer; steadier for long answers and for experts.",
    formula="L = −1/G Σ_i min(s A, clip(s) A), s = (p(y_i) / p_sampler(y_i))^(1/|y_i|)",
    source="Zheng et al. 2025, arXiv:2507.18071",
)
