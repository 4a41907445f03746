"""A text taken apart: title, sections, paragraphs, list items and their sentences; code, tables and front matter are left out."""

import re
from dataclasses import dataclass, field
from enum import StrEnum

from workers.providers.local.sentences import split_sentences


class Kind(StrEnum):
    """Where a sentence stood."""

    PROSE = "prose"
    ITEM = "item"
    QUOTE = "quote"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, whitespace normalised and inline markup removed.

    `section` counts from 0 (what stands before the first heading), `block` counts paragraphs and list items over the whole
    text, `place` is the sentence's position within its block, `block_size` the number of sentences there.
    """

    text: str
    section: int
    block: int
    place: int
    block_size: int
    kind: Kind


@dataclass(slots=True)
class Document:
    """The parsed text. `headings[i]` is the heading of section i ("" for the part before the first heading)."""

    title: str = ""
    headings: list[str] = field(default_factory=lambda: [""])
    sentences: list[Sentence] = field(default_factory=list)


@dataclass(slots=True)
class _Block:
    kind: Kind
    lines: list[str]


_FRONT_MATTER = re.compile(r"\A\s*(---|\+\+\+)[ \t]*\n(?:[^\n]*\n){0,80}?\1[ \t]*(?:\n|\Z)")
_ATX = re.compile(r"\s{0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_SETEXT = re.compile(r"\s{0,3}(=+|-{3,})\s*$")
_RULE = re.compile(r"\s{0,3}(?:[-*_]\s*){3,}$")
_FENCE = re.compile(r"\s*(```+|~~~+)")
_ITEM = re.compile(r"\s*(?:[-*+•–▪‣]|\d{1,3}[.)]|\(?[a-z]\))\s+(.*)")
_QUOTE = re.compile(r"\s{0,3}>\s?(.*)")
_FOOTNOTE = re.compile(r"\s{0,3}\[[^\]]{1,60}\]:\s")
_ENDS_SENTENCE = re.compile(r"""[.!?…:;,。！？]["'”’»)\]*_]*\s*$""")

_INLINE = (
    (re.compile(r"!\[[^\]]{0,300}\]\([^)]{0,500}\)"), ""),
    (re.compile(r"\[([^\]]{1,300})\]\((?:[^()\s]|\([^)]{0,100}\)){0,500}(?:\s+\"[^\"]{0,200}\")?\)"), r"\1"),
    (re.compile(r"\s?\[(?:\^[^\]]{1,30}|\d{1,3}(?:[,–-]\s?\d{1,3})*)\](?!\()"), ""),
    (re.compile(r"</?[A-Za-z][^<>]{0,200}>"), ""),
    (re.compile(r"(\*\*|__)(?=\S)(.{1,300}?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]{1,300}?)(?<=[^\s*])\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<!\w)_(?=[^\s_])([^_\n]{1,300}?)(?<=[^\s_])_(?!\w)"), r"\1"),
)
# Markup is only removed from paragraphs of a sane length: the patterns look ahead.
_MAX_MARKUP_CHARS = 8_000
_MAX_HEADING_CHARS = 500


