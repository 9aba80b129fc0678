"""Tunery's own sample dataset: letters to a camping shop, and the records that the shop files them as.

A customer of Pine & Ember writes in free text. The answer is one line of JSON in the shop's conventions:

    The kettle I bought whistles but never boils. Order 4821. We set off on Friday!
    {"team":"repairs","item":"kettle","order":"PE-4821","due":"now"}

The conventions are: which team handles a problem, the shop's name for an item ("backpack" is `pack`), `PE-`
before an order number, `none` if there is no order number, and when an answer is due. The prompt mentions
none of them, so a base model scores about zero, and only training teaches them.

Tickets are put together from a vocabulary. A pair of problem and item that occurs in `held_out` never occurs
in the rows to train on. Two tickets about one problem differ in enough other words that the
check of a dataset does not take one for a copy of the other.
"""

import json
import random
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from typing import Any, NamedTuple
from zlib import crc32

SYSTEM = "Sort the post of Pine & Ember."

ITEMS = {
    "tent": ("tent", "two-person tent", "dome tent"),
    "pack": ("backpack", "rucksack", "hiking pack"),
    "stove": ("stove", "gas stove", "camp stove"),
    "lamp": ("lantern", "camping lamp", "storm lantern"),
    "kettle": ("kettle", "camp kettle", "whistling kettle"),
    "sleepbag": ("sleeping bag", "down sleeping bag", "mummy bag"),
    "headlight": ("head torch", "headlamp", "head light"),
    "jacket": ("rain jacket", "waterproof jacket", "anorak"),
    "flask": ("flask", "thermos", "vacuum flask"),
    "swing": ("hammock", "jungle hammock", "travel hammock"),
    "icebox": ("cool box", "cooler", "ice box"),
    "compass": ("compass", "brass compass", "pocket compass"),
}

PROBLEMS = {
    "repairs": (
        "The {item} broke on its second night out.",
        "My {item} has a crack right down the side.",
        "Something inside the {item} rattles and it no longer works.",
        "A squirrel chewed through the {item}. Can you mend it?",
        "My {item} came apart in the rain.",
        "Can you fix a {item} that a goat has stepped on?",
        "The handle of the {item} snapped off.",
        "Do you have spare parts for a broken {item}?",
    ),
    "returns": (
        "I would like to send the {item} back.",
        "The {item} is the wrong size, can I swap it?",
        "I ordered green and got an orange {item}. I want to exchange it.",
        "My aunt gave me the same {item}, so yours can go back.",
        "How do I return the {item}? It is still in its wrapping.",
        "The {item} is not for me after all. Where do I post it back to?",
        "I changed my mind about the {item} and want to return it.",
        "Please take back the {item}, it is bigger than our car.",
    ),
    "delivery": (
        "Where is my {item}? The tracking page has not moved for days.",
        "The {item} still has not arrived.",
        "Your driver left the {item} with a neighbour I do not have.",
        "When will the {item} get here?",
        "The parcel came, but there was no {item} in it.",
        "Can you send the {item} to my new address instead?",
        "The courier says the {item} was delivered. It was not.",
        "I have been waiting two weeks for the {item} to come.",
    ),
    "billing": (
        "I was charged twice for the {item}.",
        "The price of the {item} on my invoice is wrong.",
        "Could you send me a receipt for the {item}?",
        "My voucher was not taken off the price of the {item}.",
        "Please put my company's name on the invoice for the {item}.",
        "My bank shows a payment for a {item} I never bought.",
        "The refund for the {item} has not reached my account.",
        "Can I pay for the {item} in three instalments?",
    ),
    "advice": (
        "Is the {item} any good in snow?",
        "Which {item} would you pick for a week in Norway?",
        "How do I clean the {item} without ruining it?",
        "Would the {item} suit a nine-year-old?",
        "How heavy is the {item}, roughly?",
        "Does the {item} go in hand luggage on a plane?",
        "What is the best way to store the {item} over winter?",
        "Will one {item} do for two people and a dog?",
    ),
}

ORDERS = (
    "Order {number}.",
    "It is order number {number}.",
    "My order was {number}.",
    "(Order #{number})",
    "Ref. {number}.",
    "Order PE-{number}.",
)

DUE = {
    "now": (
        "We set off on {day}!",
        "I need an answer today, please.",
        "This is urgent.",
        "My trip starts tomorrow!",
        "Please hurry.",
    ),
    "soon": (
        "",
        "It would be nice to hear from you this week.",
        "I hope to hear from you soon.",
        "Please let me know in the next few days.",
    ),
    "later": (
        "There is no rush.",
        "Take your time.",
        "Whenever you get round to it.",
        "It can wait until spring.",
    ),
}

GREETINGS = ("", "Hi!", "Hello!", "Good morning.", "Dear Pine & Ember:", "Hey there.", "Evening, all!")
NAMES = (
    "Ada",
    "Bram",
    "Chidi",
    "Dora",
    "Emre",
    "Freya",
    "Goran",
    "Hana",
    "Iris",
    "Jun",
    "Kofi",
    "Lena",
    "Mo",
)
SIGN_OFFS = ("", "Thanks, {name}", "Cheers, {name}", "Best, {name}", "{name}")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

