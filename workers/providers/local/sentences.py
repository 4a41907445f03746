"""Sentence boundaries in running text of English, German, French and Spanish."""

import re

# Abbreviations after which a sentence practically never ends.
_NEVER_LAST = frozenset(
    "dr mr mrs ms prof st sr sra sres mme mlle vs cf e.g i.e eg eds al resp ca gen col sgt capt rev hon gov sen rep z.b u.a"
    " d.h bzw vgl evtl ggf inkl zzgl s.o s.u sog o.ä v.a p.ex env p.ej hr fr dipl ing geb gest jan feb apr jun jul aug sep"
    " sept oct nov dec okt dez hrsg mio mrd v.chr n.chr i.d.r m.e".split()
)
# Words that are abbreviations only before a number: "vol. 3", but "after a theft (un vol). Then".
_BEFORE_NUMBER = frozenset(
    "no nr vol art fig figs eq ed min max p pp pg pág págs núm tab abb kap cap chap bd sec para jh str tel".split()
)
# Abbreviations that may also close a sentence: only a following function word in capitals proves that one did.
_SOMETIMES_LAST = frozenset("etc usw inc ltd corp co jr a.m p.m u.s u.k e.u u.s.a gmbh dgl uvm ff bros".split())
_STARTERS = frozenset(
    "the a an this these those it its he she they we you i in on at for from but and so however when while if as after"
    " by there der die das ein eine es er sie wir im in am bei aber und doch wenn als le la les un une il elle ils elles"
    " ce cette dans en pour mais el los las una uno en para pero cuando si".split()
)
_GERMAN_DATED = frozenset(
    "januar jänner februar märz april mai juni juli august september oktober november dezember jahrhundert jahrhunderts"
    " jahrhunderte jahrtausend klasse stock etage auflage tag woche platz weltkrieg weltkriegs".split()
)

# Possessive, and anchored by the look-behind: linear also on a text that consists of full stops.
_BOUNDARY = re.compile(r"""(?:(?<![.!?…])[.!?…]++["'“”’»›)\]*_]*+(?=\s)|[。！？]++[」』”]*+)""")
_LAST_TOKEN = re.compile(r"[^\s(\[\"'“”„«»‘]+$")
_FIRST_TOKEN = re.compile(r"""\s*["'“„«»‹‘(\[¿¡*_`]*([^\s.,;:!?)\]"”’]+)""")

# Longer "sentences" are logs, tables or word lists: they are cut so that no step has to take one whole.
MAX_SENTENCE_CHARS = 900


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences, in order. Only whitespace lies outside the spans, so nothing is lost."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if _is_boundary(text, start, match.start(), match.end()):
            _append(text, start, match.end(), spans)
            start = match.end()
    _append(text, start, len(text), spans)
    return spans


def _append(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    """Add text[start:end] without the whitespace around it, in pieces if it is too long."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end - start > MAX_SENTENCE_CHARS:
        cut = max(text.rfind(mark, start + 1, start + MAX_SENTENCE_CHARS) for mark in ("\n", "; ", " "))
        cut = start + MAX_SENTENCE_CHARS if cut <= start else cut + 1
        _append(text, start, cut, spans)
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if end > start:
        spans.append((start, end))


def _is_boundary(text: str, start: int, mark: int, end: int) -> bool:
    """Whether the punctuation text[mark:end] ends the sentence that began at `start`."""
    if text[mark] in "。！？":
        return True
    following = _FIRST_TOKEN.match(text, end)
    if following is None:
        return True
    word = following.group(1)
    if word[0].islower():
        return False
    if text[mark] != "." or text[mark : mark + 2] == "..":
        return True
    before = _LAST_TOKEN.search(text, max(start, mark - 40), mark)
    if before is None:
        return True
    return not _is_abbreviation(before.group(), word)


def _is_abbreviation(token: str, following: str) -> bool:
    """Whether the full stop after `token` belongs to the token and not to the sentence."""
    lowered = token.lower().strip("*_")
    if lowered in _NEVER_LAST:
        return True
    if lowered in _BEFORE_NUMBER:
        return following[0].isdigit()
    if lowered in _SOMETIMES_LAST:
        return following.lower() not in _STARTERS or following.islower()
    if len(lowered) == 1 and lowered.isalpha() and token.isupper():
        return lowered != "i"  # an initial: "J. Smith"
    if re.fullmatch(r"(?:\w\.)+\w", lowered):
        return following.lower() not in _STARTERS
    return lowered.isdigit() and len(lowered) <= 2 and following.lower() in _GERMAN_DATED
