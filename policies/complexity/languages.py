"""Whether a prompt is in a language that the classifier has learned. Of others it sees little more than their length."""

import re
from collections.abc import Sequence
from typing import Final

_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_FEW_LETTERS: Final = 2
_FEW_WORDS: Final = 6
_USUAL_SHARE: Final = 0.12
_READABLE_SHARE: Final = 0.6

_COMMON: Final = frozenset(
    """
    the a an of to in is it and that for on with as at by from be are was this what how why who which when where do
    does did can could would should my your our their his her its i you we they not if or but so there no one two
    all please write make give find show tell explain der die das den dem des ein eine einen einem einer und ist im
    zu von mit auf für aus bei nach wie wer wo wann warum ich du wir ihr sie er es nicht auch dass mir mich mein
    meine unser bitte hat haben sind wird kann schreib wenn oder als am el la los las un una unos y en que con por
    para del al se su sus mi tu nuestro cómo qué quién cuál dónde cuándo me te si o lo más haz dame hay son está ser
    le les une et est qui pour dans avec sur au aux ce cette ces il elle je nous vous ne pas ou par mon ma mes notre
    sa ses comment quel quelle quels quelles combien où quand fais
    """.split()
)


def doubt(task: str, words: Sequence[str]) -> tuple[str, bool] | None:
    """Why the prompt can hardly be judged, and whether that is for good; None when its language is known.

    A script without a Latin letter can't be read at all; another language in Latin letters is read in part.
    """
    letters = len(_LETTER.findall(task))
    if letters > _FEW_LETTERS and len(_LATIN.findall(task)) < _READABLE_SHARE * letters:
        return "it is in a script that can't be judged", True
    known = sum(word in _COMMON for word in words)
    if len(words) >= _FEW_WORDS and known < _USUAL_SHARE * len(words):
        return "its language is not one of those that were learned", False
    return None
