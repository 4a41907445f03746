"""Words of which only a capital tells what they mean."""

from collections.abc import Mapping
from typing import Final

_ENGLISH: Final = frozenset(
    "polish turkey china nice reading bath cologne lima jersey chad jordan apple windows shell gap orange square stripe meta "
    "jaguar puma beetle polo mercury rose frank sue pat dean ray penny grace faith joy dawn amber ruby jade olive iris violet "
    "lily daisy heather baker smith hunter fisher mason bush catholic teams edge".split()
)

#: By language; of a text whose language is not known as in English. They are names with a capital and say something else without
#: one, and in German you with it and they without. Not those that hardly anybody asks for as a word: whoever writes "python"
#: means the language.
TOLD_BY_CAPITAL: Final[Mapping[str, frozenset[str]]] = {
    "en": _ENGLISH,
    "": _ENGLISH,
    "de": frozenset("sie ihnen ihr ihre ihrem ihren ihrer ihres".split()),
}
