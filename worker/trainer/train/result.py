"""What a job that has been trained publishes: taken from the device, before the job lets go of it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.estimates.memory_plan import MemoryPlan
from core.jobs.spec import JobSpec
from worker.adapter_files.model_card import VALIDATED
from worker.trainer.save.publish import Result, describe_dataset
from worker.trainer.train.stages import Training
from worker.trainer.train.worker_status import device_name

KEPT = ("train_loss", "full_valid_loss", "full_valid_mean_token_accuracy")


def result_of(training: Training, spec: JobSpec, memory_plan: MemoryPlan, folder: Path) -> Result:
    """Return the result, whose adapter is still to be written to `folder`."""
    base = training.base
    return Result(
        folder=folder,
        base=base.entry,
        base_folder=base.folder,
        base_sha256=base.source_sha256,
        tokenizer=base.tokenizer,
        training=_how_it_was_trained(training, memory_plan),
        dataset=describe_dataset(training.data.training_file, training.data.validation_file),
        trained_tokens=training.candidates.trained_tokens,
        measured={} if spec.search is not None else _measured(training),
        stored=training.checkpoints.stored,
    )


def _how_it_was_trained(training: Training, memory_plan: MemoryPlan) -> dict[str, Any]:
    base, published = training.base, training.to_publish
    trainee, evaluator = training.candidates.best.trainee, training.candidates.best.evaluator
    assert published is not None
    return {
        "base_revision": base.entry.revision,
        "dtype": str(base.dtype).removeprefix("torch."),
        "quantization": base.entry.quantization,
        "compute": base.compute,
        "decoder": base.decoder.path,
        **asdict(memory_plan),
        "steps": trainee.step,
        "published_step": published["step"],
        "stopped_early": trainee.last_step < trainee.total_steps,
        "trained_tokens": evaluator.trained_tokens,
        **{key: published.get(key) for key in KEPT},
        **{name: published[name] for name in VALIDATED if name in published},
        "target_modules": trainee.adapter.target_modules,
        **({"target_parameters": [*experts]} if (experts := trainee.adapter.target_parameters) else {}),
        **({"ranks": evaluator.ranks} if evaluator.ranks else {}),
    }


def _measured(training: Training) -> dict[str, Any]:
    """Return how long a job's only adapter was trained, and where. Several candidates leave one by one."""
    evaluator, base = training.candidates.best.evaluator, training.base
    return {
        "trained_seconds": round(evaluator.trained_seconds, 3),
        "trained_tokens": evaluator.trained_tokens,
        "device": device_name(base.device),
        "quantization": base.entry.precision,
    }
