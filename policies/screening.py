"""Screening of prompts before a job is queued: rules for prompt injection, exfiltration and leaked secrets. Pure.

Phrases are found word by word (`policies.phrases`), the rest by patterns that are only tried where a word of theirs occurs and
that look ahead over a bounded stretch: the time is linear in the text, whatever it holds.

Injection and exfiltration are looked for in what users, tools and documents say; developers may write of them in instructions.
Secrets are looked for everywhere. A finding names the rule and the place, never what was found.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from policies.phrases import PHRASES, SIGNED_PHRASES, fold

OFF, FLAG, BLOCK = "off", "flag", "block"
_INSTRUCTING: Final = frozenset({"system", "developer", "assistant"})


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a request, its JSON pointer in the body, and whether it comes from the developer or the model."""

    pointer: str
    text: str
    instructing: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that fits, and where."""

    rule: str
    pointer: str


class Screen(Protocol):
    """What a plug-in offers, by the entry point group `coatcheck.screening`: it must be quick, and must not do I/O."""

    def __call__(self, texts: Sequence[Text]) -> Iterable[Finding]: ...


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern, the words without which it can't fit, and what is found but meant as an example."""

    name: str
    words: tuple[str, ...]
    pattern: re.Pattern[str]
    unless: Callable[[str], bool] | None = None


_FILES: Final = r"(?:id_rsa|id_ed25519|\.aws/credentials|/etc/shadow|/proc/self/environ)"
_CARRIERS: Final = r"(?:curl|wget|\bnc\b|\bscp\b|https?://)"
_SIGNS: Final = (
    _Rule(
        "injection.fake_turn",
        ("<|", "[inst]", "<<sys>>", "</system>", "<system>", "## system", "## instruction"),
        re.compile(r"<\|(?:im_start|im_end|system|user|assistant|start_header_id|eot_id|endoftext)\|>|\[inst\]|<<sys>>|</?system>"
                   r"|(?:^|\n)#{2,4} (?:system|instruction)s?:"),
    ),
    _Rule(
        "exfiltration.markdown_image",
        ("](http",),
        re.compile(r"\]\(https?://[^)\s?\]]{1,200}\?[^)\s=\]]{0,40}=(?:\{|\$|%7b|<|\[|\.\.\.|(?:data|conversation|history|secret|prompt)\))"),
    ),
    _Rule(
        "exfiltration.files",
        ("id_rsa", "id_ed25519", ".aws/credentials", "/etc/shadow", "/proc/self/environ"),
        re.compile(rf"{_FILES}[^\n]{{0,60}}{_CARRIERS}|{_CARRIERS}[^\n]{{0,60}}{_FILES}"),
    ),
    _Rule(
        "exfiltration.cloud_metadata",
        ("169.254.169.254", "metadata.google.internal"),
        re.compile(r"169\.254\.169\.254/(?:latest|metadata|computemetadata)|metadata\.google\.internal/computemetadata"),
    ),
)  # fmt: skip
# Letters nobody sees: tags, runs of zero-width signs, overridden direction. Flags of regions have five tags in a row.
_UNSEEN: Final = re.compile("[\U000e0020-\U000e007e]{8}|[\u200b\u200c\u2060\u2063\ufeff]{8}|[\u202d\u202e]")

_EXAMPLE: Final = re.compile(r"(?i)example|x{6}|0{8}|1234567890|your|placeholder|\*{3}|\.\.\.|<|\$\{|changeme|abcdefgh")
_PLAIN_PASSWORD: Final = re.compile(
    r"(?i)://[^:]*:(?:pass(?:word|wd)?|secret|pw|user|test|postgres|root|guest|admin|changeme)@"
)


def _sample(found: str) -> bool:
    return _EXAMPLE.search(found) is not None


