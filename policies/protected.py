"""Which parts of a text are code or JSON, and so must stay as they are. Pure, and linear but for a bounded number of tries."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# A fence of three or more; one that is not closed reaches to the end, as Markdown has it.
_FENCE: Final = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[^\n]*$", re.MULTILINE)
_INLINE: Final = re.compile(r"(`{1,2})(?!`)[^`\n]{1,2000}?\1(?!`)")
_MARKUP: Final = re.compile(r"<(pre|code|script|style)\b[^>\n]{0,200}>", re.IGNORECASE)
_CLOSING: Final = {name: re.compile(f"</{name}>", re.IGNORECASE) for name in ("pre", "code", "script", "style")}
_JSON_START: Final = re.compile(r"[{\[]")
_MOST_TRIES: Final = 64
_LONGEST: Final = 262_144
_DECODER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a text; `code` is not to be touched."""

    text: str
    code: bool


def parts(text: str) -> list[Part]:
    """Split a text into prose and what has to stay; together they are the text."""
    # What is too long to be looked at closely stays as it is.
    if len(text) > _LONGEST or _is_json(text):
        return [Part(text, code=True)]
    found: list[Part] = []
    end = 0
    for start, stop in _merged(text):
        if start > end:
            found.append(Part(text[end:start], code=False))
        found.append(Part(text[start:stop], code=True))
        end = stop
    if end < len(text):
        found.append(Part(text[end:], code=False))
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _merged(text: str) -> Iterator[tuple[int, int]]:
    """Yield the stretches to be left alone, in order and without overlap."""
    found = sorted(
        [*_fences(text), *_indented(text), *_markup(text), *_json(text), *(m.span() for m in _INLINE.finditer(text))]
    )
    last: tuple[int, int] | None = None
    for start, stop in found:
        if last is None:
            last = start, stop
        elif start <= last[1]:
            last = last[0], max(last[1], stop)
        else:
            yield last
            last = start, stop
    if last is not None:
        yield last


def _fences(text: str) -> Iterator[tuple[int, int]]:
    opened: re.Match[str] | None = None
    for match in _FENCE.finditer(text):
        if opened is None:
            opened = match
        elif match[1].startswith(opened[1]) and not match[0].strip().strip(match[1][0]):
            yield opened.start(), match.end()
            opened = None
    if opened is not None:
        yield opened.start(), len(text)


def _indented(text: str) -> Iterator[tuple[int, int]]:
    """Lines that are indented, tables and lines of signs: what spaces mean there nobody knows."""
    at = 0
    for line in text.splitlines(keepends=True):
        if line.startswith((" ", "\t")) or "|" in line or "\t" in line:
            yield at, at + len(line)
        at += len(line)


def _markup(text: str) -> Iterator[tuple[int, int]]:
    at = 0
    while match := _MARKUP.search(text, at):
        closing = _CLOSING[match[1].lower()].search(text, match.end())
        at = len(text) if closing is None else closing.end()
        yield match.start(), at


def _json(text: str) -> Iterator[tuple[int, int]]:
    at, tries = 0, 0
    while match := _JSON_START.search(text, at):
        start = match.start()
        try:
            _, at = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            tries += 1
            at = start + 1
            if tries >= _MOST_TRIES:
                # So many brackets that begin nothing: better leave the rest alone than read it over and over.
                yield start, len(text)
                return
        else:
            yield start, at
