"""A trainer's process imports nothing large that a training does not use."""

import os
import subprocess
import sys

import pytest

COMPILER = ("torch._inductor.compile_fx", "torch._functorch.aot_autograd")


@pytest.mark.exhaustive
def test_a_trainer_does_not_import_pytorchs_compiler() -> None:
    """bitsandbytes would import it, which PEFT imports: 55 MB and a second of processor time."""
    imported = f"print(*(name for name in {COMPILER} if name in sys.modules))"
    code = f"import sys, worker.trainer.train.trainer; {imported}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_bitsandbytes_own_functions_compute_without_the_compiler_which_others_may_still_use() -> None:
    code = (
        "import sys, torch; compile = torch.compile; import worker.engine;"
        "import bitsandbytes.backends.default.ops as ops;"
        "zeros, values = torch.zeros(64, dtype=torch.uint8), torch.linspace(-1, 1, 256);"
        "found = ops._dequantize_blockwise_compute(zeros, torch.ones(1), values, 64, torch.float32);"
        "assert (found == -1).all(); assert torch.compile is compile;"
        f"assert not [name for name in {COMPILER} if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=True)
