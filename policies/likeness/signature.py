"""A short name for what a text says, by which texts that may share an answer are found without any vector. Pure."""

import hashlib
import re
from typing import Final

from policies.likeness.language import LEXICONS, language_of
from policies.likeness.reading import read, taken

_LENGTH: Final = 16
# What no sign tells the language of is most often English.
_USUAL: Final = "en"
_WORDS = re.compile("[^\\W_]+|[\ue000-\uf8ff]")


def signature(text: str, salt: bytes = b"") -> bytes:
    """Return 16 bytes that are the same for texts with the same words, as the guard counts them.

    Two texts between which the guard finds no difference have the same signature, unless a word is misspelled in one of them or
    nothing in one of them tells its language. The other way round it promises nothing: order, roles and negations do not count.

    Args:
        text: a question.
        salt: texts with different ones have nothing in common.
    """
    hasher = hashlib.blake2b(digest_size=_LENGTH)
    for part in (salt, *(part.encode("utf-8", "surrogatepass") for part in _parts(text))):
        hasher.update(len(part).to_bytes(4, "big") + part)
    return hasher.digest()


def _parts(text: str) -> list[str]:
    language = language_of(text) or _USUAL
    if language in LEXICONS:
        words = sorted(word.name for word in read(text, language).words)
        if words:
            return [language, *words]
    out = taken(text)
    return [*_WORDS.findall(out.text.casefold()), *(f"{kind} {name}" for kind, name in out.pieces)]
