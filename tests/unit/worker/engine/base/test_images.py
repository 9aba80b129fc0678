"""Rows with images: what the engine computes of them is what transformers and PEFT compute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.jobs.spec import LoraAdapter
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.training import (
    MAX_TOKENS,
    assert_a_step_is_peft_s,
    evaluate,
    make_spec,
    make_trainee,
    randomize,
)
from tests.fixtures.models.tiny import named_class
from tests.fixtures.models.vision import VISION, save_vision_model
from tests.fixtures.rows.image_rows import ImageRows
from tests.fixtures.rows.images import picture
from worker.engine.base.base_model import ResidentBase
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.engine.sampler.answers import generate_answers
from worker.engine.step.context import PassContext

pytestmark = [pytest.mark.slow]
EVERY = pytest.mark.parametrize("make", VISION.values(), ids=VISION)
FIRST, OTHER, LARGE = picture(40, 24), picture(24, 40, seed=3), picture(64, 64)
QUESTION = "<|im_start|>user\nIMAGE"


@pytest.fixture
def base(make: Callable[[], Any], tmp_path: Path) -> ResidentBase:
    save_vision_model(make, tmp_path)
    entry = TINY.model_copy(update={"dtype": "fp32"})
    return ResidentBase(entry, tmp_path, "0" * 64, torch.device("cpu"))


@EVERY
def test_a_model_of_this_class_reads_images(base: ResidentBase) -> None:
    assert base.tower is not None
    assert base.decoder.path == "fast"


@EVERY
def test_a_step_has_the_loss_and_gradients_of_peft_on_the_images_themselves(
    base: ResidentBase, tmp_path: Path
) -> None:
    made = ImageRows(base)
    rows = [
        made.add([FIRST], f"{QUESTION} Which?<|im_end|>It is the first.", 12),
        made.add([FIRST], f"{QUESTION} And what else?<|im_end|>Nothing.", 6),
        made.add([OTHER, FIRST], f"{QUESTION} or IMAGE?<|im_end|>The other.", 8),
        made.add([OTHER], f"{QUESTION} Which?<|im_end|>Green.", 5),
    ]
    trainee = make_trainee(base, "job", make_spec(adapter=LoraAdapter(r=4, lora_alpha=8)), rows)
    randomize(trainee.adapter)  # type: ignore[arg-type]
    plain = named_class(base.folder).from_pretrained(base.folder, dtype=torch.float32)
    assert_a_step_is_peft_s(base, trainee, plain, tmp_path / "adapter", loss_of=made.loss_of)


@EVERY
def test_rows_about_the_same_image_share_its_tokens(base: ResidentBase) -> None:
    made = ImageRows(base)
    first = made.add([LARGE], f"{QUESTION} Which?<|im_end|>It is the first.", 12)
    other = made.add([LARGE], f"{QUESTION} And what else?<|im_end|>Nothing.", 6)
    images = first.tokens_L >= 2**30
    shared = other.tokens_L.copy()
    shared[shared >= 2**30] = first.tokens_L[images]
    (batch,) = pack([JobRows("job", [first, other], 1.0)], 1000, base.device)
    assert len(batch.tokens_T) == len(first.tokens_L) + len(other.tokens_L)  # other numbers: other images
    alike = type(other)(2, shared, other.learnt_L, images=made.store)
    (batch,) = pack([JobRows("job", [first, alike], 1.0)], 1000, base.device)
    assert batch.images_ID is not None
    assert len(batch.images_ID) == images.sum()
    assert len(batch.tokens_T) < len(first.tokens_L) + len(alike.tokens_L) - images.sum()


@EVERY
def test_micro_batches_and_lanes_change_nothing(base: ResidentBase) -> None:
    made = ImageRows(base)
    rows = [
        made.add([picture(40, 24, seed=seed)], f"{QUESTION} {seed}?<|im_end|>It is {seed}.", 6)
        for seed in range(8)
    ]
    trainee = make_trainee(base, "job", make_spec(), rows)
    randomize(trainee.adapter)  # type: ignore[arg-type]
    whole, parts = (
        evaluate(PassContext(base, most), trainee.adapter, rows).loss for most in (10_000, MAX_TOKENS)
    )
    assert whole == pytest.approx(parts, rel=1e-5)


@EVERY
def test_the_answer_in_training_is_the_one_that_transformers_generates(base: ResidentBase) -> None:
    made = ImageRows(base)
    row = made.add([OTHER, FIRST], f"{QUESTION} or IMAGE?<|im_end|>The other.", 10)
    trainee = make_trainee(base, "job", make_spec(), [row])
    (answer,) = generate_answers(base, trainee.adapter, [row], 12, 1000)
    assert answer.error is None
    plain = named_class(base.folder).from_pretrained(base.folder, dtype=torch.float32)
    inputs = {**made.inputs[row.line]}
    asked = inputs["input_ids"].shape[1] - 10
    for name in ("input_ids", "attention_mask"):
        inputs[name] = inputs[name][:, :asked]
    with torch.no_grad():
        generated = plain.generate(**inputs, max_new_tokens=12, do_sample=False)[0, asked:]
    expected = base.tokenizer.decode(generated.tolist(), skip_special_tokens=True).strip()
    assert answer.answer == expected
