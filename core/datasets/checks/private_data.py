"""Finds what should not be taught: control tokens of chat templates, keys, and personal data."""

import re
from collections.abc import Iterator
from typing import NamedTuple

CONTROL_TOKENS = re.compile(
    r"<\|[a-z_]{2,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>"
    r"|<[|｜](?:begin|end)[▁_]of[▁_]sentence[|｜]>"
)


class KeyForm(NamedTuple):
    """The form of one kind of key. A text without any of the `marks` has no such key.

    `pattern` finds the begin of a key, and `whole` the key with all that may belong to it.
    """

    name: str
    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    whole: re.Pattern[str]


def _form(name: str, marks: str, pattern: str, rest: str = r"[\w.+/=-]*+") -> KeyForm:
    return KeyForm(name, tuple(marks.split()), re.compile(pattern), re.compile(pattern + rest))


KEY_FORMS = (
    _form(
        "a private key",
        "PRIVATE",
        r"-----BEGIN (?:[A-Z]+ ){0,4}PRIVATE KEY-----",
        rest=r"[\s\S]*?(?:-----END (?:[A-Z]+ ){0,4}PRIVATE KEY-----|\Z)",
    ),
    _form("an AWS access key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _form("a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", r"\bgh[pousr]_[A-Za-z0-9]{36}"),
    _form("a GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{50}"),
    _form("a GitLab token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20}"),
    _form("a Slack token", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10}"),
    _form("a Google API key", "AIza", r"\bAIza[0-9A-Za-z_-]{35}"),
    _form("an OpenAI or Anthropic key", "sk-", r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{20}"),
    _form("a Stripe key", "_live_ _test_", r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16}"),
    _form("a Hugging Face token", "hf_", r"\bhf_[A-Za-z0-9]{30}"),
    _form(
        "a JSON web token",
        "eyJ",
        r"\beyJ[A-Za-z0-9_-]{10,300}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10}",
    ),
)
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
EXAMPLE_HOSTS = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|[\w-]+\.(?:example|invalid|test))$", re.IGNORECASE
)
CARD = re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-]|\.\d)")
SHOWN_CHARACTERS = 4


class Suspect(NamedTuple):
    """Something found in a text: the finding's code, and words for it that do not repeat a secret."""

    code: str
    what: str


MENDS = {
    "control_token": "remove it, or escape it: a template's token in a text ends a turn or begins one",
    "secret": "replace it by a made-up value, and revoke it: a model may repeat what it has learnt",
    "card_number": "replace it by a made-up number",
    "email_address": "replace it by an address at example.com, unless the model shall learn it",
}


def suspects(text: str) -> Iterator[Suspect]:
    """Yield the first control token, secret, card number and e-mail address of a text."""
    if ("<" in text or "[" in text) and (token := CONTROL_TOKENS.search(text)):
        yield Suspect("control_token", f"the text has {token[0]}, a control token of chat templates")
    if key := _key(text):
        yield Suspect("secret", f"the text has what looks like {key}")
    if any(_is_card(found[0]) for found in CARD.finditer(text)):
        yield Suspect("card_number", "the text has a number that is valid as the number of a payment card")
    if "@" in text and any(not EXAMPLE_HOSTS.search(found[0]) for found in EMAIL.finditer(text)):
        yield Suspect("email_address", "the text has an e-mail address")


def masked(text: str) -> str:
    """Return a text in which only the first characters are left of each key."""
    for form in KEY_FORMS:
        if any(mark in text for mark in form.marks):
            text = form.whole.sub(lambda found: found[0][:SHOWN_CHARACTERS] + "…", text)
    return text


def _key(text: str) -> str | None:
    """Return the name of the first kind of key in a text, and the few characters its owner knows it by."""
    for form in KEY_FORMS:
        if any(mark in text for mark in form.marks) and (found := form.pattern.search(text)):
            return f"{form.name} ({found[0][:SHOWN_CHARACTERS]}…)"
    return None


def _is_card(text: str) -> bool:
    """Return whether the digits pass Luhn's check and begin as cards do. Equal digits are no card."""
    digits = [int(each) for each in text if each.isdigit()]
    if digits[0] not in (2, 3, 4, 5, 6) or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
