"""The checks of the acceptance: the command of each, and what its results say."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench import page
from bench.memory.measured import MAPPED
from bench.pages.tables import markdown, shown
from core.datasets.check import MIN_ROWS
from worker.process.environment import TRAINER_ENVIRONMENT

TWINS = [f"tests/unit/worker/engine/kernels/test_{name}.py" for name in ("operations", "on_a_gpu")]
MEMORY_BOUND, LOSS_BOUND, RESUME_BOUND = 0.1, 0.02, 1e-3  # relative
PEERS = "hf,trl,unsloth"


@dataclass(frozen=True)
class Found:
    """Whether the device passes a check, and the figures, as Markdown."""

    passes: bool
    text: str


@dataclass(frozen=True)
class Check:
    name: str
    words: Callable[[Path], list[str]]
    """Returns what Python runs. It gets the file or folder for the check's results."""
    read: Callable[[Path], Found]
    only_on_a_gpu: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: TRAINER_ENVIRONMENT)


@dataclass(frozen=True)
class Size:
    """How much is computed, so that all checks take about ten minutes."""

    rows: int
    rows_of_many: int
    """The rows of each of the sixteen jobs."""
    adapters: int
    new_tokens: int


ON_GPU, ON_CPU = Size(256, 64, 16, 48), Size(16, MIN_ROWS, 4, 16)


def checks(size: Size, models: Path, venvs: Path) -> list[Check]:
    """Return the checks in their order: what fails first explains what fails later."""
    store = ["--models", str(models)]
    train = ["bench.train", *store, "--venvs", str(venvs), "--workload"]
    many = ["e2e16", "--rows", str(size.rows_of_many), "--peers", "none", "--turns", "1"]
    chat = ["bench.serving.serve", *store, "--new", str(size.new_tokens), "--adapters", str(size.adapters)]
    vllm = venvs / "vllm"
    beside = ["--vllm", str(vllm)] if vllm.exists() else []
    return [
        Check("device", module("bench.acceptance.device"), device),
        Check("twins", lambda out: ["-m", "pytest", "-q", f"--junitxml={out}", *TWINS], twins_agree),
        Check("kernels", module("bench.gpu"), kernels, only_on_a_gpu=True),
        Check("memory", module("bench.acceptance.memory"), memory, environment=MAPPED),
        Check("training", module(*train, "gsm8k", "--rows", str(size.rows), "--peers", PEERS), training),
        Check("sixteen jobs", module(*train, *many), cohort),
        Check("chats", module(*chat, *beside), chats),
        Check("resume", module("bench.acceptance.resume", *store), resume),
    ]


def module(*words: str) -> Callable[[Path], list[str]]:
    return lambda out: ["-m", *words, "--out", str(out)]


def device(out: Path) -> Found:
    found = json.loads(out.read_text())
    machine = found.pop("machine")
    return Found(True, bullets({**machine, **found}))


def twins_agree(out: Path) -> Found:
    suite = ElementTree.parse(out).getroot().find("testsuite")  # noqa: S314 (pytest has just written it)
    counts = {name: int(suite.attrib[name]) if suite is not None else 0 for name in COUNTED}
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return Found(passed > 0 == counts["failures"] + counts["errors"], bullets({"passed": passed, **counts}))


COUNTED = ("tests", "failures", "errors", "skipped")


def kernels(out: Path) -> Found:
    return Found(True, f"```\n{out.read_text()}```")


def memory(out: Path) -> Found:
    found = json.loads(out.read_text())
    ratio = found["planned_bytes"] / found["measured_bytes"]
    text = f"{bullets(found)}\n\nThe plan is {ratio:.2f} times what a step takes."
    return Found(abs(ratio - 1) <= MEMORY_BOUND, text)


def training(out: Path) -> Found:
    """Every trainer must train, and our loss on held-out rows must not be above that of another one."""
    section = section_of(out)
    higher = [line for line in section["median"] if (line["ours_to_it"] or 0) > LOSS_BOUND]
    return Found(not failed(section) and not higher, page.section_text(section))


def cohort(out: Path) -> Found:
    section = section_of(out)
    return Found(not failed(section), page.section_text(section))


def chats(out: Path) -> Found:
    """List the cases with a rate. vLLM's have the kind of the case before the rate."""
    rows = []
    for name, figures in json.loads(out.read_text()).items():
        for key, rate in figures.items() if isinstance(figures, dict) else ():
            if key.endswith(RATE):
                case = f"{name}, {key.removesuffix(RATE).replace('_', ' ')}".rstrip(", ")
                rows.append((case, shown(rate, ",.1f"), shown(figures.get("first_token_ms"), ",.0f")))
    return Found(True, markdown(("case", "tokens/s", "first token, ms"), rows))


RATE = "tokens_per_second"


def resume(out: Path) -> Found:
    """The losses after the kill must be those of the undisturbed job. Some GPU kernels add in any order."""
    found = json.loads(out.read_text())
    undisturbed, killed = found["undisturbed"], found["killed"]
    off = max(abs(killed[step] / loss - 1) for step, loss in undisturbed.items() if step in killed)
    text = (
        f"Killed after step {found['killed_after_step']} of {len(undisturbed)}. "
        f"The job took {len(killed)} steps, and its losses differ by {off:.1e} at most."
    )
    return Found(killed.keys() == undisturbed.keys() and off <= RESUME_BOUND, text)


def section_of(out: Path) -> page.Section:
    """Return the only section that the run of a workload has written."""
    (day,) = out.glob("*.json")
    (section,) = json.loads(day.read_text()).values()
    return dict(section)


def failed(section: page.Section) -> bool:
    return any(run.get("failure") for run in section["runs"])


def bullets(found: dict[str, Any]) -> str:
    return "\n".join(f"- {name.replace('_', ' ')}: {worded(value)}" for name, value in found.items())


def worded(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, str) or value is None:
        return str(value)
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"
