"""Advantages are those of the papers, and exactly 0 where there is nothing to learn."""

import pytest
import torch

from worker.engine.objectives.policy.advantages import advantages

REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.3, 0.6, 0.9, 0.0]])


def test_rewards_are_centred_in_their_group() -> None:
    expected = REWARDS - REWARDS.mean(1, keepdim=True)
    torch.testing.assert_close(advantages(REWARDS, scale=False), expected.double(), rtol=0, atol=1e-7)


def test_scaled_advantages_have_a_deviation_of_one_in_each_group() -> None:
    found = advantages(REWARDS, scale=True)
    expected = (REWARDS - REWARDS.mean(1, keepdim=True)) / (REWARDS.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)
    assert found.std(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


@pytest.mark.parametrize("scale", [False, True])
def test_equal_rewards_have_no_advantage_whatever_rounding_does(scale: bool) -> None:
    rewards_GN = torch.full((3, 7), 0.1)
    assert rewards_GN.double().mean(1)[0] != 0.1
    assert not advantages(rewards_GN, scale).any()


@pytest.mark.parametrize("scale", [False, True])
def test_an_answer_without_reward_counts_for_nobody(scale: bool) -> None:
    with_nan = torch.tensor([[1.0, torch.nan, 0.0, 0.5, torch.inf]])
    found = advantages(with_nan, scale)
    alone = advantages(torch.tensor([[1.0, 0.0, 0.5]]), scale)
    assert found[0, [1, 4]].tolist() == [0.0, 0.0]
    assert found[0, [0, 2, 3]].tolist() == pytest.approx(alone[0].tolist())


def test_a_single_reward_or_none_in_a_group_has_no_advantage() -> None:
    rewards_GN = torch.tensor([[torch.nan, 1.0], [torch.nan, torch.nan]])
    for scale in (False, True):
        assert not advantages(rewards_GN, scale).any()
