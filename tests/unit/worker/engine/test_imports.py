"""What a trainer's process imports: nothing large that a training does not use."""

import os
import subprocess
import sys

COMPILER = ("torch._inductor.compile_fx", "torch._functorch.aot_autograd")


def test_a_trainer_does_not_import_pytorchs_compiler() -> None:
    """bitsandbytes would import it, which PEFT imports: 55 MB and a second of processor time."""
    code = f"import sys, worker.train.trainer; print(*(name for name in {COMPILER} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_bitsandbytes_computes_without_the_compiler_and_leaves_it_to_others() -> None:
    code = (
        "import torch; compile = torch.compile; import worker.engine, bitsandbytes.functional as f;"
        "x = torch.randn(64, 64); q, state = f.quantize_4bit(x, quant_type='nf4');"
        "assert (f.dequantize_4bit(q, state) - x).abs().max() < 1; assert torch.compile is compile"
    )
    subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=True)
