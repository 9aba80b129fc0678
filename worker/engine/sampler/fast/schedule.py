"""Decides what each step computes, within the pool of blocks.

Each step gives tokens to the projects in rounds, so that they advance alike. A project's requests are served
in the order of their arrival. If blocks or places are missing, the newest request of the project that has
most of them gives its own up, and is computed again later.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from worker.engine.sampler.draft import Draft
from worker.engine.sampler.fast.block_pool import BLOCK, BlockPool, chained_hash
from worker.engine.sampler.fast.drafting import drafted
from worker.engine.sampler.places import Places
from worker.engine.sampler.running import Chunk, Running
from worker.process.equal_share import is_within_share

MOST_AT_A_TIME = 8  # tokens that a project gets in a round
ALL = 1 << 31  # tokens: more than a step has


@dataclass
class _Step:
    """The step that is being planned: how many tokens it computes of which request.

    `budget` is what is left of the tokens of prompts. `gave_way` are those that have lost their blocks in
    this step. `in_work` are the names of blocks whose tokens are known, but not computed yet. The step is
    `closed` to requests beyond their project's equal share once one of them has found no room.
    """

    projects: int
    budget: int
    tokens: dict[Running, int] = field(default_factory=dict)
    gave_way: set[Running] = field(default_factory=set)
    in_work: set[bytes] = field(default_factory=set)
    closed: bool = False


@dataclass(frozen=True)
class Shares:
    """The numbers by which a step is divided between projects.

    One project may need only a few tokens of a step. Then all other projects together get about `for_others`
    tokens. A token behind a text of `long_text` tokens takes twice as long as the first one of a text.
    """

    for_others: int
    long_text: int


class Schedule:
    """The requests that are computed, and those that wait."""

    def __init__(
        self,
        pool: BlockPool,
        base_name: bytes,
        step_tokens: int,
        max_running: int,
        shares: Shares,
        has_states: bool = False,
        drafts: bool = False,
        longest_in_c: int = 0,
    ) -> None:
        """In a model that `has_states`, a beginning is shared only where the states behind it are kept.

        With `drafts`, a step also computes tokens that may follow, but makes no chunk that `longest_in_c`
        tokens hold longer than that.
        """
        self._longest_in_c = longest_in_c
        self._pool, self._base_name, self._has_states, self._drafts = pool, base_name, has_states, drafts
        self._step_tokens, self._shares = step_tokens, shares
        self.places = Places(max_running)
        self.preemptions = 0
        self._steps, self._step = 0, _Step(0, 0)
        self._last_served: dict[str, int] = {}  # by project: the number of a step

    def add(self, one: Running) -> None:
        self.places.add(one)

    def remove(self, one: Running) -> None:
        """Forget a request, and give back its blocks."""
        self.places.remove(one)
        self._give_up(one)

    def next_chunks(self) -> list[Chunk]:
        """Return what the next step computes, and take the blocks for it.

        In each round projects get a few tokens each. The step ends with the round in which one of them has
        all that it wants: what others want beyond that would only hold it up.
        """
        projects = self.places.projects()
        self._step = step = _Step(len(projects), self._step_tokens)
        self._note_in_work()
        tokens_a_round, others = self._tokens_a_round(projects)
        running = self.places.by_project()
        lines = {
            project: _line(running.get(project, []), (tokens + self._steps % 2) // 2)
            for project, tokens in tokens_a_round.items()
        }
        given: Counter[str] = Counter()
        rounds = 0
        while lines:
            rounds += 1
            for project, line in list(lines.items()):
                taken = self._give(project, line, tokens_a_round[project])
                given[project] += taken
                if taken < tokens_a_round[project] or not (line or self.places.waiting_of(project)):
                    del lines[project]
            content = any(given[project] for project in tokens_a_round if project not in lines)
            if content and rounds * others >= self._shares.for_others:
                break
        self._last_served = {project: self._last_served.get(project, 0) for project in projects}
        self._last_served |= dict.fromkeys(+given, self._steps + 1)
        self._steps += 1
        for one in step.tokens:
            one.last_step = self._steps
        chunks = [Chunk(one, one.computed, one.computed + tokens) for one, tokens in step.tokens.items()]
        if not self._drafts:
            return chunks
        left = {project: tokens - given[project] for project, tokens in tokens_a_round.items()}
        shares, longest = self._shares, self._longest_in_c
        found = drafted(chunks, shares.for_others, shares.long_text, left, step.budget, longest)
        return [self._with_draft(*each) for each in zip(chunks, found, strict=True)]

    def finish(self, chunks: Sequence[Chunk]) -> None:
        """Note that the chunks are computed: whole blocks can be found by others from here on."""
        for chunk in chunks:
            one = chunk.running
            self._note_computed(one, chunk.known_stop)
            if one.computed in one.kept_behind:
                self._pool.keep_states(one.names[one.computed // BLOCK - 1], one.states)

    def accept(self, one: Running, count: int) -> None:
        """Note that so many tokens of a draft have become the answer's."""
        self._note_computed(one, one.computed + count)

    def _note_computed(self, one: Running, stop: int) -> None:
        first, one.computed = one.computed // BLOCK, stop
        self._name_blocks(one, stop // BLOCK)
        for position in range(first, stop // BLOCK):
            self._pool.name(one.blocks[position], one.names[position])

    def _with_draft(self, chunk: Chunk, tokens: Sequence[int]) -> Chunk:
        """Return the chunk with as much of a draft as there are blocks for.

        One block is left for each request, which may need it in the next step.
        """
        one, left = chunk.running, len(self.places.running)
        while len(one.blocks) < _blocks_for(chunk.stop + len(tokens)) and self._pool.available > left:
            one.blocks.append(self._pool.take())
        tokens = tokens[: len(one.blocks) * BLOCK - chunk.stop]
        draft = Draft(tuple(tokens), one.lookup.is_predicted)
        return Chunk(one, chunk.start, chunk.stop + len(tokens), draft)

    def _tokens_a_round(self, projects: Sequence[str]) -> tuple[dict[str, int], int]:
        """Return how many tokens each project of this step gets in a round, and how many the others together.

        The others are all but one project, or all that are not light. If some are light, no more of the
        others take part than can have a token each: those that have waited for longest. A project alone gets
        all at once.
        """
        if len(projects) <= 1:
            return dict.fromkeys(projects, ALL), ALL
        light = self._light(projects)
        others = [project for project in projects if project not in light]
        if light:
            others.sort(key=lambda project: self._last_served.get(project, 0))
            del others[self._shares.for_others :]
        count = max(1, len(others) if light else len(projects) - 1)
        tokens = max(1, min(MOST_AT_A_TIME, self._shares.for_others // count))
        part = {*light, *others}
        return {
            project: MOST_AT_A_TIME if project in light else tokens for project in projects if project in part
        }, tokens * count

    def _light(self, projects: Sequence[str]) -> set[str]:
        """Return the projects that may take at most half as many tokens as a project may on average.

        All tokens count that their requests may still take.
        """
        wanted = Counter(dict.fromkeys(projects, 0))
        for one in self.places.all():
            wanted[one.request.project] += one.longest - one.computed
        return {project for project in projects if 2 * wanted[project] * len(projects) <= wanted.total()}

    def _give(self, project: str, line: deque[Running], most: int) -> int:
        """Give the next requests of a project about `most` tokens. Return how many they take.

        A token behind a long text counts as several.
        """
        step, left = self._step, most
        while left:
            if not line:
                if (admitted := self._admit(project)) is None:
                    break
                line.append(admitted)
            one = line[0]
            done = step.tokens.get(one, 0)
            wanted = 0 if one in step.gave_way else one.missing_alike - done
            weight = 1 + (one.computed + done) // self._shares.long_text
            tokens = min(wanted, -(-left // weight), wanted if one.missing == 1 else step.budget)
            if tokens and self._make_room(one, one.computed + done + tokens):
                step.tokens[one] = done + tokens
                step.budget -= 0 if one.missing == 1 else tokens
                left = max(0, left - tokens * weight)
            if tokens == wanted or left:
                line.popleft()
        return most - left

    def _admit(self, project: str) -> Running | None:
        """Let the next request of a project in, if there is room for its whole prompt."""
        if self._step.budget <= 0:
            return None
        for one in islice(self.places.waiting_of(project), self.places.count):
            found = self._find_beginning(one)
            if len(found) < len(one.names) and one.names[len(found)] in self._step.in_work:
                continue  # another one computes the same beginning now
            blocks = _blocks_for(len(one.tokens) + 1) - sum(not self._pool.is_kept(block) for block in found)
            if not self._finds_room(project, blocks):
                return None
            self._begin(one, found)
            return one
        return None

    def _finds_room(self, project: str, blocks: int) -> bool:
        """Return whether a request that waits may have a place and so many blocks.

        Within the project's equal share it finds room in any case, since others give way.
        """
        places, pool, step = self.places, self._pool, self._step
        if not places.full and blocks <= pool.available and not step.closed:
            return True
        own = _blocks_of(places.by_project().get(project, ()))
        if places.has_right_to_one_more(project) and is_within_share(own + blocks, step.projects, pool.size):
            while places.full:
                self._preempt(places.newest_of_largest())
            while pool.available < blocks:
                self._preempt(places.newest_of_largest(_blocks_of))
            return True
        step.closed = True
        return False

    def _begin(self, one: Running, found: Sequence[int]) -> None:
        if self._has_states and found:
            one.states = self._pool.states_behind(found[-1])
        for block in found:
            self._pool.hold(block)
        one.blocks = list(found)
        one.computed = len(found) * BLOCK
        if not one.made:
            one.cached = one.computed
        self.places.begin(one)
        self._step.gave_way.discard(one)
        self._step.in_work.update(one.names[len(found) :])

    def _note_in_work(self) -> None:
        if self.places.waiting:
            self._step.in_work.update(
                name for one in self.places.running for name in one.names[one.computed // BLOCK :]
            )

    def _find_beginning(self, one: Running) -> list[int]:
        """Return the blocks that already hold the beginning of a request; at least one token is left."""
        found: list[int] = []
        whole = (len(one.tokens) - 1) // BLOCK
        self._name_blocks(one, whole)
        if one.wants_prompt_logprobs:
            return found
        for name in one.names[:whole]:
            if (block := self._pool.find(name)) is None:
                break
            found.append(block)
        if self._has_states:  # they will be kept where the text parts from known ones, and at its end
            one.kept_behind = frozenset({len(found) * BLOCK, whole * BLOCK})
            while found and not self._pool.has_states(found[-1]):
                found.pop()
        return found

    def _name_blocks(self, one: Running, count: int) -> None:
        while len(one.names) < count:
            start = len(one.names) * BLOCK
            before = one.names[-1] if one.names else self._first_name(one)
            one.names.append(chained_hash(before + _mark(one, start), one.tokens[start : start + BLOCK]))

    def _first_name(self, one: Running) -> bytes:
        """Return what tells beginnings apart that have the same tokens. Projects share none: a client would
        learn from `cached_tokens` what another one has sent.
        """
        images = one.request.images
        name = b"" if images is None else images.name
        return b"\n".join([self._base_name, one.request.project.encode(), name])

    def _make_room(self, one: Running, tokens: int) -> bool:
        """Take blocks for so many tokens of a request. Return False if the request had to give way itself."""
        while len(one.blocks) < _blocks_for(tokens):
            if self._pool.available:
                one.blocks.append(self._pool.take())
                continue
            last = self.places.newest_of_largest(_blocks_of)
            self._preempt(last)
            if last is one:
                return False
        return True

    def _preempt(self, one: Running) -> None:
        """Let a request give up its place and its blocks. It is computed again later."""
        self.places.give_way(one)
        self._give_up(one)
        self._step.tokens.pop(one, None)
        self._step.gave_way.add(one)
        self.preemptions += 1

    def _give_up(self, one: Running) -> None:
        self._pool.give_back(one.blocks)
        one.blocks, one.states, one.computed = [], (), 0


def _line(own: Sequence[Running], for_answers: int) -> deque[Running]:
    """Return a project's requests in the order in which a step serves them.

    So many answers go before prompts, those that have waited longest first; the others come last.
    """
    answers = sorted((one for one in reversed(own) if one.missing == 1), key=lambda one: one.last_step)
    prompts = [one for one in reversed(own) if one.missing > 1]
    first = for_answers if prompts else len(answers)
    return deque([*answers[:first], *prompts, *answers[first:]])


def _mark(one: Running, start: int) -> bytes:
    """Return what tells the block of tokens from `start` on apart from blocks without the request's adapter.

    It is the adapter, and from where on it acts, in the block where that begins. The blocks before are shared
    with all requests, and the names of the blocks behind follow from this one's.
    """
    adapter, offset = one.request.adapter, one.acts_from - start
    return f"\n{adapter.content_hash} {offset}".encode() if adapter and 0 <= offset < BLOCK else b""


def _blocks_of(requests: Sequence[Running]) -> int:
    """Return how many blocks these requests hold together."""
    return len({block for one in requests for block in one.blocks})


def _blocks_for(tokens: int) -> int:
    return -(-tokens // BLOCK)
