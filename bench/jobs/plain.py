"""Compute the loss and the answers of a downloaded adapter with plain transformers and PEFT.

    python -m bench.jobs.plain --request request.json --out result.json

The request: {base, adapter, dtype, quantization, validation: [{messages}], prompts: [{messages}],
max_new_tokens, beams}. The base model answers alone if `adapter` is null. A folder without an
adapter_config.json is a whole model. The result: the mean loss of the last messages of the validation rows,
in nats per token (null without rows), the number of trained parameters, and an answer to each prompt without
its last message.

Some methods compute their change of the weights again for each token. They are merged into the base before
they answer, as a server would do. Without merging, HRA takes nine minutes for twenty answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.command_line import add_result_file, new_parser
from cli.demo.compare import answers, mean_loss
from worker.engine.base.quantisation import quantization_config

BATCH = 32  # prompts that are answered in one batch
ANSWER_MERGED = {"BOFT", "C3A", "FOURIERFT", "HRA", "LOHA", "LOKR", "MISS", "OFT", "RANDLORA"}


@torch.no_grad()
def measure(request: dict[str, Any]) -> dict[str, Any]:
    model, trained_parameters = load(request)
    tokenizer = AutoTokenizer.from_pretrained(request["base"], padding_side="left")
    rows = [row["messages"] for row in request["validation"]]
    prompts = [row["messages"][:-1] for row in request["prompts"]]
    beams, longest = request["beams"], request["max_new_tokens"]
    loss = mean_loss(model, tokenizer, rows) if rows else None
    if isinstance(model, PeftModel) and model.peft_type in ANSWER_MERGED:
        model.merge_adapter()
    return {
        "trained_parameters": trained_parameters,
        "loss": loss,
        "answers": [
            answer
            for start in range(0, len(prompts), BATCH)
            for answer in answers(model, tokenizer, prompts[start : start + BATCH], longest, beams)
        ],
    }


def load(request: dict[str, Any]) -> tuple[Any, int]:
    """Return the model, ready to answer, and the number of parameters that its job has trained."""
    adapter = request["adapter"]
    if adapter and not (Path(adapter) / "adapter_config.json").exists():
        model = AutoModelForCausalLM.from_pretrained(adapter, dtype=request["dtype"]).eval()
        return model, model.num_parameters()
    model = base_model(request)
    if not adapter:
        return model.eval(), 0
    # PEFT counts the trainable parameters, but loads a prompt as not trainable
    learns_prompt = PeftConfig.from_pretrained(adapter).is_prompt_learning
    adapted = PeftModel.from_pretrained(model, adapter, is_trainable=not learns_prompt)
    if learns_prompt:
        return adapted.eval(), sum(parameter.numel() for parameter in adapted.prompt_encoder.parameters())
    return adapted.eval(), adapted.get_nb_trainable_parameters()[0]


def base_model(request: dict[str, Any]) -> Any:
    dtype = getattr(torch, request["dtype"] or "float32")
    quantised: dict[str, Any] = {}
    if request["quantization"]:
        config = quantization_config(request["quantization"], dtype, request["base"])
        quantised = {"quantization_config": config, "device_map": {"": "cpu"}}
    return AutoModelForCausalLM.from_pretrained(request["base"], dtype=dtype, **quantised)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--request", type=Path, required=True, help="the request, JSON")
    add_result_file(parser)
    given = parser.parse_args()
    given.out.write_text(json.dumps(measure(json.loads(given.request.read_text()))) + "\n")


if __name__ == "__main__":
    main()
