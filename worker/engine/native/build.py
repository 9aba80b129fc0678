"""Builds a file of C for the machine that it runs on, once in each process."""

import ctypes
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock

import structlog

COMPILERS = ("cc", "gcc", "clang")
TIMEOUT = 120  # seconds
OPTIONS = ("-O3", "-fopenmp", "-ffp-contract=fast", "-fno-math-errno", "-shared", "-fPIC", "-lm")
HEADERS = Path(__file__).parent.parent  # so that a kernel says #include "native/numbers.h"
# GCC's tuning for some CPUs takes a product and a sum as one operation in one place, and as two in the next.
# A trainer and a sampler would have other bits. Other compilers may not know the option.
ALIKE = ("--param=avoid-fma-max-bits=0",) if platform.machine() in ("x86_64", "AMD64") else ()
THIS_CPU = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"

_building = Lock()  # `cache` alone lets several threads compute the same value

log = structlog.get_logger()


@cache  # kernels ask at each call, so they take no lock once the file is built
def library(source: Path, bf16: bool, cpu: str = THIS_CPU) -> ctypes.CDLL | None:
    """Return the built file, for numbers in bf16 or in fp32; None where it cannot be built.

    `cpu` is the compiler's option for the instructions that it may use. Threads that ask at the same time
    build one file after another, each once.
    """
    with _building:
        return _built(source, bf16, cpu)


@cache
def _built(source: Path, bf16: bool, cpu: str) -> ctypes.CDLL | None:
    """Build and load the file. It is private, and gone once it is loaded, so that nobody can exchange it."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        _warn(source, "no C compiler")
        return None
    with tempfile.TemporaryDirectory(prefix="tunery-native-") as folder:
        made = Path(folder) / "built.so"
        choices = (f"-DBF16={int(bf16)}", cpu, "-iquote", str(HEADERS))
        command = [compiler, *choices, str(source), "-o", str(made), *OPTIONS]
        try:
            if not ALIKE or not _succeeds([*command, *ALIKE]):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT)
            return ctypes.CDLL(str(made))
        except (subprocess.SubprocessError, OSError) as error:
            _warn(source, (getattr(error, "stderr", None) or str(error))[:500])
            return None


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT).returncode == 0


def _warn(source: Path, reason: str) -> None:
    log.warning("native_part_missing", part=source.stem, reason=reason, effect="it is computed more slowly")
