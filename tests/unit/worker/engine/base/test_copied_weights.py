"""Weights in 4 or 8 bits that one load keeps, and the next one reads in the place of the source weights."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from stat import S_IMODE
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, GPT2Config, PretrainedConfig

from tests.fixtures.engine.architectures import FAST, TINY, tiny_config
from tests.fixtures.models.tiny import save_model
from tests.unit.worker.engine.base.test_quantised_as_read import a_matrix_each, stacks
from worker.base_models.quantised_copy import HASH, WEIGHTS, QuantisedCopy
from worker.base_models.telling import Tell, untold
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.copied_weights import FORM, keep_copy, tensors_of
from worker.engine.base.in_parts import in_int8, in_nf4

pytestmark = [pytest.mark.slow, pytest.mark.family(2)]

CPU = torch.device("cpu")
MODELS: dict[str, Callable[[], PretrainedConfig]] = {
    "dense, tied": tiny_config("Llama", tie_word_embeddings=True),
    "dense, with biases": FAST["qwen 2, biases"],
    "gpt-2": lambda: GPT2Config(n_embd=64, n_head=4, n_layer=2, vocab_size=300, n_positions=128),
    "experts": a_matrix_each,
    "stacks of experts, with biases": stacks,
}


class Quantising(TorchDispatchMode):
    """Counts the calls of bitsandbytes that quantise."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += any(name in str(function) for name in (".quantize", ".int8_vectorwise_quant"))
        return function(*args, **(kwargs or {}))


def load(
    folder: Path, store: Path, quantization: str = "nf4", sha256: str = "0" * 64, tell: Tell = untold
) -> tuple[Any, int]:
    """Return the loaded model, and how many calls quantised its weights."""
    entry = TINY.model_copy(update={"quantization": quantization, "dtype": "bf16"})
    with Quantising() as quantising:
        base = ResidentBase(entry, folder, sha256, CPU, tell=tell, models=store)
    return base.model, quantising.calls


def kept_in(store: Path) -> list[Path]:
    return sorted(path for path in (store / TINY.id).glob("*") if path.is_dir())


def assert_same(model: Any, other: Any) -> None:
    found, expected = tensors_of(model), tensors_of(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    tokens = torch.arange(24).view(2, 12)
    for each in (model, other):
        each.set_attn_implementation("eager")
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, other(tokens).logits)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_the_next_load_reads_the_same_model_and_quantises_nothing(
    name: str, quantization: str, tmp_path: Path
) -> None:
    save_model(MODELS[name](), tmp_path / "model")
    first, calls = load(tmp_path / "model", tmp_path / "store", quantization)
    assert calls > 0
    (copy,) = kept_in(tmp_path / "store")
    second, calls = load(tmp_path / "model", tmp_path / "store", quantization)
    assert calls == 0
    assert_same(second, first)
    assert kept_in(tmp_path / "store") == [copy]


def test_other_source_weights_and_each_precision_have_a_copy_of_their_own(tmp_path: Path) -> None:
    """So have other libraries and another form of the file, which count beside the hash of the source."""
    save_model(MODELS["dense, tied"](), tmp_path / "model")
    for quantization, sha256 in (("nf4", "0"), ("int8", "0"), ("nf4", "1")):
        _, calls = load(tmp_path / "model", tmp_path / "store", quantization, sha256)
        assert calls > 0
    assert [path.name.rpartition(".")[0] for path in kept_in(tmp_path / "store")] == [
        "quantised.int8-cpu-bfloat16",
        "quantised.nf4-cpu-bfloat16",
        "quantised.nf4-cpu-bfloat16",
    ]


def test_a_copy_of_other_weights_goes_when_nobody_has_used_it_for_a_week(tmp_path: Path) -> None:
    """Workers of two releases share a store while one takes the other's place."""
    old, new, in_8_bits = (
        QuantisedCopy.of(tmp_path, [form], [made_from])
        for form, made_from in (("nf4", "old"), ("nf4", "new"), ("int8", "old"))
    )
    for each in (old, new, in_8_bits):
        each.keep(lambda file: file.write_bytes(b"weights"), size=7)
    for each in (old, new, old, new):
        os.utime(each.folder / HASH, (0, 0))
        assert each.found() is not None, "the other one has been used since"
    for each in (old, in_8_bits):
        os.utime(each.folder / HASH, (0, 0))
    assert new.found() is not None
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / ".lock", new.folder, in_8_bits.folder])


@pytest.mark.parametrize("damage", ["a bit", "its end", "its weights", "its hash", "its whole hash"])
def test_a_damaged_copy_is_made_anew(damage: str, tmp_path: Path) -> None:
    save_model(MODELS["dense, tied"](), tmp_path / "model")
    first, _ = load(tmp_path / "model", tmp_path / "store")
    (copy,) = kept_in(tmp_path / "store")
    whole = (copy / WEIGHTS).read_bytes()
    match damage:
        case "a bit":
            (copy / WEIGHTS).write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
        case "its end":
            (copy / WEIGHTS).write_bytes(whole[:-100])
        case "its weights":
            (copy / WEIGHTS).unlink()
        case "its hash":
            (copy / HASH).write_bytes(b"\xff")
        case _:  # as by a process that was killed while it removed the copy
            (copy / HASH).unlink()
    second, calls = load(tmp_path / "model", tmp_path / "store")
    assert calls > 0
    assert_same(second, first)
    assert (copy / WEIGHTS).read_bytes() == whole
    assert QuantisedCopy(copy).found() is not None


