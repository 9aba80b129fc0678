"""Runs over rows with images: models and graders see them, and records name them."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor

from core.datasets.images import image_parts
from core.errors import JobError
from core.images.decoding import pixels_of
from core.images.parts import encoded_image
from tests.fixtures.models.tiny import TINY, named_class, save_model, tiny_llama
from tests.fixtures.models.vision import save_vision_model, smolvlm, tokenizer_with
from tests.fixtures.rows.images import about, data_url, encoded, image_part, picture
from tests.fixtures.service.serving import ServerProcess, Serving
from tests.fixtures.work.evals import EXACT, LOSS, EvalRuns, inline
from worker.rendering.row_template import plain

EYES, EARS = "with-eyes", "with-ears"
SEEN = 7  # tokens of an image: four parts, and what is around them
SHOWN = {"type": "input_image", "image_url": "{{ item.image }}"}
ASKED = {
    "type": "template",
    "template": [
        {"role": "user", "content": [SHOWN, {"type": "input_text", "text": "What is {{ item.what }}?"}]}
    ],
}
ASKS = [{"role": "user", "content": ["Is this {{ sample.output_text }}?"]}]
PICTURES = [encoded(picture(seed=seed)) for seed in range(4)]
ROWS = [{"image": data_url(content), "what": "it", "reference": "x"} for content in PICTURES]


def save_with_ears(folder: Path) -> None:
    """Write a model with a processor of sounds, and a template that has a place for images."""
    tokenizer = tokenizer_with("<image>")
    save_model(tiny_llama(), folder, lambda: tokenizer)
    (folder / "preprocessor_config.json").write_text('{"feature_extractor_type": "WhisperFeatureExtractor"}')


@pytest.fixture(scope="module")
def serving(serving: Serving) -> Serving:
    serving.add_base(EYES, partial(save_vision_model, smolvlm))
    serving.add_base(EARS, save_with_ears)
    return serving


def samples(records: list[Any]) -> list[Any]:
    assert [record.error for record in records] == [None] * len(records)
    return [record.sample for record in records]


def test_a_template_shows_the_image_of_an_item_as_a_chat_row_does(
    runs: EvalRuns, server: ServerProcess
) -> None:
    with_eyes = partial(runs.do, [EXACT], model=EYES, base=EYES)
    by_template = samples(with_eyes(inline(ROWS), input_messages=ASKED).records)
    of_chats = [about(image_part(data_url(content))) for content in PICTURES]
    by_rows = samples(with_eyes(runs.file(of_chats)).records)
    assert [each["output"] for each in by_template] == [each["output"] for each in by_rows]
    unseen = {"type": "template", "template": [{"role": "user", "content": "What is {{ item.what }}?"}]}
    (blind, *_) = samples(with_eyes(inline(ROWS), input_messages=unseen).records)
    assert by_template[0]["usage"]["prompt_tokens"] == blind["usage"]["prompt_tokens"] + SEEN


def test_records_name_images_and_hold_none(runs: EvalRuns, server: ServerProcess) -> None:
    found = runs.do([EXACT], inline(ROWS), model=EYES, base=EYES, input_messages=ASKED)
    for record, content in zip(found.records, PICTURES, strict=True):
        name = f"image/png, sha256 {hashlib.sha256(content).hexdigest()}"
        assert record.item["image"] == name
        part, _ = (record.sample or {})["input"][0]["content"]
        assert part["image_url"] == {"url": name, "detail": "auto"}
        assert "base64" not in record.model_dump_json()


def test_graders_get_a_sample_as_it_was_written(runs: EvalRuns) -> None:
    same = {"type": "string_check", "input": "{{ sample.output_text }}", "reference": "{{ item.image }}"}
    rows = [{"item": ROWS[0], "sample": {"output_text": ROWS[0]["image"]}}]
    found = runs.do([{**same, "operation": "eq"}], runs.file(rows), model=None)
    assert found.report.passed == 1
    assert "base64" not in found.records[0].model_dump_json()


def test_the_model_of_a_grader_sees_images(runs: EvalRuns, server: ServerProcess) -> None:
    shown = [{"role": "user", "content": [SHOWN, *ASKS[0]["content"]]}]
    score = {"type": "score_model", "name": "grade", "model": EYES, "input": shown, "range": [0.0, 100.0]}
    rows = [{"item": row, "sample": {"output_text": "a dog"}} for row in ROWS]
    found = runs.do([score], runs.file(rows), model=None, judges=[EYES], base=EYES)
    assert found.report.errored == 0
    sample = found.records[0].results[0].sample or {}
    blind = runs.do([{**score, "input": ASKS}], runs.file(rows[:1]), model=None, judges=[EYES], base=EYES)
    without = blind.records[0].results[0].sample or {}
    assert sample["usage"]["prompt_tokens"] == without["usage"]["prompt_tokens"] + SEEN
    asked = sample["input"][0]["content"]
    assert [part["type"] for part in asked] == ["image_url", "text"]
    assert asked[1]["text"] == "Is this a dog?"


def by_transformers(folder: Path, rows: list[dict[str, Any]]) -> list[tuple[float, float, int]]:
    """Return loss, accuracy and number of tokens of each row's last answer. Images are opened here."""
    processor: Any = AutoProcessor.from_pretrained(folder)
    model = named_class(folder).from_pretrained(folder, dtype=torch.float32)
    found = []
    for row in rows:
        images = [
            pixels_of(encoded_image(part["image_url"]["url"]).content)
            for message in row["messages"]
            for _, part in image_parts(message)
        ]
        chat = [plain(message, in_parts=True) for message in row["messages"]]
        whole, before = (
            processor(images=images or None, text=[text], return_tensors="pt", do_image_splitting=False)
            for text in (
                processor.apply_chat_template(chat, tokenize=False).rstrip(),
                processor.apply_chat_template(chat[:-1], tokenize=False, add_generation_prompt=True),
            )
        )
        start, tokens = before["input_ids"].shape[1], whole["input_ids"][0]
        with torch.no_grad():
            logits = model(**whole).logits[0, start - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits, tokens[start:])
        right = (logits.argmax(-1) == tokens[start:]).float().mean()
        found.append((loss.item(), right.item(), len(tokens) - start))
    return found


