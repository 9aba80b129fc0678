"""A trial, run when a base model is loaded, that finds out whether its images can be computed as vectors.

A token of an image takes a vector in the place of an embedding, and is else like a word: it sees what is
before it, and its position is the next one. In some models it is not: the tokens of an image see each other,
or have positions in two dimensions, or later layers take vectors too. No list of architectures stays
complete. So a small image is computed in both ways, by transformers and by the engine.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoProcessor

from worker.engine.base.tower import Tower
from worker.engine.base.trial import TOLERANCE, difference
from worker.engine.batch.micro_batch import MicroBatch, trial_row
from worker.engine.decoders.head import capped_logits
from worker.engine.decoders.text_decoder import TextDecoder
from worker.images.reader import has_processor
from worker.rows.image_store import FIRST_IMAGE_TOKEN

SIZE = 64

log = structlog.get_logger()


def tower_of(model: nn.Module, dtype: torch.dtype, decoder: TextDecoder, folder: Path) -> Tower | None:
    """Return the model's tower; None if it has none, or if the engine cannot compute with its vectors."""
    if not hasattr(model, "get_image_features") or not has_processor(folder):
        return None
    tower = Tower(model, dtype)
    try:
        processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
        reason = _why_not(model, decoder, tower, processor)
    except Exception as error:  # any kind: it is foreign code
        reason = f"{type(error).__name__}: {error}"
    if reason is None:
        return tower
    log.warning("images_not_read", folder=str(folder), reason=reason)
    return None


@torch.no_grad()
def _why_not(model: nn.Module, decoder: TextDecoder, tower: Tower, processor: Any) -> str | None:
    """Return why the engine computes an image otherwise than transformers; None if it does not."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    text = f"{processor.image_token} a {processor.image_token} b c d"
    images = [Image.fromarray(pixels), Image.fromarray(pixels[::-1, :, ::-1].copy())]
    whole = {"do_image_splitting": False} if hasattr(processor.image_processor, "do_image_splitting") else {}
    inputs: dict[str, Tensor] = dict(processor(images=images, text=[text], return_tensors="pt", **whole))
    device = next(model.parameters()).device
    inputs = {name: each.to(device) for name, each in inputs.items()}
    expected_TV = model(**inputs, use_cache=False).logits[0].float()
    tokens_T = inputs["input_ids"][0]
    is_image_T = tokens_T == processor.image_token_id
    arguments = {name: inputs[name] for name in processor.image_processor.model_input_names if name in inputs}
    vectors_ID = tower.vectors(arguments)
    if len(vectors_ID) != int(is_image_T.sum()):
        return f"two images have {int(is_image_T.sum())} tokens and {len(vectors_ID)} vectors"
    numbered_T = torch.where(is_image_T, FIRST_IMAGE_TOKEN - 1 + is_image_T.cumsum(0), tokens_T)
    hidden_TD = decoder.hidden(_one_row(numbered_T, vectors_ID), {})
    logits_TV = capped_logits(hidden_TD, decoder.head_weight, decoder.softcap)
    apart = difference(logits_TV[~is_image_T], expected_TV[~is_image_T])
    if apart <= TOLERANCE[hidden_TD.dtype]:
        return None
    return f"behind images, the logits of words differ from those of transformers by {apart:.1%}"


def _one_row(tokens_T: Tensor, images_ID: Tensor) -> MicroBatch:
    row = trial_row("", len(tokens_T), tokens_T.device)
    return replace(
        row, tokens_T=tokens_T, adapter_tokens={}, supervised_S=row.positions_T, images_ID=images_ID
    )
