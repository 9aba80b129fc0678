"""Rows with images as tokens: as transformers' processor makes them, but with numbers for the images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from core.errors import JobError
from tests.fixtures.models.vision import save_vision_model, smolvlm
from tests.fixtures.rows.images import about, data_url, encoded, image_part, picture, question
from worker.rendering.images import FileImages
from worker.rendering.render import Rendering
from worker.rows.image_store import FIRST_IMAGE_TOKEN
from worker.rows.row import Row

pytestmark = [pytest.mark.slow]
FIRST, OTHER = picture(100, 60), picture(60, 100, seed=3)


def part(image: Image.Image, **more: Any) -> dict[str, Any]:
    return image_part(data_url(encoded(image)), **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_vision_model(smolvlm, folder)
    return folder


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return AutoProcessor.from_pretrained(folder)


@pytest.fixture
def images(folder: Path) -> Iterator[FileImages]:
    images = FileImages(folder)
    yield images
    images.reader.close()


def render(processor: Any, images: FileImages, *rows: dict[str, Any], max_length: int = 500) -> list[Row]:
    rendering = Rendering(processor.tokenizer, max_length, "training_file", images=images)
    return list(rendering.render(enumerate(rows, 1)))


def test_the_tokens_are_those_of_the_processor(processor: Any, images: FileImages) -> None:
    row = about(part(FIRST, detail="high"), part(OTHER, detail="high"), text="Which is wider?", answer="1")
    (rendered,) = render(processor, images, row)
    chat = [
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which is wider?"}],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "1"}]},
    ]
    text = processor.apply_chat_template(chat, tokenize=False)
    expected = processor(images=[FIRST, OTHER], text=[text])["input_ids"][0]
    at_I = np.flatnonzero(rendered.tokens_L >= FIRST_IMAGE_TOKEN)
    assert rendered.tokens_L[at_I].tolist() == [FIRST_IMAGE_TOKEN + number for number in range(len(at_I))]
    tokens_L = rendered.tokens_L.copy()
    tokens_L[at_I] = processor.image_token_id
    assert tokens_L.tolist() == list(expected)
    assert images.vectors == len(at_I)


def test_only_the_answer_is_learnt(processor: Any, images: FileImages) -> None:
    (rendered,) = render(processor, images, about(part(FIRST), answer="Yes"))
    assert processor.tokenizer.decode(rendered.tokens_L[rendered.learnt_L]) == "Yes<|im_end|>"


def test_the_same_image_has_the_same_numbers_in_every_row(processor: Any, images: FileImages) -> None:
    rows = (about(part(FIRST), text="a"), about(part(OTHER), part(FIRST), text="b"), about(part(FIRST)))
    numbers = [row.tokens_L[row.tokens_L >= FIRST_IMAGE_TOKEN] for row in render(processor, images, *rows)]
    assert len(images) == 2
    assert numbers[0].tolist() == numbers[2].tolist()
    assert numbers[1].tolist() == [*(numbers[0] + len(numbers[0])), *numbers[0]]


def test_the_same_image_in_other_detail_is_another_one(processor: Any, images: FileImages) -> None:
    render(processor, images, about(part(FIRST, detail="low"), part(FIRST, detail="high")))
    assert len(images) == 2


def test_the_images_are_read_again_in_the_same_order(processor: Any, images: FileImages) -> None:
    rows = about(part(FIRST)), about(part(FIRST), part(OTHER)), about(part(OTHER))
    render(processor, images, *rows)
    found = list(images.arrays(row["messages"] for row in rows))
    assert [first for first, _ in found] == [0, images.vectors // 2]
    assert all("pixel_values" in arrays for _, arrays in found)


def test_words_that_stand_for_an_image_are_refused_in_a_text(processor: Any, images: FileImages) -> None:
    with pytest.raises(JobError, match=r"Line 1: .* stands for an image; the text has it 2 times") as caught:
        render(processor, images, about(part(FIRST), text=f"What is {processor.image_token}?"))
    assert caught.value.code == "invalid_training_file"


def test_an_image_that_cannot_be_read_is_named_by_its_line(processor: Any, images: FileImages) -> None:
    bad = image_part(data_url(encoded(FIRST)[:-100]))
    with pytest.raises(JobError, match="Line 2: an image cannot be decoded") as caught:
        render(processor, images, about(part(FIRST)), about(bad))
    assert (caught.value.code, caught.value.param) == ("damaged_image", "training_file")


def test_a_row_may_be_cut_within_an_image(processor: Any, images: FileImages) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            question(part(FIRST)),
            {"role": "assistant", "content": "A gradient."},
        ]
    }
    (whole,) = render(processor, images, row)
    begin = int(np.flatnonzero(whole.tokens_L >= FIRST_IMAGE_TOKEN)[0])
    (cut,) = render(processor, images, row, max_length=begin + 1)
    assert cut.tokens_L.tolist() == whole.tokens_L[: begin + 1].tolist()


def test_a_model_without_images_refuses_the_row(processor: Any) -> None:
    with pytest.raises(JobError, match="Line 1 of the training file has an image") as caught:
        list(Rendering(processor.tokenizer, 500, "training_file").render([(1, about(part(FIRST)))]))
    assert caught.value.code == "base_model_without_images"
