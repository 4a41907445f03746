"""Saving tokens without changing what is asked: what a thrifty request looks like. Pure; nothing is done unless it was asked for.

Code and JSON stay as they are, to the letter (`policies.protected`). System messages are never shortened and the latest turn is
never dropped. Where the middle of a conversation is to be summarised, the plan says of what; the call is somebody else's.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from policies.catalog import Thrift
from policies.protected import parts
from policies.task_kinds import CONCISE, MAX_TOKENS, task_of

Body = dict[str, Any]
CountBody = Callable[[Mapping[str, Any]], int]

_INSTRUCTING: Final = frozenset({"system", "developer"})
_BLANK_LINES: Final = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")
_TRAILING: Final = re.compile(r"(?<=\S)[ \t]+(?=\n)")
_INNER: Final = re.compile(r"(?<=\S) {2,}(?=\S)")
_PARAGRAPH: Final = re.compile(r"\n{2,}")
_REPEATED_FROM: Final = 200
OMITTED: Final = "[repeated text left out: see above]"
_SUMMARY_INTRO: Final = "Summary of the conversation so far:\n"
_SUMMARY_ORDER: Final = (
    "Summarise the conversation below for the assistant who continues it. Keep names, numbers, decisions, open questions and "
    "the user's wishes. At most {words} words, in the conversation's language.\n\n"
)
_SUMMARY_TOKENS: Final = 512
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Summary:
    """What has to be summarised before the request can be made: ask `model` with `messages`, then call `with_summary`."""

    model: str
    messages: list[dict[str, Any]]
    place: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A thrifty request.

    Attributes:
        body: what to send; the request's own object where nothing was changed.
        saved_tokens: input tokens less than before; what a summary adds is not known yet.
        done: what was done, in words for `route.reason` and logs.
        summary: what to summarise, or None.
    """

    body: Body
    saved_tokens: int = 0
    done: tuple[str, ...] = ()
    summary: Summary | None = None


@dataclass(slots=True)
class _Work:
    body: Body
    done: list[str] = field(default_factory=list)
    summary: Summary | None = None


def plan(
    endpoint: str,
    body: Body,
    thrift: Thrift,
    count: CountBody,
    *,
    context_length: int | None = None,
    reasons: bool = False,
    task: str | None = None,
) -> Plan:
    """Return how a request is made with fewer tokens; `body` itself is never changed.

    Args:
        endpoint: other paths than chat completions are returned as they are.
        body: the request.
        thrift: what to do.
        count: input tokens of a body.
        context_length: of the deployment, where known; history is fitted to it.
        reasons: the model thinks in output tokens, so a default limit would cut its thoughts.
        task: the kind of task (a key of `MAX_TOKENS`), where somebody knows better than `task_of`.
    """
    if endpoint != "/v1/chat/completions" or not isinstance(body.get("messages"), list):
        return Plan(body)
    before = count(body)
    work = _Work(dict(body))
    kind = task or task_of(body)
    if thrift.trim:
        _trim(work)
    if thrift.fit_history and context_length is not None:
        _fit(work, thrift, count, context_length)
    if thrift.trim:
        _leave_out_repetitions(work)
    after = count(work.body) if work.done else before
    if thrift.max_tokens and not reasons:
        _limit_answer(work, kind)
    if thrift.concise_hint:
        _hint(work, kind)
    if not work.done:
        return Plan(body)
    return Plan(work.body, max(0, before - after), tuple(work.done), work.summary)


def with_summary(planned: Plan, text: str) -> Body:
    """Return the request with the summary in the place of what it stands for."""
    if planned.summary is None:
        return planned.body
    messages = list(planned.body["messages"])
    messages.insert(planned.summary.place, {"role": "system", "content": _SUMMARY_INTRO + text.strip()})
    return {**planned.body, "messages": messages}


def trimmed(text: str) -> str:
    """Return a text without idle blanks, outside code and JSON."""
    if "  " not in text and "\n\n\n" not in text and " \n" not in text and "\t\n" not in text:
        return text
    return "".join(part.text if part.code else _squeeze(part.text) for part in parts(text))


def _squeeze(prose: str) -> str:
    return _INNER.sub(" ", _BLANK_LINES.sub("\n\n", _TRAILING.sub("", prose)))


def _trim(work: _Work) -> None:
    messages = [_with_text(m, trimmed) if _role(m) not in _INSTRUCTING else m for m in work.body["messages"]]
    if messages != work.body["messages"]:
        work.body["messages"] = messages
        work.done.append("trimmed blanks")


def _role(message: object) -> object:
    return message.get("role") if isinstance(message, Mapping) else None


