"""What is taken out of a text before its words are looked at: code and quotations. They are compared sign by sign."""

import re
from dataclasses import dataclass
from typing import Final

#: The first of the signs that stand for what was taken out; private to us, so a text's own are removed.
PLACE: Final = 0xE000
_PRIVATE = re.compile("[\ue000-\uf8ff]")
_MOST: Final = 0xF8FF - PLACE

_FENCED = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*+`", re.DOTALL)
_QUOTED = re.compile('"([^"\n]*+)"|“([^“”\n]*+)”|„([^“”„\n]*+)[“”"]|«([^«»\n]*+)»|»([^«»\n]*+)«|‹([^‹›\n]*+)›')
_CHUNK = re.compile(r"\S+")
_EDGES: Final = ".,;:!?\"'’‘“”„«»¿¡…"
_CODE = re.compile(r"[_=<>{}\[\]\\|@#$^&*+~/]|\(\w*\)|::|[^\W\d]\.[^\W\d]|^--?\w")
_OPERATOR = re.compile(r"[=<>+*/^%|~]+")
_PLAIN_AMOUNT = re.compile(r"[$€£¥]?\d[\d.,:/-]*[$€£¥%]?")
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]?")


@dataclass(frozen=True, slots=True)
class Taken:
    """A text in whose place of code and quotations stand single private signs; the n-th stands for the n-th of `pieces`."""

    text: str
    pieces: tuple[tuple[str, str], ...]

    def of(self, kind: str) -> tuple[str, ...]:
        """All pieces that are `code` or `quotation`, sorted."""
        return tuple(sorted(piece for each, piece in self.pieces if each == kind))


def take_out(text: str) -> Taken:
    """Take code and quotations out of a text."""
    pieces: list[tuple[str, str]] = []

    def place(kind: str, piece: str) -> str:
        pieces.append((kind, piece))
        # Beyond some thousands they share a sign: they are compared all the same, only their order is not.
        return f" {chr(PLACE + min(len(pieces) - 1, _MOST))} "

    def quoted(match: re.Match[str]) -> str:
        inner = next(group for group in match.groups() if group is not None)
        return place("quotation", " ".join(inner.casefold().split()).strip(_EDGES + " "))

    def chunk(match: re.Match[str]) -> str:
        found = match[0]
        core = found.strip(_EDGES)
        if not _is_code(core):
            return found
        after = found[-1] if found[-1] in ".,;:!?" else ""
        return place("code", core) + after

    left = _PRIVATE.sub("", text)
    left = _FENCED.sub(lambda match: place("code", match[0].strip("`").strip()), left)
    left = _QUOTED.sub(quoted, left)
    return Taken(_CHUNK.sub(chunk, left), tuple(pieces))


def _is_code(core: str) -> bool:
    if not core or _PLAIN_AMOUNT.fullmatch(core) or _ABBREVIATION.fullmatch(core):
        return False
    return _CODE.search(core) is not None or _OPERATOR.fullmatch(core) is not None