_SECRETS: Final = tuple(
    _Rule(f"secret.{name}", words, re.compile(pattern), unless)
    for name, words, pattern, unless in (
        ("private_key", ("PRIVATE KEY",),
         r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----\s{0,4}[A-Za-z0-9+/=:]{8}", None),
        ("aws_access_key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", _sample),
        ("api_key", ("sk-",), r"(?<![\w-])sk-(?:proj-|svcacct-|admin-|ant-|or-v1-)?[A-Za-z0-9_-]{32,200}", _sample),
        ("github_token", ("gh", ), r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_[A-Za-z0-9_]{50,255}\b", _sample),
        ("google_api_key", ("AIza",), r"(?<![\w-])AIza[0-9A-Za-z_-]{35}", _sample),
        ("slack_token", ("xox", "hooks.slack.com"),
         r"(?<![\w-])xox[abeprs]-[0-9A-Za-z-]{20,200}|hooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/\w{20,40}",
         _sample),
        ("stripe_key", ("k_live_",), r"\b[sr]k_live_[0-9A-Za-z]{24,120}", _sample),
        ("coatcheck_key", ("cc_",), r"(?<![\w-])cc_[A-Za-z0-9_-]{43}(?![\w-])", _sample),
        ("json_web_token", ("eyJ",),
         r"(?<![\w-])eyJ[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{16,700}", None),
        ("connection_string", ("://",),
         r"\b(?:postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?)://[^\s:/@]{0,64}:[^\s@/]{3,128}@[\w.-]{2,100}",
         lambda found: _sample(found) or _PLAIN_PASSWORD.search(found) is not None),
    )
)  # fmt: skip

RULES: Final = tuple(
    dict.fromkeys([*PHRASES.rules, *(r.name for r in _SIGNS), "injection.hidden_text", *(r.name for r in _SECRETS)])
)


def screen(texts: Sequence[Text], more: Iterable[Screen] = ()) -> tuple[Finding, ...]:
    """Return what the rules, and the plug-ins `more`, find; the first place of each rule only."""
    found: dict[str, Finding] = {}
    for each in texts:
        for name in _names(each):
            found.setdefault(name, Finding(name, each.pointer))
    for plug_in in more:
        for finding in plug_in(texts):
            found.setdefault(finding.rule, finding)
    return tuple(found.values())


def _names(each: Text) -> Iterator[str]:
    plain = each.text.isascii()
    if not each.instructing:
        folded = each.text.lower() if plain else fold(each.text)
        yield from PHRASES.find(folded)
        if not plain:
            yield from SIGNED_PHRASES.find(folded)
            # In the text as it is: folding takes them away.
            if _UNSEEN.search(each.text):
                yield "injection.hidden_text"
        yield from (rule.name for rule in _SIGNS if _fits(rule, folded))
    yield from (rule.name for rule in _SECRETS if _fits(rule, each.text))


def _fits(rule: _Rule, text: str) -> bool:
    if not any(word in text for word in rule.words):
        return False
    if rule.unless is None:
        return rule.pattern.search(text) is not None
    return any(not rule.unless(match[0]) for match in rule.pattern.finditer(text))


def texts_of(endpoint: str, body: Mapping[str, Any]) -> list[Text]:
    """Return the texts of a request that a model will read, with who wrote them."""
    found: list[Text] = []
    if endpoint == "/v1/chat/completions":
        for number, message in enumerate(_list(body.get("messages"))):
            found.extend(_message(f"/messages/{number}", message))
    elif endpoint == "/v1/responses":
        found.extend(_strings("/instructions", body.get("instructions"), instructing=True))
        found.extend(_strings("/input", body.get("input")))
        for number, item in enumerate(_list(body.get("input"))):
            found.extend(_message(f"/input/{number}", item))
    else:
        for name in ("prompt", "input", "query", "documents"):
            found.extend(_strings(f"/{name}", body.get(name)))
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _message(pointer: str, message: object) -> Iterator[Text]:
    if not isinstance(message, Mapping):
        return
    instructing = message.get("role") in _INSTRUCTING
    for name in ("content", "output", "arguments"):
        yield from _strings(f"{pointer}/{name}", message.get(name), instructing=instructing)
    for number, call in enumerate(_list(message.get("tool_calls"))):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            where = f"{pointer}/tool_calls/{number}/function/arguments"
            yield from _strings(where, function.get("arguments"), instructing=instructing)


def _strings(pointer: str, value: object, *, instructing: bool = False) -> Iterator[Text]:
    if isinstance(value, str):
        yield Text(pointer, value, instructing)
    for number, item in enumerate(_list(value)):
        if isinstance(item, str):
            yield Text(f"{pointer}/{number}", item, instructing)
        elif isinstance(item, Mapping) and isinstance(item.get("text"), str):
            yield Text(f"{pointer}/{number}/text", item["text"], instructing)