def _with_text(message: Any, change: Callable[[str], str]) -> Any:
    """Return a message with its texts changed; whatever else it holds stays."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return {**message, "content": change(content)}
    if isinstance(content, list):
        return {**message, "content": [_part(part, change) for part in content]}
    return message


def _part(part: Any, change: Callable[[str], str]) -> Any:
    if isinstance(part, Mapping) and part.get("type") in {"text", "input_text"} and isinstance(part.get("text"), str):
        return {**part, "text": change(part["text"])}
    return part


def _leave_out_repetitions(work: _Work) -> None:
    """Leave out long paragraphs of prose that an earlier message holds word for word."""
    seen: set[str] = set()
    changed = False

    def once(text: str) -> str:
        nonlocal changed
        kept = []
        own: set[str] = set()
        for part in parts(text):
            if part.code:
                kept.append(part.text)
                continue
            paragraphs = _PARAGRAPH.split(part.text)
            breaks = _PARAGRAPH.findall(part.text)
            for number, paragraph in enumerate(paragraphs):
                key = paragraph.strip()
                if len(key) >= _REPEATED_FROM and key in seen:
                    paragraphs[number] = paragraph.replace(key, OMITTED)
                    changed = True
                own.add(key)
            kept.append("".join(p + b for p, b in zip(paragraphs, [*breaks, ""], strict=True)))
        # A text that repeats itself may mean to: only earlier messages count.
        seen.update(own)
        return "".join(kept)

    messages = [_with_text(m, once) if _role(m) in {"user", "tool"} else m for m in work.body["messages"]]
    if changed:
        work.body["messages"] = messages
        work.done.append("left out repeated context")


def _turns(messages: Sequence[Any]) -> tuple[int, list[int]]:
    """Return where the leading instructions end, and where each turn begins: with a user's message."""
    lead = 0
    while lead < len(messages) and _role(messages[lead]) in _INSTRUCTING:
        lead += 1
    starts = [number for number in range(lead, len(messages)) if _role(messages[number]) == "user"]
    return lead, starts or [lead]


def _fit(work: _Work, thrift: Thrift, count: CountBody, context_length: int) -> None:
    answer = next((work.body[name] for name in _LIMITS if isinstance(work.body.get(name), int)), None)
    room = context_length - (answer or min(1024, context_length // 4)) - context_length // 50
    if count(work.body) <= room:
        return
    messages = work.body["messages"]
    lead, starts = _turns(messages)
    spare = (
        min(_SUMMARY_TOKENS, context_length // 8) if thrift.fit_history == "summarise" and thrift.summary_model else 0
    )

    def without(first: int) -> Body:
        # Instructions given in the middle of the conversation still hold.
        still = [m for m in messages[lead:first] if _role(m) in _INSTRUCTING]
        return {**work.body, "messages": [*messages[:lead], *still, *messages[first:]]}

    # The earliest turn from which on everything fits: counting is dear, so halve.
    low, high = 0, len(starts) - 1
    while low < high:
        middle = (low + high) // 2
        if count(without(starts[middle])) + spare <= room:
            high = middle
        else:
            low = middle + 1
    first = starts[low]
    dropped = [m for m in messages[lead:first] if _role(m) not in _INSTRUCTING]
    if not dropped or count(fitted := without(first)) > room:
        return  # even the latest turn alone is too long: that is for the upstream to say and for a larger model to do
    if spare and thrift.summary_model:
        place = lead + sum(_role(m) in _INSTRUCTING for m in messages[lead:first])
        work.summary = Summary(thrift.summary_model, _order(dropped, spare), place, spare)
    work.body = fitted
    work.done.append(f"{'summarised' if work.summary else 'dropped'} {len(dropped)} messages of the history")


def _order(dropped: Sequence[Any], max_tokens: int) -> list[dict[str, Any]]:
    lines = []
    for message in dropped:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, list):
            content = "\n".join(
                part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
            )
        if isinstance(content, str) and content:
            lines.append(f"{message['role']}: {content}")
    return [{"role": "user", "content": _SUMMARY_ORDER.format(words=max_tokens // 2) + "\n\n".join(lines)}]


def _limit_answer(work: _Work, kind: str) -> None:
    limit = MAX_TOKENS.get(kind)
    if limit is None or any(work.body.get(name) is not None for name in _LIMITS) or "response_format" in work.body:
        return
    work.body["max_tokens"] = limit
    work.done.append(f"max_tokens {limit} for {kind}")


def _hint(work: _Work, kind: str) -> None:
    hint = CONCISE.get(kind)
    if hint is None or "response_format" in work.body:
        return
    lead, _ = _turns(work.body["messages"])
    messages = list(work.body["messages"])
    messages.insert(lead, {"role": "system", "content": hint})
    work.body["messages"] = messages
    if work.summary is not None:
        work.summary = Summary(
            work.summary.model, work.summary.messages, work.summary.place + 1, work.summary.max_tokens
        )
    work.done.append(f"asked for a concise answer ({kind})")
