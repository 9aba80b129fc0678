"""The files of an adapter's folder: its manifest, its model card and its tokenizer."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from core.catalog import SMOLLM2
from core.jobs.spec import Hyperparameters, JobSpec
from core.methods.low_rank import LoraAdapter
from core.methods.whole import FullTuning
from core.tables import File, Job
from worker.adapter_files.folder import library_versions
from worker.adapter_files.model_card import model_card
from worker.tasks.tracking.sinks import TrackedJob
from worker.trainer.save.publish import Result, complete_adapter_folder, describe_dataset

SPEC = JobSpec(
    base_model=SMOLLM2.id,
    seed=1,
    hyperparameters=Hyperparameters(n_epochs=3, batch_size=4, learning_rate_multiplier=1.0),
)
TRAINING = {
    "steps": 30,
    "published_step": 30,
    "trained_tokens": 4000,
    "train_loss": 0.5,
    "full_valid_loss": None,
    "target_modules": ["q_proj"],
    "dtype": "bfloat16",
    "quantization": None,
}


ONE_TEMPLATE = "{{ messages }}"
SEVERAL_TEMPLATES = {"default": ONE_TEMPLATE, "tool_use": "{{ tools }}"}


def write_folder(
    folder: Path, template: str | dict[str, str] = ONE_TEMPLATE, spec: JobSpec = SPEC
) -> dict[str, Any]:
    """Write an adapter's folder with a real tokenizer, beside that of its base. Return its manifest."""
    folder.mkdir()
    base = folder.with_name("base")
    base.mkdir()
    (base / "preprocessor_config.json").write_text("{}")
    words = Tokenizer(models.WordLevel({"<0>": 0}, unk_token="<0>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<0>", chat_template=template)
    job = Job(id="ftjob-1", spec=spec.model_dump())
    training_file = File(id="file-1", sha256="c" * 64, rows=40)
    validation_file = File(id="file-2", sha256="d" * 64, rows=4)
    dataset = describe_dataset(training_file, validation_file)
    result = Result(folder, SMOLLM2, base, "b" * 64, tokenizer, TRAINING, dataset, 0, {}, {})
    complete_adapter_folder(result, job)
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def test_the_manifest_has_the_hashes_that_the_card_promises(tmp_path: Path) -> None:
    manifest = write_folder(tmp_path / "adapter")
    assert manifest["base_sha256"] == "b" * 64
    assert manifest["dataset"] == {
        "training_file": {"id": "file-1", "sha256": "c" * 64, "rows": 40},
        "validation_file": {"id": "file-2", "sha256": "d" * 64, "rows": 4},
    }
    assert {entry["name"] for entry in manifest["files"]} == {
        *("README.md", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    }


@pytest.mark.parametrize("template", [ONE_TEMPLATE, SEVERAL_TEMPLATES], ids=["one", "several"])
def test_the_files_lie_flat_and_give_the_tokenizer_back_with_all_its_templates(
    tmp_path: Path, template: str | dict[str, str]
) -> None:
    folder = tmp_path / "adapter"
    manifest = write_folder(folder, template)
    listed = {entry["name"] for entry in manifest["files"]}
    assert {path.name for path in folder.iterdir()} == {*listed, "manifest.json"}
    assert AutoTokenizer.from_pretrained(folder).chat_template == template


def test_a_whole_model_has_the_processor_of_images_without_which_no_runtime_loads_it(tmp_path: Path) -> None:
    whole = SPEC.model_copy(update={"adapter": FullTuning()})
    manifest = write_folder(tmp_path / "adapter", spec=whole)
    assert "preprocessor_config.json" in {entry["name"] for entry in manifest["files"]}


def test_a_job_without_validation_says_so() -> None:
    described = describe_dataset(File(id="file-1", sha256="c" * 64, rows=40), None)
    assert described["validation_file"] is None


def test_the_card_tells_how_to_load_what_is_there() -> None:
    whole = SPEC.model_copy(update={"adapter": FullTuning()})
    adapter, model = (
        model_card(SMOLLM2, Job(id="ftjob-1", spec=spec.model_dump()), TRAINING) for spec in (SPEC, whole)
    )
    assert "library_name: peft" in adapter
    assert "PeftModel.from_pretrained(base" in adapter
    assert "library_name: transformers" in model
    assert "base_model_relation: finetune" in model
    assert "vllm serve path" in model
    assert "import PeftModel" not in model
    assert "library_name: peft" not in model


def test_the_card_has_the_reward_of_a_job_that_learns_from_rewards() -> None:
    trained = TRAINING | {"full_valid_mean_reward": 0.625}
    card = model_card(SMOLLM2, Job(id="ftjob-1", spec=SPEC.model_dump()), trained)
    assert "| validation reward | 0.6250 |" in card
    assert "validation loss" not in card


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"r": 16}, 16),
        ({"r": 17}, 32),
        ({"r": 16, "init_lora_weights": "pissa"}, 32),
        ({"use_dora": True}, None),
        ({"rank_pattern": {"q_proj": 4}}, None),
        ({"alpha_pattern": {"q_proj": 4}}, None),
        ({"init_lora_weights": "eva"}, None),
    ],
)
def test_the_card_serves_by_vllm_what_that_loads_as_it_is(options: dict[str, Any], most: int | None) -> None:
    spec = SPEC.model_copy(update={"adapter": LoraAdapter(**options)})
    card = model_card(SMOLLM2, Job(id="ftjob-1", spec=spec.model_dump()), TRAINING)
    assert ("vllm serve" in card) == (most is not None)
    assert most is None or f"--max-lora-rank {most} " in card


