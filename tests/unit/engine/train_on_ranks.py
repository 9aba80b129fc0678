"""Started by `torchrun`: train on the tiny base, and write what this rank has seen."""

import json
import sys
from pathlib import Path

import torch

from tests.fixtures.tiny_models import TINY
from tests.unit.engine.rows import shared_rows
from tests.unit.engine.test_training import MAX_TOKENS, make_member, make_spec
from worker.engine import loop
from worker.engine.base_model import ResidentBase
from worker.engine.member import StepResult
from worker.engine.ranks import from_environment


def main(tiny_folder: Path, out: Path, rounds: int) -> None:
    torch.set_num_threads(1)
    ranks = from_environment(torch.device("cpu"))
    base = ResidentBase(TINY, tiny_folder, "0" * 64, torch.device("cpu"))
    computed = count_forward_passes()
    member = make_member(base, "job", make_spec(), shared_rows())
    losses = []
    for _ in range(rounds):
        (result,) = loop.train_round(base, [member], MAX_TOKENS, ranks=ranks).values()
        assert isinstance(result, StepResult)
        losses.append(result.loss)
    evaluation = loop.evaluate(base, member.adapter, member.rows, MAX_TOKENS, ranks)
    torch.save(member.adapter.parameters.master, out / f"{ranks.rank}.pt")
    seen = {"losses": losses, "validation": evaluation.loss, "batches": len(computed)}
    (out / f"{ranks.rank}.json").write_text(json.dumps(seen))


def count_forward_passes() -> list[None]:
    passes: list[None] = []
    forward = loop._forward

    def counted(*arguments: object) -> object:
        passes.append(None)
        return forward(*arguments)  # type: ignore[arg-type]

    loop._forward = counted  # type: ignore[assignment]
    return passes


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