def test_losses_of_rows_with_images_are_those_of_transformers(
    runs: EvalRuns, serving: Serving, server: ServerProcess
) -> None:
    first, other = (image_part(data_url(content)) for content in PICTURES[:2])
    rows = [
        about(first),
        about(other, other, first, answer="Two of them are alike."),
        about(text="None here?", answer="No."),
        {"messages": [*about(other)["messages"][:1], {"role": "assistant", "content": "a", "weight": 0}]},
    ]
    rows[3]["messages"] += about(first, text="And this one?")["messages"]
    found = runs.do([LOSS, {"type": "token_accuracy"}], runs.file(rows), model=EYES, base=EYES)
    assert [record.error for record in found.records] == [None] * 4
    expected = by_transformers(serving.folder / EYES, rows)
    losses, right = zip(*((r.results[0].score, r.results[1].score) for r in found.records), strict=True)
    assert losses == pytest.approx([loss for loss, _, _ in expected], abs=1e-4)
    assert right == pytest.approx([accuracy for _, accuracy, _ in expected], abs=1e-6)
    counted = [(record.results[0].counts or {})["tokens"] for record in found.records]
    assert counted == [tokens for _, _, tokens in expected]


def test_a_row_that_is_cut_before_an_image_is_measured_without_it(
    runs: EvalRuns, serving: Serving, server: ServerProcess
) -> None:
    """The first answer is learnt. The cut lies in the second question, before its image."""
    begun = about(image_part(data_url(PICTURES[0])))
    asked = {"role": "user", "content": [{"type": "text", "text": "a" * 600}, image_part()]}
    more = {"role": "assistant", "content": "cut off"}
    long = {"messages": [*begun["messages"], asked, more]}
    found = runs.do([LOSS], runs.file([begun, long]), model=EYES, base=EYES)
    assert [record.error for record in found.records] == [None] * 2
    whole, cut = (record.results[0].score for record in found.records)
    assert cut == pytest.approx(whole, abs=1e-5)


def test_a_base_model_whose_processor_reads_no_images_ends_a_run_that_renders_some(
    runs: EvalRuns, server: ServerProcess
) -> None:
    with pytest.raises(JobError, match="reads no images") as raised:
        runs.do([LOSS], runs.file([about(image_part())]), model=EARS, base=EARS)
    assert raised.value.code == "base_model_without_images"


def test_an_image_that_cannot_be_seen_is_an_error_of_its_row(runs: EvalRuns, server: ServerProcess) -> None:
    images = [
        data_url(PICTURES[0]),
        "https://example.com/cat.png",
        "a cat",
        data_url(PICTURES[0][:-40]),
        {"no": "text"},
    ]
    rows = inline([{**ROWS[0], "image": image} for image in images])
    found = runs.do([EXACT], rows, model=EYES, base=EYES, input_messages=ASKED)
    codes = [record.error and record.error.code for record in found.records]
    assert codes == [None, *["invalid_image_url"] * 2, "damaged_image", "invalid_image_url"]
    elsewhere = found.records[1].error
    assert elsewhere is not None
    assert "messages.0.content.0.image_url.url" in elsewhere.message


def test_a_model_that_reads_no_images_says_so_for_each_row_that_has_one(
    runs: EvalRuns, server: ServerProcess
) -> None:
    rows = [about(image_part()), about(text="Without one?")]
    found = runs.do([EXACT], runs.file(rows), model=TINY)
    assert [record.error and record.error.code for record in found.records] == ["unsupported_images", None]