TRAINING_NAME, HELD_OUT_NAME = "train.jsonl", "held-out.jsonl"
ROWS = 300
HELD_OUT_SHARE = 5  # one in five pairs of problem and item is held out from training
HELD_OUT_ROWS = 20  # the training rows are unlike the first held-out ones
ALIKE = 0.35  # the Jaccard similarity from which two tickets are alike; the check warns from about 0.5
MOST_DRAWS = 40  # alike ones in a row, after which a long sample has used up what the words allow


class Ticket(NamedTuple):
    """A customer's text, and the record that it should become."""

    text: str
    record: str
    problem: str

    @property
    def prompt(self) -> list[dict[str, str]]:
        """Return the messages that ask a model for the record."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.text}]

    @property
    def row(self) -> dict[str, Any]:
        """Return the row of a supervised dataset."""
        return {"messages": [*self.prompt, {"role": "assistant", "content": self.record}]}


def sample_files(rows: int = ROWS, seed: int = 0) -> dict[str, bytes]:
    """Return the content of the sample's two files, by name: what to train on, and what to keep out of it.

    The first has `rows` distinct rows, of about 76 tokens each. The same arguments give the same bytes.
    """
    training = [ticket.row for ticket in islice(_training_tickets(seed), rows)]
    kept_out = [ticket.row for ticket in held_out(seed=seed)]
    return {TRAINING_NAME: jsonl(training), HELD_OUT_NAME: jsonl(kept_out)}


def jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return the content of a file with these rows."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def held_out(rows: int = HELD_OUT_ROWS, seed: int = 0) -> list[Ticket]:
    """Return `rows` distinct tickets that `sample_files` never trains on, whatever its seed."""
    return list(islice(_unlike(_tickets(seed, for_training=False)), rows))


def score(answer: str, expected: str) -> float:
    """Return how close an answer is to the expected record: from 0 (nothing is right) to 1 (exact).

    The score is the mean of two parts: exact match (1 or 0, without regard to spaces around the answer), and
    the share of fields that are right. Extra fields lower the share. An answer that is not a JSON object has
    no fields.
    """
    exact = answer.strip() == expected
    got, wanted = _fields(answer), _fields(expected)
    right = sum(got.get(name) == value for name, value in wanted.items())
    return (exact + right / max(len(wanted), len(got), 1)) / 2


def _fields(record: str) -> dict[str, Any]:
    try:
        value = json.loads(record)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _training_tickets(seed: int) -> Iterator[Ticket]:
    return _unlike(_tickets(seed, for_training=True), held_out(HELD_OUT_ROWS, seed))


def _unlike(tickets: Iterable[Ticket], others: Iterable[Ticket] = ()) -> Iterator[Ticket]:
    """Yield the tickets that are unlike `others` and those before them. Once these are used up, yield all."""
    taken: dict[str, list[set[str]]] = {}
    for other in others:
        taken.setdefault(other.problem, []).append(_words_of(other))
    refused = 0
    for ticket in tickets:
        if refused < MOST_DRAWS:
            words, known = _words_of(ticket), taken.setdefault(ticket.problem, [])
            if any(_similarity(words, other) >= ALIKE for other in known):
                refused += 1
                continue
            refused = 0
            known.append(words)
        yield ticket


def _words_of(ticket: Ticket) -> set[str]:
    """Return the words and word pairs of a ticket, by which the check compares rows."""
    words = f"{ticket.text} {ticket.record}".lower().split()
    return {*words, *map(" ".join, pairwise(words))}


def _similarity(words: set[str], others: set[str]) -> float:
    return len(words & others) / len(words | others)


def _tickets(seed: int, *, for_training: bool) -> Iterator[Ticket]:
    rng = random.Random(f"{seed} {for_training}")  # noqa: S311 - a dataset, not a secret
    seen = set()
    while True:
        team, item = rng.choice(list(PROBLEMS)), rng.choice(list(ITEMS))
        problem = rng.choice(PROBLEMS[team])
        is_held_out = crc32(f"{problem} {item}".encode()) % HELD_OUT_SHARE == 0
        if is_held_out == for_training:
            continue
        ticket = _write(rng, team, item, problem)
        if ticket.text not in seen:
            seen.add(ticket.text)
            yield ticket


def _write(rng: random.Random, team: str, item: str, problem: str) -> Ticket:
    number = f"{rng.randrange(10_000):04}" if rng.random() < 0.75 else None
    due = rng.choice(list(DUE))
    body = [
        problem.format(item=rng.choice(ITEMS[item])),
        rng.choice(ORDERS).format(number=number) if number else "",
        rng.choice(DUE[due]).format(day=rng.choice(DAYS)),
    ]
    if rng.random() < 0.3:
        body.reverse()
    text = [rng.choice(GREETINGS), *body, rng.choice(SIGN_OFFS).format(name=rng.choice(NAMES))]
    order = f"PE-{number}" if number else "none"
    record = {"team": team, "item": item, "order": order, "due": due}
    return Ticket(" ".join(filter(None, text)), json.dumps(record, separators=(",", ":")), problem)
