"""The code in a model card that loads the published files."""

from collections.abc import Sequence

from core.portability.report import RuntimeReport
from core.portability.start_lines import FOLDER, fenced

ASK = """

messages = [{"role": "user", "content": "Hello!"}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
tokens = model.generate(**prompt, max_new_tokens=64)
print(tokenizer.decode(tokens[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))"""
ASK_SERVER = """

# In another shell:
curl http://127.0.0.1:8000/v1/chat/completions -H "Content-Type: application/json" \\
  -d '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello!"}]}'"""
IN_THE_CARD = ("peft", "vllm")  # the runtimes whose code the card shows, if they load the files as they are


def loading_code(reports: Sequence[RuntimeReport], *, generates: bool) -> str:
    """Return the code that loads the published files and asks the model, as blocks of Markdown.

    `generates` says whether PEFT's own `generate` answers as the model was trained.
    """
    shown = [each for each in reports if each.runtime in IN_THE_CARD and each.needs == "as_it_is"]
    return "\n".join(fenced(_whole_code(each, generates)) for each in shown if each.start_line)


def _whole_code(report: RuntimeReport, generates: bool) -> str:
    assert report.start_line is not None
    if report.runtime == "vllm":
        served = "adapter" if "--lora-modules" in report.start_line else FOLDER
        return report.start_line + ASK_SERVER.replace("MODEL", served)
    return report.start_line + (ASK if generates else "")
