"""Draws tokens a second of ours and of the peers from a result of `bench.serving.serve`, for docs/serving.md.

    python -m bench.serving.picture bench/results/serve-….json

It needs matplotlib: pip install -e '.[bench]'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench import ROOT

UNIT = "tokens_per_second"
OURS, PEERS = "#2563eb", "#9ca3af"
# The panels of the picture: the bars of each by label, with the case of the result and the field in it
PANELS = {
    "one stream with LoRA": [
        ("Tunery", "one stream", UNIT),
        ("transformers + PEFT", "peft, one stream", UNIT),
        ("vLLM", "vllm", f"one_stream_{UNIT}"),
    ],
    "16 requests at once": [
        ("Tunery, 16 adapters", "16 on 16 adapters", UNIT),
        ("Tunery, no adapter", "16 on the base", UNIT),
        ("PEFT in turn", "peft, in turn", UNIT),
        ("vLLM, 16 adapters", "vllm", f"together_{UNIT}"),
        ("vLLM, no adapter", "vllm", f"together_on_the_base_{UNIT}"),
    ],
}


def draw(found: dict[str, Any], path: Path) -> None:
    """Write the picture as SVG. The same figures always give the same file; what is missing is left out."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tunery"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(PANELS), figsize=(9, 2.8), layout="constrained")
    for axes, (title, bars) in zip(panels, PANELS.items(), strict=True):
        known = [(label, found[case][field]) for label, case, field in bars if field in found.get(case, {})]
        labels, values = zip(*known[::-1], strict=True)
        colours = [OURS if label.startswith("Tunery") else PEERS for label in labels]
        axes.bar_label(axes.barh(labels, values, color=colours), fmt="%.0f", padding=3)
        axes.set_title(title)
        axes.set_xlabel("tokens per second")
        axes.set_xlim(0, 1.15 * max(values))
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--picture", type=Path, default=ROOT / "docs/serving.svg")
    given = parser.parse_args()
    draw(json.loads(given.result.read_text()), given.picture)


if __name__ == "__main__":
    main()
