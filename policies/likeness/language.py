"""In which language a text is, by its small words."""

import re
from functools import lru_cache
from typing import Final

from policies.likeness.words.english import ENGLISH
from policies.likeness.words.french import FRENCH
from policies.likeness.words.german import GERMAN
from policies.likeness.words.spanish import SPANISH

LEXICONS: Final = {lexicon.language: lexicon for lexicon in (ENGLISH, GERMAN, SPANISH, FRENCH)}

# Languages that nobody here can read, but that would be taken for a neighbour: they have to be told from it.
_OTHERS: Final = {
    "it": "il lo gli che di e è della nel sono mio mia dove quando perché qual quale non come posso voglio un una per con",
    "pt": "o os a as do da em no na não é meu minha onde quando porque qual como posso quero um uma para com você",
    "nl": "de het een en is van mijn waar wanneer wie waarom hoe kan ik wil niet geen wat met voor op",
    "pl": "w na nie się jest jak co gdzie kiedy mój moje chcę czy do z i",
}
_HINTS: Final = (("es", "¿¡ñ"), ("de", "ßüäö"), ("fr", "œùêèç"), ("pt", "ãõ"), ("pl", "łąęśż"))

_WORD = re.compile(r"[^\W\d_]+")
_LATIN = re.compile("[a-z\u00c0-\u024f]")


@lru_cache(maxsize=512)
def language_of(text: str) -> str:
    """Return the language of a text: one of `LEXICONS`, one that only has a name here, or "" when nothing tells it."""
    low = text.lower()
    words = [word.replace("’", "'") for word in _WORD.findall(low)]
    if words and not _LATIN.search(low):
        return "??"
    known = set(words)
    scores = {code: float(len(known & lexicon.signs)) for code, lexicon in LEXICONS.items()}
    for code, signs in _OTHERS.items():
        # A neighbour shares many small words; only where it has more of its own is it the language.
        scores[code] = len(known.intersection(signs.split())) - 0.5
    for code, signs_of in _HINTS:
        scores[code] += sum(sign in low for sign in signs_of)
    best = max(scores, key=lambda code: scores[code])
    return best if scores[best] > 0 and list(scores.values()).count(scores[best]) == 1 else ""
