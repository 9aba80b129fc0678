"""Finds what should not be taught: control tokens of chat templates, keys, and personal data."""

import re
from collections.abc import Iterable, Iterator
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
KEY_MARKS = re.compile("|".join(re.escape(mark) for form in KEY_FORMS for mark in form.marks))
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
EXAMPLE_HOSTS = re.compile(
    r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|[\w-]+\.(?:example|invalid|test))$", re.IGNORECASE
)
CARD = re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-]|\.\d)")
CARD_MARK = re.compile(r"[2-6][\d -]{11,}\d")  # is in every text with a card, and is found faster
# The first digits and the lengths of the issuers' numbers (ISO/IEC 7812)
ISSUERS = re.compile(
    r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}"  # Visa, Mastercard
    r"|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}"  # American Express, Diners, JCB
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}(?:\d{3})?|62\d{14,17}"  # Discover, UnionPay
    r"|(?:50(?:18|20|38)|5893|6304|67(?:59|6[1-3]))\d{12}"  # Maestro
)
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


class ControlTokens:
    """Finds control tokens in texts: those of well-known templates, and those of a base model's tokenizer."""

    def __init__(self, of_base: Iterable[str] = ()) -> None:
        longest_first = sorted(of_base, key=len, reverse=True)
        self._pattern = re.compile("|".join([CONTROL_TOKENS.pattern, *map(re.escape, longest_first)]))
        self._marks = {"<", "[", *(token[0] for token in longest_first)}

    def first(self, text: str) -> str | None:
        """Return the first control token of a text. Most texts have none of the characters that begin one."""
        if not any(mark in text for mark in self._marks):
            return None
        found = self._pattern.search(text)
        return found and found[0]


WELL_KNOWN = ControlTokens()


def suspects(text: str, control_tokens: ControlTokens = WELL_KNOWN) -> Iterator[Suspect]:
    """Yield the first control token, secret, card number and e-mail address of a text."""
    if token := control_tokens.first(text):
        yield Suspect("control_token", f"the text has {token}, a control token of chat templates")
    if key := _key(text):
        yield Suspect("secret", f"the text has what looks like {key}")
    if CARD_MARK.search(text) and any(_is_card(found[0]) for found in CARD.finditer(text)):
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
    if not KEY_MARKS.search(text):
        return None
    for form in KEY_FORMS:
        if any(mark in text for mark in form.marks) and (found := form.pattern.search(text)):
            return f"{form.name} ({found[0][:SHOWN_CHARACTERS]}…)"
    return None


def _is_card(text: str) -> bool:
    """Return whether digits have the form of an issuer's cards, pass Luhn's check, and are not all equal."""
    digits = [int(each) for each in text if each.isdigit()]
    if not ISSUERS.fullmatch("".join(map(str, digits))) or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