def test_the_card_says_what_each_runtime_loads_and_where_it_is_measured() -> None:
    dora = SPEC.model_copy(update={"adapter": LoraAdapter(use_dora=True)})
    card = model_card(SMOLLM2, Job(id="ftjob-1", spec=dora.model_dump()), TRAINING)
    for row in ("| PEFT | as it is |", "| vLLM | export `merged` |", "| Ollama | export `gguf` |"):
        assert row in card
    assert "GET /v1/adapters/{id}/portability" in card


@pytest.mark.parametrize(("quantization", "said"), [(None, "| bfloat16 |"), ("nf4", "| nf4 in bfloat16 |")])
def test_the_card_says_in_which_precision_the_base_was(quantization: str | None, said: str) -> None:
    job = Job(id="ftjob-1", spec=SPEC.model_dump())
    assert said in model_card(SMOLLM2, job, {**TRAINING, "quantization": quantization})


@pytest.mark.parametrize(
    ("file", "loss", "said"),
    [(None, None, "no validation file"), ("file-2", None, "not finite"), ("file-2", 0.25, "0.2500")],
)
def test_the_card_tells_a_validation_that_overflowed_from_none(
    file: str | None, loss: float | None, said: str
) -> None:
    job = Job(id="ftjob-1", spec=SPEC.model_dump(), validation_file_id=file)
    assert f"| validation loss | {said} |" in model_card(SMOLLM2, job, {**TRAINING, "full_valid_loss": loss})


def test_a_manifest_names_what_quantised_the_base() -> None:
    assert "bitsandbytes" in library_versions(quantised=True)
    assert "bitsandbytes" not in library_versions(quantised=False)


def test_trackers_are_not_told_where_the_models_of_graders_lie(tmp_path: Path) -> None:
    spec = {"seed": 1, "grader_models": {"judge": {"base": "a", "adapter": {"prefix": "adapters/secret/"}}}}
    job = Job(id="ftjob-1", spec=spec, training_file_id="file-1")
    config = TrackedJob(job, {}, {}, tmp_path, []).config
    assert config == {"job_id": "ftjob-1", "training_file": "file-1", "validation_file": None, "seed": 1}
