"""Compare the policy losses and their gradients with TRL's, on the same rollouts and the same adapter.

    python -m bench.reinforce.losses
    python -m bench.reinforce.losses --base DIR --out result.json

For each loss it prints the value by Tunery and by TRL, their difference, and how far the gradients are apart:
the norm of their difference over the norm of TRL's. Everything is computed in fp32. The base is a tiny Llama
with random weights, or a folder. TRL runs in its own environment (`python -m bench.peers.venvs --only trl`).
The exit code is 1 if a difference is above 1e-5.

TRL has no loss of the name `importance_sampling`: it is Dr. GRPO with bounds that clip nothing. TRL's upper
bound of CISPO is `epsilon_high`, and Tunery's is 1 + `epsilon_high`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from bench import ROOT
from bench.command_line import new_parser
from bench.peers.venvs import DEFAULT_VENVS, interpreter
from core.catalog import SMOLLM2
from core.objectives.policy_losses import NAMES
from tests.fixtures.engine.rollouts import (
    prompts,
    reinforcement,
    reinforcement_spec,
    sampled,
    token_log_probabilities,
)
from tests.fixtures.engine.training import randomize
from tests.fixtures.models.tiny import save_model, text, tiny_llama
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.rollout import Rollout

CPU = torch.device("cpu")
PROMPTS, STEP_TOKENS = 4, 128
LIMIT = 1e-5


class ReadsGradient(Trainee):
    """A trainee that keeps the gradient of its step. The step changes the adapter only afterwards."""

    gradient: Tensor

    def complete_gradient(self) -> Tensor:
        self.gradient = self.adapter.parameters.gradient.clone()
        return super().complete_gradient()


def options_of_trl(loss_type: str) -> dict[str, Any]:
    """Return the fields of TRL's GRPOConfig that make the same loss."""
    options = reinforcement(loss_type)
    fields: dict[str, Any] = {
        "loss_type": loss_type,
        "num_generations": options.num_generations,
        "max_completion_length": options.max_completion_tokens,
        "epsilon": options.epsilon,
        "epsilon_high": options.epsilon_high,
    }
    match loss_type:
        case "importance_sampling":
            return fields | {"loss_type": "dr_grpo", "epsilon": 1e6, "epsilon_high": 1e6}
        case "gspo":
            return fields | {"loss_type": "grpo", "importance_sampling_level": "sequence"}
        case "cispo":
            return fields | {"epsilon_high": 1 + options.epsilon_high}
    return fields


def random_trainee(base: ResidentBase, loss_type: str) -> ReadsGradient:
    """Return a job on an adapter whose parameters are random, but always the same."""
    spec = reinforcement_spec(loss_type, batch_size=PROMPTS)
    adapter = TrainableAdapter(base, loss_type, spec.low_rank, spec.seed, 1)
    randomize(adapter)
    return ReadsGradient(adapter, spec, prompts(PROMPTS))


def as_sampled(trainee: Trainee, rollouts: list[Rollout]) -> list[Rollout]:
    """Return the rollouts with log-probabilities near those of the policy. Some ratios are clipped."""
    random = np.random.default_rng(2)
    model: Any = trainee.adapter.plain_model
    found = []
    for rollout in rollouts:
        with torch.no_grad():
            logp = token_log_probabilities(model, rollout).numpy()
        logprobs_L = np.zeros_like(rollout.logprobs_L)
        logprobs_L[rollout.learnt_L] = logp + random.normal(0, 0.3, len(logp))
        found.append(replace(rollout, logprobs_L=logprobs_L))
    return found


def as_asked(trainee: Trainee, rollouts: list[Rollout]) -> list[dict[str, Any]]:
    """Return the rollouts as TRL's script reads them."""
    lengths = {prompt.line: len(prompt.tokens_L) for prompt in trainee.rows}
    found = []
    for rollout in rollouts:
        begin = lengths[rollout.line]
        found.append(
            {
                "prompt": rollout.tokens_L[:begin].tolist(),
                "answer": rollout.tokens_L[begin:].tolist(),
                "learnt": rollout.learnt_L[begin:].tolist(),
                "logprobs": rollout.logprobs_L[begin:].tolist(),
                "advantage": float(max(rollout.advantages_L, key=abs)),  # all learnt tokens have the same
            }
        )
    return found


def compared(trainee: ReadsGradient, loss: float, loss_of_trl: float, gradients: Path) -> dict[str, float]:
    ours = trainee.adapter.parameters.named(trainee.gradient)
    theirs = {
        name.removeprefix("base_model.model.").replace(".default.weight", ""): value
        for name, value in load_file(gradients).items()
    }
    if ours.keys() != theirs.keys():
        raise SystemExit(f"other parameters: {sorted(ours.keys() ^ theirs.keys())[:3]}")
    apart = torch.cat([(ours[name] - theirs[name]).flatten() for name in ours])
    norm = torch.cat([value.flatten() for value in theirs.values()]).norm()
    return {
        "loss": loss,
        "loss_of_trl": loss_of_trl,
        "difference": abs(loss - loss_of_trl),
        "gradients_apart": (apart.norm() / norm).item(),
        "gradient_norm": norm.item(),
    }


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--base", type=Path, help="folder of a base model, instead of a tiny random one")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="folder of the environments")
    parser.add_argument("--out", type=Path, help="the result file to write, JSON")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        found = compare(Path(name), given.base, given.venvs)
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")
    worst = max(max(each["difference"], each["gradients_apart"]) for each in found.values())
    raise SystemExit(worst > LIMIT)


def compare(folder: Path, base_folder: Path | None, venvs: Path) -> dict[str, dict[str, float]]:
    """Return what `compared` returns of each loss. `folder` is a place for files."""
    if base_folder is None:
        save_model(tiny_llama(), folder / "base", text)
    else:
        shutil.copytree(base_folder, folder / "base")
    base = ResidentBase(SMOLLM2.model_copy(update={"dtype": "fp32"}), folder / "base", "", CPU)
    trainees = {loss_type: random_trainee(base, loss_type) for loss_type in NAMES}
    first = trainees[NAMES[0]]
    first.adapter.save(folder / "adapter")
    rollouts = as_sampled(first, sampled(first.next_prompts))
    asked = {
        "rollouts": as_asked(first, rollouts),
        "cases": {loss_type: options_of_trl(loss_type) for loss_type in NAMES},
    }
    (folder / "asked.json").write_text(json.dumps(asked))
    command = [interpreter(venvs, "trl"), "-m", "bench.peers.trl_grpo_losses", "--folder", folder]
    subprocess.run(list(map(str, command)), check=True, cwd=ROOT)
    losses = json.loads((folder / "losses.json").read_text())
    found = {}
    for loss_type, trainee in trainees.items():
        trainee.take_rollouts(rollouts)
        (result,) = train_round(PassContext(base, STEP_TOKENS), [trainee]).values()
        assert isinstance(result, StepResult), result
        gradients = folder / f"{loss_type}.safetensors"
        found[loss_type] = compared(trainee, result.loss, losses[loss_type], gradients)
    return found


if __name__ == "__main__":
    main()
