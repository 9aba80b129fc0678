"""Every method on offer: what can be merged answers alike, and what cannot is refused with the reason."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM

from core.errors import JobError
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.methods import BESIDE, METHODS, PROMPTS, spec_of
from tests.fixtures.engine.sampling import saved_adapter
from worker.engine.base.base_model import ResidentBase
from worker.tasks.export.low_rank import low_rank_update
from worker.tasks.export.merging import load_merged
from worker.tasks.export.source import Source

pytestmark = pytest.mark.family(4)

TOKENS = torch.tensor([[5, 17, 40, 31, 9, 220, 8]])
NOT_MERGEABLE = {*PROMPTS, "beft"}  # BEFT: on a base model without biases
NO_LORA = {"trainable_tokens", "ln_tuning"}  # they change no weight of a linear layer, or not only
WHOLE_RANK = 64  # of the smallest side of a layer, so that no rank is left out


@pytest.fixture
def source(method: str, base: ResidentBase, tiny_folder: Path, tmp_path: Path) -> Source:
    folder = saved_adapter(base, spec_of(method).adapter, tmp_path / method, far=0.02)
    return Source("adapter-1", "ft:tiny", method, TINY, folder, tiny_folder)


def logits(model: torch.nn.Module) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model.eval()(input_ids=TOKENS).logits
    return found


def expected(source: Source) -> Tensor:
    plain = AutoModelForCausalLM.from_pretrained(source.base_folder, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(plain, source.folder))


@pytest.mark.parametrize("method", sorted(set(METHODS) - NOT_MERGEABLE))
def test_a_merged_model_answers_as_the_adapter_does(source: Source) -> None:
    with torch.no_grad():
        found = logits(load_merged(source))
    assert torch.allclose(found, expected(source), atol=2e-4)


@pytest.mark.parametrize("method", sorted(set(METHODS) - NOT_MERGEABLE - NO_LORA))
def test_a_lora_of_the_whole_rank_answers_as_the_adapter_does(source: Source) -> None:
    with torch.no_grad():
        update = low_rank_update(source, WHOLE_RANK)
        model = source.load_base()
        for layer, factors in update.layers.items():
            model.get_submodule(layer).weight += factors.B_NR @ factors.A_RK
    assert update.error < 1e-3
    assert torch.allclose(logits(model), expected(source), atol=2e-3)


@pytest.mark.parametrize("method", sorted(NOT_MERGEABLE))
def test_a_method_without_merged_weights_is_refused(source: Source) -> None:
    with pytest.raises(JobError, match="cannot be merged") as refused:
        load_merged(source)
    assert (refused.value.code, refused.value.param) == ("not_mergeable", "format")


@pytest.mark.parametrize("method", BESIDE)
def test_a_merged_model_that_is_saved_keeps_a_head_that_its_embedding_no_longer_is(
    source: Source, tmp_path: Path
) -> None:
    with torch.no_grad():
        load_merged(source).save_pretrained(tmp_path / "merged")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32))
    assert torch.allclose(found, expected(source), atol=2e-4)


@pytest.mark.parametrize("method", [*sorted(NO_LORA), *BESIDE])
def test_a_method_without_a_low_rank_update_is_refused(source: Source) -> None:
    with pytest.raises(JobError, match="Export the merged model") as refused:
        low_rank_update(source, WHOLE_RANK)
    assert refused.value.code == "not_a_lora"
