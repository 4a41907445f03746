"""What a caller asks for in words: "in 3 sentences", "five bullet points", "en 100 mots", and where the text itself begins."""

import re
from dataclasses import dataclass, replace
from enum import StrEnum


class Shape(StrEnum):
    """How the answer is written."""

    PARAGRAPH = "paragraph"
    BULLETS = "bullets"


@dataclass(frozen=True, slots=True)
class Wish:
    """The requested form; None where the caller left it open. `scale` stretches the default length (0.5 short, 2.0 detailed)."""

    shape: Shape | None = None
    count: int | None = None
    words: int | None = None
    scale: float = 1.0


MAX_COUNT = 60
MAX_INSTRUCTION_CHARS = 300

_NUMBERS = {
    1: "one a single ein eine einem einen einer un une uno una",
    2: "two a\u00a0couple zwei deux dos",
    3: "three drei trois tres",
    4: "four vier quatre cuatro",
    5: "five fünf cinq cinco",
    6: "six sechs seis",
    7: "seven sieben sept siete",
    8: "eight acht huit ocho",
    9: "nine neun neuf nueve",
    10: "ten zehn dix diez",
    12: "twelve zwölf douze doce",
    15: "fifteen fünfzehn quinze quince",
    20: "twenty zwanzig vingt veinte",
}
_VALUE = {word: number for number, words in _NUMBERS.items() for word in words.split()}
_NUMBER = r"(\d{1,4}|" + "|".join(sorted(_VALUE, key=len, reverse=True)) + r")"
# Up to three adjectives may stand between the number and the noun: "five short, clear bullet points".
_GAP = r"(?:[ -](?:[\w,]+)){0,4}?[ -]"
_SENTENCES = re.compile(rf"\b{_NUMBER}{_GAP}(?:sentences?|sätzen?|satz|phrases?|frases?|oraciones|oración)\b")
_POINTS = re.compile(
    rf"\b{_NUMBER}{_GAP}(?:bullets?|points?|items|takeaways?|ideas|statements|facts|stichpunkten?|punkten?|aussagen|puntos?|ideas|idées)\b"
)
_WORDS = re.compile(rf"\b{_NUMBER}{_GAP}(?:words?|wörtern?|worten?|mots|palabras)\b")
_BULLETS = re.compile(
    r"\b(?:bullets?|bullet\s?points?|key points|takeaways|stichpunkte|liste à puces|points clés|puntos clave|viñetas)\b"
)
_SHORT = re.compile(
    r"\b(?:brief(?:ly)?|short(?:ly)?|concise(?:ly)?|tl;?dr|kurz|knapp|bref|brève(?:ment)?|court|breve(?:mente)?|corto)\b"
)
_LONG = re.compile(
    r"\b(?:detailed|in detail|thorough(?:ly)?|comprehensive|long|ausführlich|détaillée?|detallado|en detalle)\b"
)

_VERB = (
    r"(?:please\s+|bitte\s+|kindly\s+|(?:can|could|would) you (?:please )?|i (?:want|need) you to )?"
    r"(?:summari[sz]e|tl;?dr|give (?:me|us)\b|write\b|provide\b|produce\b|create\b|extract\b|list\b|name\b|state\b"
    r"|what are the\b|condense|shorten"
    r"|fasse?n?\b|fass(?:en sie)?\b|erstelle?n?\b|schreibe?n?\b|nenne?n?\b|liste?n?\b|gib\b|zusammenfassung"
    r"|résume[rz]?\b|faites?\b|fais\b|donne[rz]?\b|liste[rz]?\b|extrai[st]|extraire"
    r"|resum[ea]n?\b|resumir|haz\b|haga\b|enumer[ae]\b|extrae|extraiga|escrib[ea]\b|dame\b)"
)
_INSTRUCTION = re.compile(rf"\s*(?=({_VERB}))", re.IGNORECASE)
_ABOUT_A_TEXT = re.compile(
    r"summar|tl;?dr|points?\b|takeaway|sentences?\b|bullets?|words\b|text\b|article|document|zusammen|stichpunkt|sätze|punkte|artikel"
    r"|résum|phrases|mots\b|texte|resum|frases|palabras|texto|artículo|puntos",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"\s*(?:text|article|document|artikel|dokument|texte|document|texto|artículo)\s*:\s*\n", re.IGNORECASE
)


def split_instruction(message: str) -> tuple[str, str]:
    """Split a user message into (instruction, text). The instruction is "" unless the message plainly begins with one."""
    if not _INSTRUCTION.match(message):
        return "", message
    head = message[: MAX_INSTRUCTION_CHARS + 1]
    ends = [head.find(mark) for mark in (":\n", ": ", "\n") if head.find(mark) > 0]
    if not ends:
        return "", message
    end = min(ends)
    instruction = message[:end].strip()
    text = message[end + 1 :]
    if not text.strip() or not _ABOUT_A_TEXT.search(instruction):
        return "", message
    label = _LABEL.match(text)
    return instruction, (text[label.end() :] if label else text).lstrip("\n")


def read_wish(*instructions: str) -> Wish:
    """The form that the instructions ask for; a later one overrides an earlier one where it says something."""
    wish = Wish()
    for instruction in instructions:
        text = " ".join(instruction[:4_000].lower().split())
        sentences, points, words = (_number(pattern, text) for pattern in (_SENTENCES, _POINTS, _WORDS))
        if sentences is not None:
            wish = replace(wish, shape=Shape.PARAGRAPH, count=min(sentences, MAX_COUNT))
        if points is not None:
            wish = replace(wish, shape=Shape.BULLETS, count=min(points, MAX_COUNT))
        elif _BULLETS.search(text):
            wish = replace(wish, shape=Shape.BULLETS)
        if words is not None:
            wish = replace(wish, words=words)
        if _SHORT.search(text):
            wish = replace(wish, scale=0.5)
        elif _LONG.search(text):
            wish = replace(wish, scale=2.0)
    return wish


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    if match is None:
        return None
    value = _VALUE.get(match.group(1)) or int(match.group(1)) if match.group(1).isdigit() else _VALUE[match.group(1)]
    return value if value > 0 else None
