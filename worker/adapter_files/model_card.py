"""Writes the README.md of an adapter or a model: what it is, how it was made, and how to load it."""

import json
from collections.abc import Iterator
from typing import Any

from core.catalog import BaseModelEntry
from core.jobs.spec import JobSpec
from core.methods.low_rank import AdaLoraAdapter, LoraAdapter, LowRankAdapter
from core.methods.registry import METHODS
from core.objectives.registry import AnyObjective
from core.objectives.supervised import Supervised
from core.portability.rules import reports_by_rule
from core.portability.traits import PROMPTS
from core.tables import Job
from worker.adapter_files.loading_code import loading_code
from worker.adapter_files.portability_section import section_by_rule

ADAPTER = """---
library_name: peft
base_model: {repository}
base_model_relation: adapter
license: {license}
tags: [{type}, tunery]
---

# {name}

An adapter ({title}) for [{repository}](https://huggingface.co/{repository}), trained by Tunery
in job `{job_id}`.

{loading}"""

MODEL = """---
library_name: transformers
pipeline_tag: text-generation
base_model: {repository}
base_model_relation: finetune
license: {license}
tags: [{type}, tunery]
---

# {name}

A whole model ({title}): [{repository}](https://huggingface.co/{repository}), with weights trained by
Tunery in job `{job_id}`. Nothing else is needed to load it.

{loading}"""

TABLE = """
| | |
| --- | --- |
| base's weights | {precision} |
{parent}| objective | {objective} |
{adapter}| epochs, batch size | {epochs}, {batch_size} |
| peak learning rate, schedule | {learning_rate:g}, {schedule} |
| seed | {seed} |
| steps, tokens | {steps}, {tokens} |
| training loss, step {published_step} | {train_loss} |
| validation {validated_by} | {validation} |

`manifest.json` lists every file with its SHA-256, the hashes of base model and data, and all settings.
{portability}"""

HEADS = {"adapter": ADAPTER, "model": MODEL}
NAMES = {"adapter": "adapter", "model": "fine-tuned"}
VALIDATED = {
    "full_valid_mean_reward": "reward",
    "full_valid_mean_reverse_kl": "reverse KL",
    "full_valid_loss": "loss",
}
"""What validations measure, each with its words: the first one that a job has is shown"""
LONGEST_OPTION = 120  # characters of an option in the table; manifest.json has all of it


def model_card(entry: BaseModelEntry, job: Job, training: dict[str, Any]) -> str:
    """Return the text of README.md. `training` is the summary of the training, as in the manifest."""
    spec = JobSpec.model_validate(job.spec)
    method = METHODS[spec.adapter.type]
    measure = next(name for name in VALIDATED if name in training)
    published = spec.adapter.model_dump() | {"target_parameters": training.get("target_parameters")}
    reports = reports_by_rule(published, entry.repository, entry.revision)
    return (HEADS[method.result] + TABLE).format(
        repository=entry.repository,
        revision=entry.revision,
        license=entry.license.lower(),
        name=job.suffix or f"{entry.id} {NAMES[method.result]}",
        job_id=job.id,
        loading=loading_code(reports, generates=spec.adapter.type not in PROMPTS),
        portability=section_by_rule(reports),
        precision=" in ".join(filter(None, (training["quantization"], training["dtype"]))),
        parent="".join(f"| continues from | {each.model} |\n" for each in spec.lineage[:1]),
        objective=_objective(spec.objective),
        type=spec.adapter.type,
        title=method.title,
        adapter="".join(f"| {name} | {value} |\n" for name, value in _adapter_rows(spec, training)),
        epochs=spec.hyperparameters.n_epochs,
        batch_size=spec.hyperparameters.batch_size,
        learning_rate=spec.peak_learning_rate,
        schedule=spec.training.lr_scheduler_type,
        seed=spec.seed,
        steps=training["steps"],
        tokens=training["trained_tokens"],
        published_step=training["published_step"],
        train_loss=_training_loss(training["train_loss"]),
        validated_by=VALIDATED[measure],
        validation=_validation(training[measure], job),
    )


def _objective(objective: AnyObjective) -> str:
    if isinstance(objective, Supervised):
        return "cross-entropy (supervised)"
    shown = {name: _shown(value) for name, value in objective if name != "type" and value is not None}
    return f"{objective.type.upper()} ({', '.join(f'{name} {value}' for name, value in shown.items())})"


def _shown(value: Any) -> str:
    """Return an option's value in a few words: of a grader, its name."""
    match value:
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
    return str(getattr(value, "name", value))


def _adapter_rows(spec: JobSpec, training: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the rows on the adapter: rank and alpha of LoRA, or another method's options that are set."""
    if isinstance(spec.adapter, LoraAdapter | AdaLoraAdapter):
        yield "rank, alpha", _rank(spec.adapter)
    else:
        options = spec.adapter.model_dump(mode="json", exclude={"type", "target_modules"})
        yield from ((name, _short(value)) for name, value in options.items() if value not in (None, {}))
    if training["target_modules"]:
        yield "target modules", ", ".join(training["target_modules"])
    if training.get("target_parameters"):
        yield "target parameters", ", ".join(training["target_parameters"])


def _rank(adapter: LowRankAdapter) -> str:
    if isinstance(adapter, AdaLoraAdapter):
        return f"{adapter.target_r} on average, from {adapter.init_r}, {adapter.lora_alpha}"
    text = f"{adapter.r}, {adapter.lora_alpha}{' (rank-stabilised)' if adapter.use_rslora else ''}"
    if adapter.init_lora_weights is not True:
        text += f", begun with {adapter.init_lora_weights}"
    if adapter.dynamic_rank:
        text += "; its first ranks are adapters of their own"
    if adapter.begins_with_weights:
        text += f"; saved as a plain LoRA of rank {2 * adapter.r}"
    return text


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_OPTION else f"{text[:LONGEST_OPTION]} …"


def _training_loss(loss: float | None) -> str:
    return "no step was made" if loss is None else f"{loss:.4f}"


def _validation(value: float | None, job: Job) -> str:
    if value is None:
        return "no validation file" if job.validation_file_id is None else "not finite"
    return f"{value:.4f}"
