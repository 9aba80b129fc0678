"""Builds `step.c`, with `products.h`, for the machine that it runs on, once in each process."""

import ctypes
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import structlog

SOURCE = Path(__file__).with_name("step.c")
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT = 120  # seconds
OPTIONS = ("-O3", "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC", "-lm")
THIS_CPU = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"

log = structlog.get_logger()


@cache
def library(bf16: bool, cpu: str = THIS_CPU) -> ctypes.CDLL | None:
    """Return the built step for weights in bf16 or in fp32; None where it cannot be built.

    `cpu` is the compiler's option for the instructions that it may use. The file is private and gone once it
    is loaded, so that no other user can exchange it.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        log.warning("native_step_missing", reason="no C compiler", effect="answers are computed more slowly")
        return None
    with tempfile.TemporaryDirectory(prefix="tunery-native-") as folder:
        made = Path(folder) / "step.so"
        command = [compiler, f"-DBF16={int(bf16)}", cpu, str(SOURCE), "-o", str(made), *OPTIONS]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
            return ctypes.CDLL(str(made))
        except (subprocess.SubprocessError, OSError) as error:
            reason = (getattr(error, "stderr", None) or str(error))[:500]
            log.warning("native_step_missing", reason=reason, effect="answers are computed more slowly")
            return None
