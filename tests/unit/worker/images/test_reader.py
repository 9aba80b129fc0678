"""The process that reads images for a base model: what it answers, and what an image can cost."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from transformers import AutoProcessor

from core.images.parts import UnusableImage
from tests.fixtures.models.vision import save_vision_model, smolvlm
from tests.fixtures.processes.processes import named
from tests.fixtures.rows.images import encoded, picture
from worker.images.reader import PROGRAM, ImageReader

pytestmark = [pytest.mark.slow]
SMALL, LARGE = encoded(picture(40, 30)), encoded(picture(800, 600))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    save_vision_model(smolvlm, folder)
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path) -> Iterator[ImageReader]:
    reader = ImageReader(folder)
    yield reader
    reader.close()


def test_the_inputs_are_those_of_the_model_s_own_processor(reader: ImageReader, folder: Path) -> None:
    processor = AutoProcessor.from_pretrained(folder)
    expected = processor(images=[picture(800, 600)], text=[processor.image_token], return_tensors="pt")
    found = reader.read(LARGE, "high", wants_arrays=True)
    assert found.tokens == int((expected["input_ids"] == processor.image_token_id).sum())
    assert found.words.count(processor.image_token) == found.tokens
    assert processor.tokenizer(found.words)["input_ids"] == expected["input_ids"][0].tolist()
    assert set(found.arrays) == {"pixel_values", "pixel_attention_mask"}
    assert (found.arrays["pixel_values"] == expected["pixel_values"].numpy()).all()


def test_low_detail_takes_fewer_tokens_and_auto_takes_it_for_small_images(reader: ImageReader) -> None:
    high, low = (reader.read(LARGE, detail, wants_arrays=False) for detail in ("high", "low"))
    assert low.tokens < high.tokens
    assert high.arrays == {}
    assert reader.read(SMALL, "auto", wants_arrays=False).tokens == low.tokens
    assert reader.read(LARGE, "auto", wants_arrays=False).tokens == high.tokens


def test_an_image_that_cannot_be_decoded_is_refused_and_the_process_goes_on(reader: ImageReader) -> None:
    with pytest.raises(UnusableImage, match="cut off or damaged") as caught:
        reader.read(SMALL[:-100], "auto", wants_arrays=False)
    assert caught.value.code == "damaged_image"
    assert reader.read(SMALL, "auto", wants_arrays=False).tokens


def test_an_image_that_ends_the_process_is_refused_and_the_next_one_is_read(reader: ImageReader) -> None:
    assert reader.read(SMALL, "auto", wants_arrays=False).tokens
    (process,) = named(PROGRAM, psutil.Process().children())
    process.kill()
    with pytest.raises(UnusableImage, match="too much time or memory"):
        reader.read(SMALL, "auto", wants_arrays=False)
    assert reader.read(SMALL, "auto", wants_arrays=False).tokens


def test_a_folder_without_a_processor_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no processor"):
        ImageReader(tmp_path).read(SMALL, "auto", wants_arrays=False)
