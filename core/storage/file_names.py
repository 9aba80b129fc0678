"""The names of the files of adapters and checkpoints, and the error for a damaged file.

It imports no client of a store, so that the engine can use it.
"""

from core.errors import TuneryError

WEIGHTS_NAME = "adapter_model.safetensors"
MANIFEST = "manifest.json"

# The files of a checkpoint that only a trainer needs, to continue the job; clients do not get them.
STATE_NAME = "training_state.safetensors"
POSITION_NAME = "position.json"


class DamagedFile(TuneryError):
    """A stored file is missing, or differs from the file that was published."""
