"""Answers chats and completions: finds the model, and makes the prompt."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from core.ids import new_id
from core.serving.schemas.answers import CompletionTokensDetails
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.logprob_bound import check_logprobs, most_tokens
from core.serving.schemas.messages import images_of
from core.serving.schemas.tokens import Tokenized, TokenizeRequest
from core.serving.served_model import ServedModel
from core.settings import Settings
from worker.engine.sampler import requests as engine_requests
from worker.engine.sampler.requests import GenerationRequest
from worker.rendering.renderer import Renderer
from worker.rendering.tool_forms import ToolForm
from worker.rendering.tool_reader import ToolReader
from worker.server.answering.chat_answer import ChatAnswer
from worker.server.answering.chat_form import ChatForm
from worker.server.answering.completion_form import CompletionAnswer, CompletionForm
from worker.server.answering.generation import Generation
from worker.server.answering.grammars import grammar_of
from worker.server.answering.images import seen_images, without_images
from worker.server.answering.logprobs import as_text
from worker.server.answering.parameters import of_choices, sampling_of, tokens_left
from worker.server.answering.prompts import chat_prompt, text_prompts, tokenized
from worker.server.answering.tool_choice import must_call, tool_names
from worker.server.answering.usage import TokenCount
from worker.server.exchange import Exchange
from worker.server.reading import head, served_model
from worker.server.sampling.bases import Bases, OwnBases
from worker.server.sampling.loaded_base import LoadedBase
from worker.server.sampling.models import Models
from worker.server.threads import in_daemon_thread


class SamplerAnswering:
    """Answers requests with the models of this server. Only the event loop may call."""

    def __init__(self, settings: Settings, bases: Bases | None, get_renderer: Callable[[], Renderer]) -> None:
        """Without `bases`, this process loads base models for itself."""
        self.models = Models(settings, bases or OwnBases(settings), get_renderer)

    async def chat(self, exchange: Exchange, request: ChatRequest, served: Any) -> None:
        """Answer a chat. Raises AppError and ClientGone."""
        model = served_model(exchange, served)
        async with self.models.use(model) as (base, adapter):
            images = await seen_images(base, exchange, images_of(request.messages or ()))
            make = partial(
                chat_prompt,
                request=without_images(request),
                room=base.room,
                images=images and images.of_prompt,
            )
            prompt, prediction, tool_form = await base.prompting.make(exchange, make)
            left = tokens_left(len(prompt), base.max_length, "messages")
            most = most_tokens(request, len(prompt), left)
            grammar = grammar_of(request, tool_form)
            sampling = replace(
                sampling_of(request, most),
                logprobs=bool(request.logprobs),
                top_logprobs=request.top_logprobs or 0,
            )
            asked = [
                GenerationRequest(
                    new_id(""),
                    prompt,
                    each,
                    adapter,
                    grammar,
                    exchange.project,
                    prediction,
                    images and images.store,
                )
                for each in of_choices(sampling, request.choices)
            ]
            answers = [_chat_answer(request, tool_form) for _ in asked]
            form = ChatForm(request, head("chatcmpl-", request, base.fingerprint), answers, base.token_bytes)
            names = {"prompt": "messages", "grammar": "tools" if tool_names(request) else "response_format"}
            predicted = CompletionTokensDetails() if request.prediction else None
            count = TokenCount(len(prompt), predicted=predicted)
            await Generation(exchange, base, request, form, names).run(asked, count)

    async def complete(self, exchange: Exchange, request: CompletionRequest, served: Any) -> None:
        """Answer a request for completions. Raises AppError and ClientGone."""
        model = served_model(exchange, served)
        async with self.models.use(model) as (base, adapter):
            for prompt in request.prompts:
                if isinstance(prompt, str):
                    base.room.refuse_by_bytes(prompt, "prompt")
            images = await seen_images(base, exchange, request.placed_images)
            of_prompt = images and images.of_prompt
            make = partial(
                text_prompts, prompts=request.prompts, vocabulary=base.vocabulary, images=of_prompt
            )
            prompts = await base.prompting.make(exchange, make)
            asked = [
                GenerationRequest(
                    new_id(""),
                    prompt,
                    each,
                    adapter,
                    project=exchange.project,
                    images=images and images.store,
                )
                for prompt in prompts
                for each in of_choices(_completion_sampling(request, prompt, base), request.choices)
            ]
            check_logprobs(request, sum(each.sampling.max_tokens for each in asked), sum(map(len, prompts)))
            silent = request.most_tokens == 0
            answers = [
                CompletionAnswer(
                    of_prompt.without_numbers(each.prompt) if of_prompt else each.prompt,
                    bool(request.echo),
                    silent,
                )
                for each in asked
            ]
            named = head("cmpl-", request, base.fingerprint)
            form = CompletionForm(request, named, answers, base.token_bytes)
            count = TokenCount(sum(map(len, prompts)), only_prompt=silent)
            await Generation(exchange, base, request, form, {}).run(asked, count)

    async def tokenize(self, exchange: Exchange, request: TokenizeRequest, served: Any) -> None:
        """Answer with a prompt and its tokens. Raises AppError and ClientGone."""
        model = served_model(exchange, served)
        await exchange.answer(200, await self._tokenized(exchange, request, model))

    async def close(self) -> None:
        await self.models.close()

    async def _tokenized(self, exchange: Exchange, request: TokenizeRequest, model: ServedModel) -> bytes:
        """Return the answer. Nothing refers to the base model while the client reads it."""
        async with self.models.use(model) as (base, _):
            images = await seen_images(base, exchange, images_of(request.messages or ()))
            make = partial(tokenized, request=without_images(request), images=images and images.of_prompt)
            text, tokens = await base.prompting.make(exchange, make)
            return await in_daemon_thread(partial(_shown, base, request, text, tokens), "prompt")


def _shown(base: LoadedBase, request: TokenizeRequest, text: str, tokens: list[int]) -> bytes:
    """Return a prompt as its client reads it. With many tokens, this takes a while."""
    texts = {
        token: as_text(base.token_bytes(token)) for token in set(tokens if request.return_token_strs else ())
    }
    found = Tokenized(
        count=len(tokens),
        max_model_len=base.max_length,
        tokens=tokens,
        token_strs=[texts[token] for token in tokens] if request.return_token_strs else None,
        prompt=text,
    )
    return found.model_dump_json().encode()


def _chat_answer(request: ChatRequest, tool_form: ToolForm) -> ChatAnswer:
    names = tool_names(request)
    inside = bool(must_call(request)) and bool(tool_form.opening)
    reader = ToolReader(tool_form, names, inside=inside) if names else None
    return ChatAnswer(reader, one_call=request.parallel_tool_calls is False)


def _completion_sampling(
    request: CompletionRequest, prompt: list[int], base: LoadedBase
) -> engine_requests.Sampling:
    """Return the parameters of a prompt's answers. An echoed prompt needs its own log-probabilities."""
    most = min(max(1, request.most_tokens), tokens_left(len(prompt), base.max_length, "prompt"))
    echoed = request.logprobs if request.echo else None
    of_prompt = [top for top in (request.prompt_logprobs, echoed) if top is not None]
    return replace(
        sampling_of(request, most),
        logprobs=request.logprobs is not None,
        top_logprobs=request.logprobs or 0,
        prompt_logprobs=max(of_prompt, default=None),
    )
