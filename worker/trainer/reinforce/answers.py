"""The answers of a job's model to prompts: sampled turn by turn, and graded beside the training."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from core.datasets.tool_rules import tools_of
from core.objectives.reinforcement import Reinforcement
from core.objectives.sampling import SamplingOptions
from worker.engine.sampler.rollouts import Generation, Sampled, Turn
from worker.engine.step.trainee import Trainee
from worker.grading.graded import TOOL_FAULT, Graded
from worker.grading.tool_results import ToolResults
from worker.rendering.tool_forms import form_of
from worker.rows.row import Row
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.row_items import RowItems
from worker.trainer.reinforce.episodes import Episode, SampledAnswer, ToolUse
from worker.trainer.reinforce.job_grading import JobGrading
from worker.trainer.reinforce.response_format import grammar_of


@dataclass(frozen=True)
class GradedAnswer:
    """An answer with its grades: that of the job's grader, and that of its audit in a validation."""

    answer: SampledAnswer
    grade: Graded
    audit: Graded | None = None

    @property
    def reward(self) -> float | None:
        """The reward; None if the grader has failed, which says nothing about the answer."""
        return self.grade.known_score


def judged(graded: Sequence[GradedAnswer]) -> list[GradedAnswer]:
    """Return the answers that a grader or a teacher has had: all of which no tool has failed."""
    return [one for one in graded if one.answer.tool_error is None]


class _Wait:
    """Futures of the grading thread, and how long they have taken."""

    def __init__(self, futures: Sequence[Future[list[Any]]], ended: Callable[[], object]) -> None:
        """`ended` is called when one of them ends."""
        self._futures = futures
        self._began = self._ended = time.monotonic()
        for each in futures:
            each.add_done_callback(self._note_end)
            each.add_done_callback(lambda _: ended())

    def _note_end(self, _: object) -> None:
        self._ended = time.monotonic()

    @property
    def done(self) -> bool:
        return all(each.done() for each in self._futures)

    @property
    def seconds(self) -> float:
        return self._ended - self._began

    def results(self) -> list[list[Any]]:
        return [each.result() for each in self._futures]

    def cancel(self) -> None:
        for each in self._futures:
            each.cancel()


class Answering:
    """Answers while they are sampled, call tools, and are graded.

    `seconds` are those of `sampling`, `grading` and, if tools were called, `tools`.

    All answers take their turns together: the next ones are sampled when all tools have answered.
    """

    def __init__(
        self,
        means: "AnswerSampler",
        episodes: Sequence[Episode],
        generation: Generation,
        items: RowItems,
        audited: bool,
    ) -> None:
        self._means, self._episodes, self._generation = means, episodes, generation
        self._items, self._audited = items, audited
        self._called: _Wait | None = None
        self._graded: _Wait | None = None
        self.seconds = {"sampling": 0.0}

    def advance(self, abandon: Callable[[], bool]) -> bool:
        """Do what can be done now, and return whether all answers are graded.

        Raises what has ended the calls of tools as a whole, and Abandoned, after which the same turns are
        sampled again the next time.
        """
        if self._graded is None and (self._called is None or self._called.done):
            self._take_results()
            self._sample(abandon)
            if waiting := self._waiting:
                self._called = self._means.call_tools(waiting, self._items)
            else:
                self._graded = self._means.grade(self._answers, self._items, audited=self._audited)
        return self._graded is not None and self._graded.done

    @property
    def _waiting(self) -> list[Episode]:
        return [episode for episode in self._episodes if episode.waits_for]

    @property
    def _answers(self) -> list[SampledAnswer]:
        return [episode.answer() for episode in self._episodes]

    def _take_results(self) -> None:
        called, self._called = self._called, None
        if called is None:
            return
        self.seconds["tools"] = self.seconds.get("tools", 0.0) + called.seconds
        results: list[ToolResults]
        (results,) = called.results()
        for episode, found in zip(self._waiting, results, strict=True):
            episode.take(found, self._generation.max_tokens)

    def _sample(self, abandon: Callable[[], bool]) -> None:
        asked = [episode for episode in self._episodes if episode.needs_turn]
        if not asked:
            return
        began = time.monotonic()
        try:
            turns = self._means.sample([each.next_turn(self._generation) for each in asked], abandon)
        finally:
            self.seconds["sampling"] += time.monotonic() - began
        for episode, turn in zip(asked, turns, strict=True):
            episode.add(turn, self._generation.seed)

    def result(self) -> list[GradedAnswer]:
        """Return the graded answers in their order. Raises what has ended the grading as a whole."""
        assert self._graded is not None
        by_grader = [iter(grades) for grades in self._graded.results()]
        self.seconds["grading"] = self._graded.seconds
        return [GradedAnswer(each, *_grades(each, by_grader)) for each in self._answers]

    def cancel(self) -> None:
        for wait in (self._called, self._graded):
            if wait is not None:
                wait.cancel()


def _grades(answer: SampledAnswer, by_grader: Sequence[Iterator[Graded]]) -> list[Graded]:
    if answer.tool_error is not None:
        return [Graded(0.0, TOOL_FAULT, answer.tool_error) for _ in by_grader]
    return [next(grades) for grades in by_grader]


class AnswerSampler:
    """The means by which a job's model answers prompts: its sampler, its tools and its graders."""

    def __init__(
        self,
        process_group: ProcessGroup,
        trainee: Trainee,
        objective: SamplingOptions,
        grading: JobGrading,
    ) -> None:
        self._process_group, self._trainee, self._grading = process_group, trainee, grading
        self._max_tokens, self._grammar = objective.max_completion_tokens, grammar_of(objective)
        self._tool_use = self._use_of_tools(objective) if isinstance(objective, Reinforcement) else None

    def begin(
        self, prompts: Sequence[Row], items: RowItems, count: int, seed: int, *, audited: bool = False
    ) -> Answering:
        """Return `count` answers to each prompt, side by side, which `advance` samples and has graded.

        `audited` also has them graded by the job's audit, if it has one.
        """
        generation = Generation(count, self._max_tokens, seed, self._grammar)
        episodes = [
            Episode(prompt, number, names, self._tool_use)
            for prompt in prompts
            for names in [self._names(prompt, items)]
            for number in range(count)
        ]
        return Answering(self, episodes, generation, items, audited)

    def sample(self, turns: Sequence[Turn], abandon: Callable[[], bool]) -> list[Sampled]:
        """Sample turns with the model as it is now. Raises Abandoned."""
        return self._process_group.sample(self._trainee, turns, abandon)

    def call_tools(self, episodes: Sequence[Episode], items: RowItems) -> _Wait:
        """Begin to make the calls for which answers wait."""
        folder = self._process_group.holder.base.folder
        return _Wait([self._grading.call_tools(episodes, items, folder)], self._grading.ended)

    def grade(self, answers: Sequence[SampledAnswer], items: RowItems, *, audited: bool) -> _Wait:
        """Begin to grade answers."""
        return _Wait(self._grading.grade(answers, items, audited=audited), self._grading.ended)

    def _use_of_tools(self, objective: Reinforcement) -> ToolUse:
        template = self._process_group.holder.base.tokenizer.get_chat_template(tools=[{}])
        answered = frozenset(tool.name for tool in objective.tools or ())
        return ToolUse(form_of(template), answered, objective.max_episode_steps)

    def _names(self, prompt: Row, items: RowItems) -> frozenset[str]:
        """Return the names of the tools that a prompt's row declares, if the job's answers may call them."""
        if self._tool_use is None:
            return frozenset()
        return frozenset(tool["function"]["name"] for tool in tools_of(items[prompt.line]))
