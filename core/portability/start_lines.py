"""The command or the code that loads an adapter, or an export of it, in each runtime."""

from collections.abc import Iterable

from core.portability.report import Form, Runtime

VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the values that its --max-lora-rank allows

FOLDER = "path/to/this/folder"
# An adapter names layers as the class does that the base model's configuration names. For some models of
# texts and images, AutoModelForCausalLM takes another class or none.
PEFT = """\
import transformers
from peft import PeftModel

named = {{"pretrained_model_name_or_path": "{repository}", "revision": "{revision}"}}
config = transformers.AutoConfig.from_pretrained(**named)
base = getattr(transformers, config.architectures[0]).from_pretrained(**named)
model = PeftModel.from_pretrained(base, "{folder}")
tokenizer = transformers.AutoTokenizer.from_pretrained("{folder}")"""
TRANSFORMERS = """\
import transformers

config = transformers.AutoConfig.from_pretrained("{folder}")
model = getattr(transformers, config.architectures[0]).from_pretrained("{folder}", dtype="auto")
tokenizer = transformers.AutoTokenizer.from_pretrained("{folder}")"""
VLLM_LORA = """\
vllm serve {repository} --revision {revision} --enable-lora --max-lora-rank {rank} \\
  --lora-modules adapter={folder}"""
VLLM_MODEL = "vllm serve {folder}"
SGLANG_LORA = """\
python -m sglang.launch_server --model-path {repository} --revision {revision} \\
  --lora-paths adapter={folder}"""
SGLANG_MODEL = "python -m sglang.launch_server --model-path {folder}"
LORAX_LORA = """\
lorax-launcher --model-id {repository} --revision {revision} \\
  --adapter-id {folder} --adapter-source local"""
LORAX_MODEL = "lorax-launcher --model-id {folder}"
LLAMA_CPP_ADAPTER = "llama-server --model BASE.gguf --lora {folder}/adapter.gguf --jinja"
LLAMA_CPP_MODEL = "llama-server --model {folder}/model-{quantization}.gguf --jinja"
OLLAMA = """\
ollama create my-model --file {folder}/Modelfile
ollama run my-model"""
MLX_ADAPTER = 'mlx_lm.generate --model {repository} --adapter-path {folder} --prompt "Hello"'
MLX_MODEL = 'mlx_lm.generate --model {folder} --prompt "Hello"'

ADAPTERS: dict[tuple[Runtime, Form], str] = {
    ("peft", "as_it_is"): PEFT,
    ("peft", "lora"): PEFT,
    ("peft", "merged"): TRANSFORMERS,
    ("vllm", "as_it_is"): VLLM_LORA,
    ("vllm", "lora"): VLLM_LORA,
    ("vllm", "merged"): VLLM_MODEL,
    ("sglang", "as_it_is"): SGLANG_LORA,
    ("sglang", "lora"): SGLANG_LORA,
    ("sglang", "merged"): SGLANG_MODEL,
    ("lorax", "as_it_is"): LORAX_LORA,
    ("lorax", "lora"): LORAX_LORA,
    ("lorax", "merged"): LORAX_MODEL,
    ("llama_cpp", "gguf_adapter"): LLAMA_CPP_ADAPTER,
    ("llama_cpp", "gguf"): LLAMA_CPP_MODEL,
    ("ollama", "gguf"): OLLAMA,
    ("mlx", "mlx"): MLX_ADAPTER,
    ("mlx", "merged"): MLX_MODEL,
}
WHOLE_MODELS: dict[Runtime, str] = {
    "peft": TRANSFORMERS,
    "vllm": VLLM_MODEL,
    "sglang": SGLANG_MODEL,
    "lorax": LORAX_MODEL,
    "mlx": MLX_MODEL,
}


def start_line(
    runtime: Runtime,
    form: Form,
    repository: str,
    revision: str,
    rank: int | None = None,
    *,
    whole_model: bool = False,
    quantization: str = "f16",
) -> str:
    """Return what loads the form in the runtime. `whole_model` says that as it is, it is not an adapter."""
    template = WHOLE_MODELS[runtime] if whole_model and form == "as_it_is" else ADAPTERS[runtime, form]
    return template.format(
        repository=repository,
        revision=revision,
        folder=FOLDER,
        rank=allowed_rank(rank or VLLM_RANKS[0]),
        quantization=quantization,
    )


def allowed_rank(rank: int) -> int:
    """Return the smallest `--max-lora-rank` of vLLM that holds the rank."""
    return next((most for most in VLLM_RANKS if most >= rank), rank)


def fenced(code: str) -> str:
    """Return the code as a block of Markdown."""
    language = "python" if "import " in code else "shell"
    return f"```{language}\n{code}\n```\n"


def blocks(titled: Iterable[tuple[str, str]]) -> str:
    """Return Markdown with a sentence before each block of code."""
    return "\n".join(f"With {title}:\n\n{fenced(code)}" for title, code in titled)
