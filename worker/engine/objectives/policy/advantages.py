"""Advantages: how much better an answer is than the other answers to the same prompt, its group."""

import torch
from torch import Tensor

DEVIATION_FLOOR = 1e-4  # TRL's, added to a deviation, so that a small one makes no huge advantages


def advantages(rewards_GN: Tensor, scale: bool) -> Tensor:
    """Return the advantages of N answers to each of G prompts, in fp64.

        A = r − mean(r of the group)                        (Liu et al. 2025, arXiv:2503.20783)
        A = (r − mean(r)) / (deviation(r) + 1e-4), if `scale`   (Shao et al. 2024, arXiv:2402.03300)

    The deviation is that of a sample, as in TRL. An answer whose reward is not finite has none: it counts
    neither in the mean nor in the deviation, and its advantage is 0. All advantages of a group are exactly 0
    if its rewards are equal, whatever rounding does to their mean.
    """
    known_GN = rewards_GN.isfinite()
    rewards_GN = torch.where(known_GN, rewards_GN.double(), torch.nan)
    centred_GN = (rewards_GN - rewards_GN.nanmean(1, keepdim=True)).nan_to_num(0.0)
    if scale:
        freedom_G1 = (known_GN.sum(1, keepdim=True) - 1).clamp(min=1)
        deviation_G1 = (centred_GN.square().sum(1, keepdim=True) / freedom_G1).sqrt()
        centred_GN = centred_GN / (deviation_G1 + DEVIATION_FLOOR)
    lowest_G1 = rewards_GN.nan_to_num(torch.inf).amin(1, keepdim=True)
    highest_G1 = rewards_GN.nan_to_num(-torch.inf).amax(1, keepdim=True)
    return torch.where(highest_G1 > lowest_G1, centred_GN, 0.0)
