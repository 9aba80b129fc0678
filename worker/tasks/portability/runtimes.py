"""The runtimes that can be measured: in which forms they get an adapter, and what they answer."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog
import torch

from core.errors import JobError
from core.portability.installed import other_runtimes
from core.portability.report import Form, Runtime
from core.portability.traits import Traits
from worker.engine.device.health import is_out_of_memory
from worker.tasks.export.source import Source
from worker.tasks.portability.prompts import PromptSet
from worker.tasks.portability.runtime_process import Candidate, Failure, Outcome, run_program, shortened
from worker.tasks.portability.with_peft import peft_answers, peft_version

log = structlog.get_logger()


@dataclass(frozen=True)
class Question:
    """What all runtimes are asked: the prompts, and the tokens that end an answer."""

    source: Source
    prompts: PromptSet
    ends: Collection[int]


class MeasuredRuntime(Protocol):
    """A runtime that answers prompts on this machine."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def stops_at_success(self) -> bool:
        """Whether the forms after one that answers alike are left out."""

    def forms(self, traits: Traits) -> Sequence[Form]:
        """Return the forms to try, the one that needs least work first."""

    def answer(self, question: Question, candidate: Candidate, folder: Path) -> Outcome:
        """Load the candidate and answer the prompts. `folder` is for the files of the measurement."""


class Peft:
    runtime: Runtime = "peft"
    stops_at_success = True

    def forms(self, traits: Traits) -> Sequence[Form]:  # noqa: ARG002
        return ("as_it_is",)

    def answer(self, question: Question, candidate: Candidate, folder: Path) -> Outcome:  # noqa: ARG002
        try:
            found = peft_answers(question.source, question.prompts, question.ends)
        except JobError as error:
            return Outcome(peft_version(), Failure(error.message))
        except Exception as error:  # their own classes may fail in any way, as those of another runtime
            if is_out_of_memory(error):
                raise
            return Outcome(peft_version(), Failure(shortened(f"{type(error).__name__}: {error}")))
        return Outcome(peft_version(), found)


@dataclass(frozen=True)
class LlamaCpp:
    """llama.cpp by its wheel. A LoRA is measured both beside the base model and merged."""

    python: Path
    runtime: Runtime = "llama_cpp"
    stops_at_success: bool = False

    def forms(self, traits: Traits) -> Sequence[Form]:
        if not traits.is_mergeable:
            return ()
        return ("gguf_adapter", "gguf") if traits.is_lora else ("gguf",)

    def answer(self, question: Question, candidate: Candidate, folder: Path) -> Outcome:
        return _apart(self.python, "llamacpp_program.py", question, candidate, folder)


@dataclass(frozen=True)
class Vllm:
    """vLLM, by the Python of its environment."""

    python: Path
    runtime: Runtime = "vllm"
    stops_at_success: bool = True

    def forms(self, traits: Traits) -> Sequence[Form]:
        if traits.is_whole_model:
            return ("as_it_is",)
        if not traits.is_mergeable:
            return ()
        return ("as_it_is", "lora", "merged") if traits.is_lora else ("merged",)

    def answer(self, question: Question, candidate: Candidate, folder: Path) -> Outcome:
        return _apart(self.python, "vllm_program.py", question, candidate, folder)


def installed_runtimes(vllm_python: Path | None) -> list[MeasuredRuntime]:
    """Return the runtimes that this machine has. PEFT is always there."""
    others = other_runtimes(vllm_python)
    found: list[MeasuredRuntime] = [Peft()]
    if vllm_python is not None and "vllm" in others:
        found.append(Vllm(vllm_python))
    elif vllm_python is not None:
        log.warning("vllm_python_missing", path=str(vllm_python))
    if "llama_cpp" in others:
        found.append(LlamaCpp(Path(sys.executable)))
    return found


def _apart(python: Path, program: str, question: Question, candidate: Candidate, folder: Path) -> Outcome:
    environment = {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the training goes first
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return run_program(python, program, candidate, question.prompts, question.ends, folder, environment)
