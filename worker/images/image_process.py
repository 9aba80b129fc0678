"""The process that reads images, `python -m worker.images.image_process FOLDER FILE_NUMBER`.

FOLDER has the base model's processor, and FILE_NUMBER is the channel to the process that asks. The process
first sends how the model marks images. Then it answers each order with the image's inputs, or with the error
that says why the image cannot be read. It ends with its channel.
"""

import sys
from multiprocessing.connection import Connection
from typing import Any

from PIL import Image
from transformers import AutoProcessor

from core.images.decoding import pixels_of
from core.images.parts import UnusableImage, too_costly
from worker.images.inputs import Detail, ImageInputs, Order, Placeholders
from worker.process.limits import limit_memory, limit_time

SECONDS = 30  # of computing for one image
MORE_BYTES = 2 * 1024**3  # beside what the libraries take: an image of the most pixels in fp32, and its copy
SMALL = 512
"""Pixels of the longer side of an image that is read in low detail, as OpenAI does"""


def main() -> None:
    """Answer orders until the channel ends."""
    folder, channel = sys.argv[1], Connection(int(sys.argv[2]))
    processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    channel.send(Placeholders(processor.image_token, processor.image_token_id))
    limit_memory(MORE_BYTES)
    try:
        while True:
            order = channel.recv()
            limit_time(SECONDS)  # the system ends the process, which costs this image alone
            channel.send(_outcome(processor, order))
    except (EOFError, BrokenPipeError):
        return


def _outcome(processor: Any, order: Order) -> ImageInputs | UnusableImage:
    try:
        return inputs_of(processor, order)
    except UnusableImage as error:
        return error
    except MemoryError:
        return too_costly()


def inputs_of(processor: Any, order: Order) -> ImageInputs:
    """Return what a base model reads of an image. Raises UnusableImage."""
    image = pixels_of(order.content)
    options: dict[str, Any] = {}
    if is_low(order.detail, image):
        image.thumbnail((SMALL, SMALL))
        if hasattr(processor.image_processor, "do_image_splitting"):
            options["do_image_splitting"] = False
    found = processor(
        images=[image],
        text=[processor.image_token],
        return_tensors="pt",
        return_text_replacement_offsets=True,
        **options,
    )
    ((replaced,),) = found.pop("text_replacement_offsets")
    tokens = int((found.pop("input_ids") == processor.image_token_id).sum())
    names = processor.image_processor.model_input_names
    arrays = {name: tensor.numpy() for name, tensor in found.items() if name in names}
    return ImageInputs(replaced["replacement"], tokens, arrays if order.wants_arrays else {})


def is_low(detail: Detail, image: Image.Image) -> bool:
    """Return whether an image is read in low detail. `auto` means so for small images."""
    return detail == "low" or (detail == "auto" and max(image.size) <= SMALL)


if __name__ == "__main__":
    main()
