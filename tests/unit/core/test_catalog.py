"""What an operator may declare of a base model."""

from pathlib import Path

import pytest

from core.catalog import load_catalog
from core.errors import ConfigurationError

MODEL = """
[[model]]
id = "tiny"
repository = "tests/tiny"
source = "hub"
revision = "1"
license = "MIT"
max_length = 512
"""


def test_the_same_weights_in_two_precisions_are_two_models(tmp_path: Path) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(MODEL + MODEL.replace('"tiny"', '"tiny-nf4"') + 'quantization = "nf4"\ndtype = "bf16"\n')
    catalog = {entry.id: (entry.quantization, entry.dtype) for entry in load_catalog(file)}
    assert catalog == {"tiny": (None, "auto"), "tiny-nf4": ("nf4", "bf16")}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('quantization = "int4"', "quantization: Input should be 'nf4' or 'int8'"),
        ('dtype = "fp16"', "dtype: Input should be 'auto', 'bf16' or 'fp32'"),
        ('compute = "fp4"', "compute: Input should be 'int8' or 'fp8'"),
    ],
)
def test_an_unknown_precision_is_refused_with_those_that_are_known(
    line: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "catalog.toml"
    file.write_text(MODEL + line)
    with pytest.raises(ConfigurationError, match=said):
        load_catalog(file)