def parse(text: str) -> Document:
    """Parse plain text or Markdown. Never fails; a text without structure becomes one section."""
    text = _without_comments(text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _FRONT_MATTER.sub("", text, count=1)
    reader = _Reader()
    reader.read(text.split("\n"))
    return reader.finish()


class _Reader:
    """Collects lines into blocks and blocks into sections."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str, int]] = []  # level, text, number of blocks before it
        self._blocks: list[_Block] = []
        self._open: _Block | None = None

    def read(self, lines: list[str]) -> None:
        fence = ""
        for number, line in enumerate(lines):
            mark = _FENCE.match(line)
            if fence:
                fence = "" if mark and mark.group(1).startswith(fence) else fence
            elif mark:
                fence = mark.group(1)
                self._open = None
            else:
                self._line(line, lines, number)

    def _line(self, line: str, lines: list[str], number: int) -> None:
        if not line.strip():
            self._open = None
        elif len(line) <= _MAX_HEADING_CHARS and (heading := _ATX.match(line)):
            self._heading(len(heading.group(1)), heading.group(2))
        elif _SETEXT.match(line) and self._underlines(line):
            return
        elif _RULE.match(line) or _is_table(line) or _FOOTNOTE.match(line):
            self._open = None
        elif item := _ITEM.match(line):
            self._start(Kind.ITEM, item.group(1))
        elif quote := _QUOTE.match(line):
            self._continue(Kind.QUOTE, quote.group(1))
        elif self._open is None and _stands_alone(lines, number) and _looks_like_heading(line):
            self._heading(2 if self._blocks or self._headings else 1, line.strip())
        else:
            self._continue(Kind.PROSE, line)

    def _heading(self, level: int, text: str) -> None:
        self._open = None
        self._headings.append((level, _clean(text), len(self._blocks)))

    def _underlines(self, line: str) -> bool:
        """Whether the line underlines a heading of one line, which the open paragraph then is."""
        block = self._open
        if block is None or block.kind is not Kind.PROSE or len(block.lines) != 1:
            return False
        self._blocks.pop()
        self._heading(1 if line.strip().startswith("=") else 2, block.lines[0].strip())
        return True

    def _start(self, kind: Kind, line: str) -> None:
        self._open = _Block(kind, [line])
        self._blocks.append(self._open)

    def _continue(self, kind: Kind, line: str) -> None:
        if self._open is None or (kind is Kind.QUOTE) != (self._open.kind is Kind.QUOTE):
            self._start(kind, line)
        else:
            self._open.lines.append(line)

    def finish(self) -> Document:
        document = Document()
        headings = list(self._headings)
        if headings and headings[0][2] == 0:
            document.title = headings.pop(0)[1]
        level = _section_level([heading for heading, _, _ in headings])
        starts = [(before, text) for heading, text, before in headings if heading <= level]
        document.headings += [text for _, text in starts]
        section = 0
        for number, block in enumerate(self._blocks):
            while section < len(starts) and starts[section][0] <= number:
                section += 1
            _add_sentences(document, block, section, number)
        return document


def _section_level(levels: list[int]) -> int:
    """The heading level that cuts the text into sections: the highest one that occurs more than once."""
    return next((level for level in sorted(set(levels)) if levels.count(level) > 1), 6)


def _add_sentences(document: Document, block: _Block, section: int, number: int) -> None:
    text = _clean("\n".join(block.lines))
    spans = split_sentences(text)
    for place, (start, end) in enumerate(spans):
        sentence = " ".join(text[start:end].split())
        document.sentences.append(Sentence(sentence, section, number, place, len(spans), block.kind))


def _clean(text: str) -> str:
    if len(text) > _MAX_MARKUP_CHARS:
        return text
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text


def _without_comments(text: str) -> str:
    """The text without `<!-- -->`. Not a pattern: on many unclosed comments a pattern takes time quadratic in the length."""
    kept: list[str] = []
    start = 0
    while (opening := text.find("<!--", start)) >= 0:
        closing = text.find("-->", opening + 4)
        if closing < 0:
            break
        kept.append(text[start:opening])
        start = closing + 3
    kept.append(text[start:])
    return "".join(kept)


def _is_table(line: str) -> bool:
    """A table's row, or the rule below its head."""
    row = line.strip()
    return (row.startswith("|") and row.endswith("|")) or ("|" in row and "---" in row and not row.strip("|:- \t"))


def _stands_alone(lines: list[str], number: int) -> bool:
    """Whether blank lines (or the text's edges) surround the line, and something follows."""
    before = number == 0 or not lines[number - 1].strip()
    after = number + 1 < len(lines) and not lines[number + 1].strip()
    return before and after and any(line.strip() for line in lines[number + 1 : number + 4])


def _looks_like_heading(line: str) -> bool:
    """Plain-text headings: short, capitalised, without closing punctuation."""
    words = line[:100].split()
    return len(line) <= 80 and 1 <= len(words) <= 10 and not _ENDS_SENTENCE.search(line) and words[0][0].isupper()
