"""All policy losses by the name that a job's `loss_type` takes."""

from importlib import import_module

from core.objectives.policy_losses import NAMES
from core.objectives.policy_losses.description import PolicyLossDescription

POLICY_LOSSES: dict[str, PolicyLossDescription] = {
    name: import_module(f"core.objectives.policy_losses.{name}").DESCRIPTION for name in NAMES
}
