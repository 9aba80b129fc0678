"""Started by `torchrun`: train on the tiny base, whole and sharded, and write what this rank has seen."""

import json
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from core.errors import JobError
from core.jobspec import Dpo, Hyperparameters, LoraAdapter
from tests.fixtures.tiny_models import TINY
from tests.unit.engine.rows import make_rows, shared_rows
from tests.unit.engine.test_objectives import pairs
from tests.unit.engine.test_training import MAX_TOKENS, make_member, make_spec
from worker.engine import judging, loop, passes
from worker.engine.base_model import ResidentBase
from worker.engine.member import Member, StepResult
from worker.engine.ranks import ALONE, Ranks, SharedFault, from_environment

CPU = torch.device("cpu")
ROUNDS = 3
LAST_LAYER = ["model.layers.2.mlp.up_proj"]


def members_on(base: ResidentBase) -> list[Member]:
    """A job that adapts every layer, one of a row a step that adapts the last alone, and one of pairs.

    Two of them have dropout.
    """
    one_row = Hyperparameters(n_epochs=2, batch_size=1, learning_rate_multiplier=1.0)
    upper = make_spec(hyperparameters=one_row, adapter=LoraAdapter(r=4, target_modules=LAST_LAYER))
    dropping = LoraAdapter(r=4, lora_alpha=8, lora_dropout=0.2)
    return [
        make_member(base, "job", make_spec(adapter=dropping), shared_rows()),
        make_member(base, "upper", upper, make_rows(6, 1)),
        make_member(base, "pairs", make_spec(objective=Dpo(), adapter=dropping), pairs(12)),
    ]


def train(base: ResidentBase, ranks: Ranks = ALONE) -> dict[str, object]:
    """Rounds of all jobs, rounds in which there is work for one rank only, and validations."""
    job, upper, judged = members_on(base)
    losses = []
    for members in [[job, upper, judged]] * ROUNDS + [[upper]] * ROUNDS:
        for result in loop.train_round(base, members, MAX_TOKENS, ranks=ranks).values():
            assert isinstance(result, StepResult)
            losses.append(result.loss)
    validation = sum(loop.validate(base, one, one.rows, MAX_TOKENS, ranks).loss for one in (job, judged))
    weights = [tensor for member in (job, upper, judged) for _, tensor in sorted(member.state().items())]
    adapters = torch.cat([tensor.flatten() for tensor in weights]).tolist()
    return {"losses": losses, "validation": validation, "adapters": adapters}


def errors_of(ranks: Ranks) -> list[str]:
    """What a rank learns of a fault that the last one alone has met."""
    codes = []
    try:
        with ranks.together():
            if ranks.rank == ranks.size - 1:
                raise JobError("out_of_memory", "too much")
    except SharedFault as fault:
        codes.append(getattr(fault.error, "code", ""))
    return codes


def main(tiny_folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    ranks = from_environment(CPU)
    computed = count_forward_passes()
    seen: dict[str, object] = {"errors": errors_of(ranks)}
    for name, sharded in (("whole", False), ("sharded", True)):
        base = ResidentBase(TINY, tiny_folder, "0" * 64, CPU, sharded)
        parts = [part.to_local() for part in base.model.parameters() if isinstance(part, DTensor)]
        held = sum(part.numel() for part in parts)
        computed.clear()
        seen[name] = {**train(base, ranks), "batches": len(computed), "held": held, "path": base.decoder.path}
    (out / f"{ranks.rank}.json").write_text(json.dumps(seen))
    ranks.part_ways()


def count_forward_passes() -> list[None]:
    computed: list[None] = []
    forward = passes.forward

    def counted(*arguments: object) -> object:
        computed.append(None)
        return forward(*arguments)  # type: ignore[arg-type]

    loop.forward = judging.forward = counted  # type: ignore[attr-defined]
    return computed


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
