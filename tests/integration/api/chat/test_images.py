"""Chats with images: their answers are those of transformers, and a bad image costs only its chat."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from openai.types.chat import ChatCompletion
from peft import PeftModel
from PIL import Image
from transformers import AutoProcessor

from api.admission.bodies import MAX_BYTES_WITH_IMAGES
from core.images.decoding import pixels_of
from core.images.parts import MAX_IN_ROW, encoded_image
from core.serving.served_model import SERVED_FIELD, StoredAdapter
from core.storage.folders import fetch_folder
from tests.fixtures.models.tiny import TINY, named_class
from tests.fixtures.models.vision import save_vision_model, smolvlm
from tests.fixtures.rows.images import data_url, encoded, image_part, picture, question
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving, chat_body, served
from tests.fixtures.work.completions import allow

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/v1/tokenize"
EYES = "with-eyes"
LANGUAGE_LAYERS = r".*text_model.*\.(q_proj|v_proj|down_proj)"
MOST, SURE = 12, 8  # tokens
URL = "messages.0.content.0.image_url.url"


@pytest.fixture(scope="module")
def serving(serving: Serving) -> Serving:
    serving.add_base(EYES, partial(save_vision_model, smolvlm))
    return serving


@pytest.fixture(scope="module")
def tenant(chat_api: Api, server: ServerProcess) -> Tenant:
    return chat_api.tenant()


def of_image(image: Image.Image, detail: str = "auto") -> dict[str, Any]:
    part = image_part(data_url(encoded(image)))
    part["image_url"]["detail"] = detail
    return part


def asked(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    options = {"temperature": 0, "max_tokens": MOST, "ignore_eos": True, "logprobs": True}
    return {"model": EYES, "messages": list(messages), **options, **more}


def answered(tenant: Tenant, body: dict[str, Any]) -> ChatCompletion:
    answer = tenant.http.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    found: ChatCompletion = strictly(ChatCompletion, answer.json())
    return found


def logprobs_of(found: ChatCompletion) -> list[float]:
    """Return the log-probabilities of an answer's tokens, but for the last few.

    Those may be a part of a character that never became whole.
    """
    of_answer = found.choices[0].logprobs
    assert of_answer is not None
    assert len(of_answer.content or ()) > SURE
    return [token.logprob for token in of_answer.content or ()][:SURE]


def logprobs_by_transformers(
    folder: Path, messages: list[dict[str, Any]], *, tiles: bool, adapter: Path | None = None
) -> list[float]:
    """Return the log-probabilities of a greedy answer to messages, whose images are opened here."""
    processor: Any = AutoProcessor.from_pretrained(folder)
    model = named_class(folder).from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter) if adapter else model
    chat, images = [], []
    for message in messages:
        parts = []
        for part in message["content"]:
            if part["type"] == "image_url":
                images.append(pixels_of(encoded_image(part["image_url"]["url"]).content))
            parts.append({"type": "image"} if part["type"] == "image_url" else part)
        chat.append({"role": message["role"], "content": parts})
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = processor(images=images, text=[text], return_tensors="pt", do_image_splitting=tiles)
    with torch.no_grad():
        found = model.generate(
            **inputs,
            max_new_tokens=MOST,
            min_new_tokens=MOST,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    tokens = found.sequences[0, -MOST:].tolist()
    return [
        float(logits[0].log_softmax(-1)[token]) for logits, token in zip(found.logits, tokens, strict=True)
    ][:SURE]


@pytest.mark.parametrize(("detail", "tiles"), [("auto", False), ("low", False), ("high", True)])
def test_an_answer_is_the_one_that_transformers_generates(
    tenant: Tenant, serving: Serving, detail: str, tiles: bool
) -> None:
    first, other = of_image(picture(60, 44), detail), of_image(picture(60, 44, seed=3), detail)
    messages = [question(first, other, text="Which?")]
    found = logprobs_of(answered(tenant, asked(*messages)))
    expected = logprobs_by_transformers(serving.folder / EYES, messages, tiles=tiles)
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_chat_goes_on_about_an_image_and_streams(tenant: Tenant) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        question(of_image(picture())),
        {"role": "assistant", "content": "A gradient."},
        question(of_image(picture(seed=7)), text="And this?"),
    ]
    whole = answered(tenant, asked(*messages))
    chunks = tenant.openai.chat.completions.create(
        model=EYES,
        messages=messages,  # type: ignore[arg-type]
        temperature=0,
        max_tokens=MOST,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said == whole.choices[0].message.content


def test_an_adapter_answers_about_images_as_in_peft(
    server: ServerProcess, serving: Serving, tmp_path: Path
) -> None:
    adapter = serving.adapter(seed=1, base=EYES, target_modules=LANGUAGE_LAYERS)
    messages = [question(of_image(picture()))]
    body = {**chat_body(adapter=adapter), **asked(*messages), SERVED_FIELD: served(adapter, EYES)}
    answer = server.http.post(CHAT, json=body)
    assert answer.status_code == 200, answer.text
    fetched = fetched_adapter(serving, adapter, tmp_path)
    expected = logprobs_by_transformers(serving.folder / EYES, messages, tiles=False, adapter=fetched)
    plain = logprobs_by_transformers(serving.folder / EYES, messages, tiles=False)
    found = logprobs_of(strictly(ChatCompletion, answer.json()))
    assert found == pytest.approx(expected, abs=1e-4)
    assert found != pytest.approx(plain, abs=1e-2)


def fetched_adapter(serving: Serving, adapter: StoredAdapter, folder: Path) -> Path:
    files = [file.model_dump() for file in adapter.files]
    fetch_folder(serving.store, adapter.prefix, files, folder)
    return folder


def test_an_image_that_is_asked_again_is_computed_only_for_another_project(
    chat_api: Api, tenant: Tenant
) -> None:
    image = of_image(picture(50, 40, seed=11), "high")

    def cached(asking: Tenant, text: str) -> int:
        usage = answered(asking, asked(question(image, text=text))).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        return usage.prompt_tokens_details.cached_tokens or 0

    assert cached(tenant, "What?") == 0
    assert cached(tenant, "How many?") > 16
    assert cached(chat_api.tenant(), "How many?") == 0


def test_a_prompt_with_images_is_shown_with_their_placeholders(tenant: Tenant) -> None:
    messages = [question(of_image(picture(), "high"))]
    answer = tenant.http.post(TOKENIZE, json={"model": EYES, "messages": messages, "return_token_strs": True})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert "<image><image>" in found["prompt"]
    assert "".join(found["token_strs"]) == found["prompt"]
    usage = answered(tenant, asked(*messages)).usage
    assert usage is not None
    assert usage.prompt_tokens == found["count"]


def test_an_image_that_is_larger_than_other_bodies_is_taken(tenant: Tenant) -> None:
    noise = Image.frombytes("RGB", (800, 700), random.Random(0).randbytes(800 * 700 * 3))
    body = asked(question(of_image(noise)))
    assert len(body["messages"][0]["content"][0]["image_url"]["url"]) > 2 * 1024**2
    assert answered(tenant, body).choices[0].finish_reason == "length"
    too_large = {**body, "user": "x" * MAX_BYTES_WITH_IMAGES}
    refusal(tenant.http.post(CHAT, json=too_large), 413, None, "request_too_large")


CUT_OFF = data_url(encoded(picture())[:-40])
CMYK = data_url(encoded(picture().convert("CMYK"), "JPEG"), "image/jpeg")


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("https://example.com/a.png", "invalid_image_url", "this server fetches no images"),
        ("a.png", "invalid_image_url", "must begin with data:image/png;base64"),
        ("data:image/png;base64,?", "invalid_image_url", "is no base64"),
        ("data:image/gif;base64,R0lG", "unsupported_image", "is no JPEG, PNG or WEBP"),
        (data_url(b"text"), "unsupported_image", "is no JPEG, PNG or WEBP"),
        (CUT_OFF, "damaged_image", "save it again"),
        (CMYK, "unsupported_image_mode", "convert it to RGB"),
    ],
)
def test_an_image_that_cannot_be_read_is_refused_by_its_place(
    tenant: Tenant, url: str, code: str, words: str
) -> None:
    for path in (CHAT, TOKENIZE):
        body = {"model": EYES, "messages": [question(image_part(url))]}
        answer = tenant.http.post(path, json=body)
        refusal(answer, 400, URL, code)
        assert words in answer.json()["error"]["message"]
    assert answered(tenant, asked(question(of_image(picture())))).choices


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "system", "content": [of_image(picture())]}, "messages.0.content.0.type"),
        (question(*[of_image(picture())] * (MAX_IN_ROW + 1)), "messages.0.content.10.image_url.url"),
        (question({"type": "image_url", "image_url": {"url": 1}}), URL),
    ],
)
def test_images_in_the_wrong_place_or_form_are_refused(
    tenant: Tenant, message: dict[str, Any], param: str
) -> None:
    refusal(tenant.http.post(CHAT, json=asked(message)), 400, param)


def test_a_model_of_texts_says_that_it_reads_no_images(tenant: Tenant) -> None:
    body = {**asked(question(of_image(picture()))), "model": TINY}
    refusal(tenant.http.post(CHAT, json=body), 400, URL, "unsupported_images")


def test_a_message_that_writes_the_placeholder_of_images_is_refused(tenant: Tenant) -> None:
    written = asked(question(of_image(picture()), text="An <image> is here"))
    answer = tenant.http.post(CHAT, json=written)
    refusal(answer, 400, "messages")
    assert "write it once for each image" in answer.json()["error"]["message"]


def test_an_answer_about_an_image_is_stored_with_it(chat_api: Api) -> None:
    tenant = chat_api.tenant()
    allow(tenant)
    messages = [question(of_image(picture()))]
    stored = answered(tenant, asked(*messages, store=True))
    wait_for(lambda: tenant.http.get(f"{CHAT}/{stored.id}").status_code == 200, 20)
    found = tenant.http.get(f"{CHAT}/{stored.id}/messages").json()["data"]
    assert found[0]["content_parts"] == messages[0]["content"]


def continued(tenant: Tenant, prompt: str | list[int], *images: Image.Image, **more: Any) -> Any:
    """Return the completion of a prompt with images."""
    body = {"model": EYES, "prompt": prompt, "max_tokens": MOST, "temperature": 0, "ignore_eos": True, **more}
    body["images"] = [of_image(image)["image_url"] for image in images]
    return tenant.http.post(COMPLETIONS, json=body)


def tokens_of(tenant: Tenant, *messages: dict[str, Any]) -> list[int]:
    answer = tenant.http.post(TOKENIZE, json={"model": EYES, "messages": list(messages)})
    assert answer.status_code == 200, answer.text
    found: list[int] = answer.json()["tokens"]
    return found


def test_a_completion_goes_on_as_the_chat_with_the_same_images(tenant: Tenant, serving: Serving) -> None:
    images = [picture(60, 44), picture(60, 44, seed=3)]
    messages = question(*map(of_image, images), text="Which?")
    chat = answered(tenant, asked(messages)).choices[0].message.content
    by_tokens = continued(tenant, tokens_of(tenant, messages), *images).json()
    parts = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Which?"}]
    processor: Any = AutoProcessor.from_pretrained(serving.folder / EYES)
    text = processor.apply_chat_template(
        [{"role": "user", "content": parts}], tokenize=False, add_generation_prompt=True
    )
    by_text = continued(tenant, text, *images).json()
    assert by_tokens["choices"][0]["text"] == by_text["choices"][0]["text"] == chat
    assert by_tokens["usage"]["prompt_tokens"] == by_text["usage"]["prompt_tokens"]


def test_the_log_probabilities_of_a_prompt_beside_its_images_are_those_of_transformers(
    tenant: Tenant, serving: Serving
) -> None:
    image = picture(60, 44)
    tokens = tokens_of(tenant, question(of_image(image), text="Which?"))
    answer = continued(tenant, tokens, image, max_tokens=0, echo=True, logprobs=1, prompt_logprobs=1)
    assert answer.status_code == 200, answer.text
    (choice,) = answer.json()["choices"]
    processor: Any = AutoProcessor.from_pretrained(serving.folder / EYES)
    inputs = processor(
        images=[image], text=[processor.image_token], return_tensors="pt", do_image_splitting=False
    )
    inputs["input_ids"] = torch.tensor([tokens])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    model = named_class(serving.folder / EYES).from_pretrained(serving.folder / EYES, dtype=torch.float32)
    with torch.no_grad():
        logprobs_LV = model(**inputs).logits[0].log_softmax(-1)
    of_images = [token == processor.image_token_id for token in tokens]
    assert sum(of_images) > 1
    unknown = [place == 0 or of_image for place, of_image in enumerate(of_images)]
    assert [found is None for found in choice["prompt_logprobs"]] == unknown
    found = choice["logprobs"]
    assert [logprob is None for logprob in found["token_logprobs"]] == unknown
    for place, token in enumerate(tokens):
        if not unknown[place]:
            expected = pytest.approx(float(logprobs_LV[place - 1, token]), abs=1e-4)
            assert choice["prompt_logprobs"][place][str(token)]["logprob"] == expected
            assert found["token_logprobs"][place] == expected


@pytest.mark.parametrize(
    ("prompt", "count", "param"),
    [
        (["<image> one", "<image> two"], 1, "images"),
        ("no place", 1, "prompt"),
        ("<image> twice <image>", 1, "prompt"),
        ("<image>" * (MAX_IN_ROW + 1), MAX_IN_ROW + 1, "images.10.url"),
        ([5, 6, 7], 1, "prompt"),
    ],
)
def test_images_that_do_not_fit_a_completions_prompt_are_refused(
    tenant: Tenant, prompt: Any, count: int, param: str
) -> None:
    refusal(continued(tenant, prompt, *[picture()] * count), 400, param)


def test_a_bad_image_of_a_completion_is_refused_with_its_place(tenant: Tenant) -> None:
    body = {"model": EYES, "prompt": "<image>", "images": [{"url": "https://example.com/a.png"}]}
    refusal(tenant.http.post(COMPLETIONS, json=body), 400, "images.0.url", "invalid_image_url")
    of_texts = {**body, "model": TINY, "images": [of_image(picture())["image_url"]]}
    refusal(tenant.http.post(COMPLETIONS, json=of_texts), 400, "images.0.url", "unsupported_images")
