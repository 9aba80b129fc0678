"""The request that creates a job like one at OpenAI."""

from typing import cast

from openai.types.fine_tuning import FineTuningJob

from cli.commands.from_openai import FileCopies, request_of

GRADER = {"type": "string_check", "name": "a", "input": "a", "reference": "b", "operation": "eq"}


class Copies:
    def id_of(self, source_id: str) -> str:
        return f"copy-of-{source_id}"


def test_a_job_with_rewards_keeps_its_grader_and_what_does_not_belong_to_its_model() -> None:
    hyperparameters = {"n_epochs": 2, "batch_size": 8, "eval_samples": 3, "learning_rate_multiplier": 1.5}
    method = {"grader": GRADER, "hyperparameters": {**hyperparameters, "compute_multiplier": 1.0}}
    job = FineTuningJob.model_validate(
        {
            "id": "ftjob-1",
            "created_at": 1,
            "hyperparameters": {},
            "model": "o4-mini",
            "object": "fine_tuning.job",
            "organization_id": "org",
            "result_files": [],
            "seed": 7,
            "status": "succeeded",
            "training_file": "file-1",
            "validation_file": "file-2",
            "method": {"type": "reinforcement", "reinforcement": method},
        }
    )
    request = request_of(job, "tiny", cast(FileCopies, Copies()))
    kept = {"n_epochs": 2, "batch_size": 8, "eval_samples": 3}
    assert request["method"] == {
        "type": "reinforcement",
        "reinforcement": {"grader": GRADER, "hyperparameters": kept},
    }
    assert (request["training_file"], request["validation_file"]) == ("copy-of-file-1", "copy-of-file-2")