@pytest.mark.parametrize(
    ("name", "quantization"),
    [("dense, tied", "nf4"), ("dense, tied", "int8"), ("stacks of experts, with biases", "nf4")],
)
def test_a_copy_that_fails_while_it_is_read_is_made_anew(
    name: str, quantization: str, tmp_path: Path
) -> None:
    save_model(MODELS[name](), tmp_path / "model")
    first, _ = load(tmp_path / "model", tmp_path / "store", quantization)
    (copy,) = kept_in(tmp_path / "store")
    whole = (copy / WEIGHTS).read_bytes()

    def cut(read: int, of: int) -> None:
        if of == 2 * len(whole) and read > 0.6 * of and copy.exists():  # its hash is the right one
            os.truncate(copy / WEIGHTS, len(whole) // 3)

    second, calls = load(tmp_path / "model", tmp_path / "store", quantization, tell=cut)
    assert calls > 0
    assert_same(second, first)
    assert (copy / WEIGHTS).read_bytes() == whole


def test_a_device_without_memory_is_no_damage_of_a_copy(tmp_path: Path) -> None:
    save_model(MODELS["dense, tied"](), tmp_path / "model")
    load(tmp_path / "model", tmp_path / "store")
    kept = kept_in(tmp_path / "store")

    def fill(read: int, of: int) -> None:
        if read > 0.6 * of:
            raise torch.OutOfMemoryError

    with pytest.raises(RuntimeError):
        load(tmp_path / "model", tmp_path / "store", tell=fill)
    assert kept_in(tmp_path / "store") == kept


def test_another_configuration_of_the_same_weights_has_another_copy(tmp_path: Path) -> None:
    save_model(MODELS["dense, tied"](), tmp_path / "model")
    load(tmp_path / "model", tmp_path / "store")
    config = tmp_path / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 0.1}))
    model, calls = load(tmp_path / "model", tmp_path / "store")
    assert calls > 0
    assert model.config.rms_norm_eps == 0.1


def test_a_store_that_cannot_be_written_to_keeps_nothing_and_loads(tmp_path: Path) -> None:
    save_model(MODELS["dense, tied"](), tmp_path / "model")
    (tmp_path / "store").write_text("a file, in which no folder can be made")
    _, calls = load(tmp_path / "model", tmp_path / "store")
    assert calls > 0


def test_a_disk_that_would_be_full_keeps_nothing(tmp_path: Path) -> None:
    copy = QuantisedCopy.of(tmp_path, ["nf4"], ["weights"])

    def write(file: Path) -> None:
        file.write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    copy.keep(write, size=2**60)  # more than is free
    copy.keep(write, size=6)  # another process was faster to fill it
    assert copy.found() is None
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_tensors_that_cannot_be_written_keep_nothing(tmp_path: Path) -> None:
    copy = QuantisedCopy.of(tmp_path, ["nf4"], ["weights"])
    module = AutoModelForCausalLM.from_config(MODELS["gpt-2"]())
    module.register_buffer("transposed", torch.ones(2, 3).T)
    module.register_buffer("part", torch.ones(4)[:2])
    keep_copy(copy, module)
    assert copy.found() is not None
    copy.remove()
    module.register_buffer("other_part", module.part.view(1, 2))  # both are one memory
    keep_copy(copy, module)
    assert copy.found() is None


def test_whoever_may_read_the_models_may_read_a_copy(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    copy = QuantisedCopy.of(tmp_path, ["nf4"], ["weights"])
    copy.keep(partial(save_file, {"weight": torch.ones(2)}), size=8)
    assert S_IMODE(copy.folder.stat().st_mode) == 0o755
    assert (copy.folder / WEIGHTS).stat().st_mode == (copy.folder / HASH).stat().st_mode


def test_a_place_that_the_disk_refuses_is_no_error() -> None:
    copy = QuantisedCopy(Path("/", "x" * 1000))
    assert copy.found() is None
    copy.remove()


def test_nobody_waits_to_keep_a_copy(tmp_path: Path) -> None:
    """A download holds the lock for as long as it takes."""
    copy = QuantisedCopy.of(tmp_path, ["nf4"], ["weights"])
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy.keep(lambda file: file.write_text("weights"), size=7)
    assert copy.found() is None


def test_the_numbers_are_those_of_the_form() -> None:
    """A copy of the same form must hold the same numbers."""
    weight = ((torch.arange(64 * 128) * 7919) % 1009 - 504).view(64, 128) / 512  # all sums are exact
    packed, state = in_nf4(weight)
    nf4 = (packed, state.absmax, state.offset, state.state2.absmax)
    found = hashlib.sha256()
    for tensor in (*nf4, *in_int8(weight)):
        found.update(tensor.numpy().tobytes())
    assert (FORM, found.hexdigest()[:16]) == ("form 1", "002e6ec6b55b5216"), "other numbers: raise FORM"


def test_a_copy_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    """Two processes may load the same model at once."""
    copy = QuantisedCopy.of(tmp_path, ["nf4"], ["weights"])
    for text in ("first", "second"):
        copy.keep(lambda file, text=text: file.write_text(text), size=6)
    file = copy.found()
    assert file is not None
    assert file.read_text() == "first"


def test_a_load_tells_how_many_bytes_of_the_files_it_has_read(tmp_path: Path) -> None:
    save_model(MODELS["experts"](), tmp_path / "model")
    told: list[tuple[int, int]] = []
    entry = TINY.model_copy(update={"quantization": "nf4"})
    for share in (4, 2):  # from the source weights, and from the copy
        told.clear()
        ResidentBase(
            entry, tmp_path / "model", "", CPU, tell=lambda *each: told.append(each), models=tmp_path / "s"
        )
        (of,) = {of for _, of in told}
        read = [read for read, _ in told]
        assert read == sorted(read)
        assert read[0] == 0
        assert read[-1] == of
        assert max(later - before for before, later in pairwise(read)) <= of / share  # half is for the hash
