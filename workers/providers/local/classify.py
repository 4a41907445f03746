"""Zero-shot classification with the local embedder: which of the given labels fits a text best.

A label fits by its meaning (cosine) and by its words. The embedder knows English best; in other languages labels should be words
of that language, and texts that hold them are found most surely. `test_classify.py` measures it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np
import orjson

from core.embedding import Embedder
from workers.providers.local.chat import MAX_TEXT_BYTES, Answer, answered, content_of, invalid, messages_of
from workers.providers.local.extract import Extract
from workers.providers.local.lexical import Floats, fold, terms

MAX_LABELS: Final = 1_000
_MAX_DEPTH: Final = 8
# A small schema that leads back to itself in many ways has more options than anybody could look at.
_MAX_OPTIONS: Final = 200
_WORDS_SHARE: Final = 0.3
# Makes probabilities of the mix's scores: on the labelled set of the tests the likeliest label gets 0.85 on average and is right
# in 94 of 100 cases; with labels that nobody has tried it will be right less often.
_SHARPNESS: Final = 18.0

# Each line is looked at by itself: a pattern that ran on over empty ones would take time quadratic in their number.
_LINE: Final = re.compile(
    r"(?:^|\n)[^\S\n]*+(?:labels?|classes|categories|kategorien|klassen|etiquetas|categor[ií]as)\s*:\s*(.+)",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"\s*[,;|]\s*")
_QUOTES: Final = "\"'`“”„«»[](){}. "


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """A request after validation. `field` is the member of the answer that names the label; `more` are the others it may have."""

    text: str
    labels: list[str]
    field: str
    more: frozenset[str]
    prompt: list[str]


def read_classify(body: dict[str, Any]) -> ClassifyRequest:
    """Find text and labels. Raises ProviderError(invalid_request).

    Labels stand in `response_format` (a JSON schema with a property that has an `enum`), else in a line `labels: a, b, c` of a
    system message or of the user's. The text is the last user message, without that line.
    """
    messages = messages_of(body)
    prompt = [content_of(message) for message in messages]
    users = [text for text, message in zip(prompt, messages, strict=True) if message.get("role") == "user"]
    if not users:
        raise invalid("messages must contain a user message: it holds the text")
    text = users[-1]
    schema = _schema(body.get("response_format"))
    if schema is not None and (found := _enum(schema)) is not None:
        field, labels = found
        return _checked(ClassifyRequest(text, labels, field, _members(schema, field), prompt))
    systems = [
        content
        for content, message in zip(prompt, messages, strict=True)
        if message.get("role") in ("system", "developer")
    ]
    for source in (*reversed(systems), text):
        if (line := _LINE.search(source)) is not None:
            if source is text:
                text = text[: line.start()] + text[line.end() :]
            labels = [label.strip(_QUOTES) for label in _BETWEEN.split(line.group(1))]
            return _checked(
                ClassifyRequest(text, [one for one in labels if one], "label", frozenset({"scores"}), prompt)
            )
    raise invalid(
        'no labels: give an enum in response_format\'s JSON schema, or a line "labels: a, b, c" in a system message'
    )


def _checked(request: ClassifyRequest) -> ClassifyRequest:
    labels = list(dict.fromkeys(request.labels))
    if not 1 <= len(labels) <= MAX_LABELS:
        raise invalid(f"there must be 1 to {MAX_LABELS} labels")
    text = request.text.strip()
    if not text:
        raise invalid("the text to classify is empty")
    if len(text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        raise invalid(f"the text is longer than {MAX_TEXT_BYTES} bytes, the most that local models take")
    return replace(request, text=text, labels=labels)


def _schema(wish: Any) -> dict[str, Any] | None:
    given = wish.get("json_schema") if isinstance(wish, dict) and wish.get("type") == "json_schema" else None
    schema = given.get("schema") if isinstance(given, dict) else None
    return schema if isinstance(schema, dict) else None


def _enum(schema: dict[str, Any]) -> tuple[str, list[str]] | None:
    """The first property whose value is one of some texts; it may stand behind a `$ref` into `$defs`."""
    properties = schema.get("properties")
    for name, value in properties.items() if isinstance(properties, dict) else ():
        for option in islice(_options(value, schema, 0), _MAX_OPTIONS):
            values = option.get("enum")
            if isinstance(values, list) and values and all(isinstance(item, str) for item in values):
                return name, values
    return None


def _options(value: Any, schema: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return
    yield value
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        definitions = schema.get("$defs")
        if isinstance(definitions, dict):
            yield from _options(definitions.get(reference.removeprefix("#/$defs/")), schema, depth + 1)
    for combined in ("anyOf", "oneOf", "allOf"):
        options = value.get(combined)
        for option in options if isinstance(options, list) else ():
            yield from _options(option, schema, depth + 1)


def _members(schema: dict[str, Any], field: str) -> frozenset[str]:
    """What the answer may hold besides the label: `scores` unless the schema forbids it, a number under the usual names."""
    declared = set(schema.get("properties") or ()) - {field}
    wanted = declared & {"scores", "score", "confidence"}
    if schema.get("additionalProperties") is not False:
        wanted.add("scores")
    required = schema.get("required")
    if missing := set(required if isinstance(required, list) else ()) - wanted - {field}:
        raise invalid(f"the schema requires members that this model can't fill: {', '.join(sorted(map(str, missing)))}")
    return frozenset(wanted)


def label_scores(text: str, labels: list[str], embedder: Embedder, checkpoint: Callable[[], None]) -> Floats:
    """Probabilities of the labels; they add up to 1."""
    embedded = embedder.embed(
        [text, *(label.replace("_", " ").replace("-", " ") for label in labels)], checkpoint=checkpoint
    )
    likeness = embedded.vectors[1:] @ embedded.vectors[0]
    checkpoint()
    mixed = _WORDS_SHARE * _shared_words(text, labels) + (1 - _WORDS_SHARE) * likeness
    odds = np.exp(_SHARPNESS * (mixed - mixed.max()))
    scores: Floats = (odds / odds.sum()).astype(np.float32)
    return scores


def _shared_words(text: str, labels: list[str]) -> Floats:
    """How much of each label's words stands in the text: whole stems, and pieces of four letters for forms and compounds."""
    stems, pieces = set(terms(text)), _pieces(text)
    found = np.zeros(len(labels), dtype=np.float32)
    for number, label in enumerate(labels):
        words, parts = terms(label), _pieces(label)
        whole = sum(word in stems for word in words) / max(1, len(words))
        found[number] = (whole + len(parts & pieces) / max(1, len(parts))) / 2
    return found


def _pieces(text: str) -> set[str]:
    return {
        word[start : start + 4]
        for word in (f"<{word}>" for word in re.findall(r"\w{3,}", fold(text)))
        for start in range(len(word) - 3)
    }


def classify(request: ClassifyRequest, embedder: Embedder, checkpoint: Callable[[], None]) -> Answer:
    """Run the model; the answer is a JSON object, as the schema asks for it, else `{"label": …, "scores": {…}}`."""
    scores = label_scores(request.text, request.labels, embedder, checkpoint)
    best = int(np.argmax(scores))
    answer: dict[str, Any] = {request.field: request.labels[best]}
    for name in ("score", "confidence"):
        if name in request.more:
            answer[name] = round(float(scores[best]), 4)
    if "scores" in request.more:
        order = np.argsort(-scores, kind="stable")
        answer["scores"] = {request.labels[index]: round(float(scores[index]), 4) for index in order}
    return answered(Extract([orjson.dumps(answer).decode()]), request.prompt, embedder)
