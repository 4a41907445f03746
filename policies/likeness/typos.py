"""Whether two words are one, mistyped: a letter doubled, left out, or exchanged with its neighbour.

A letter for another is not taken for a slip: too many words differ by one. Neither is anything at the ends of a word, where the
meaning changes (Korea, Korean; emigrate, immigrate).
"""

from typing import Final

_SHORTEST: Final = 6
# Among shorter words a letter more or less too often makes another one, unless it is a doubled one.
_LONG: Final = 8

# Words that are told from each other by no more than that.
_TWO_WORDS: Final = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        "desert/dessert casual/causal statue/statute county/country though/through thought/through martial/marital "
        "united/untied sacred/scared silver/sliver contact/contract manger/manager brother/bother friend/fiend driving/diving "
        "filing/filling stating/starting staring/starring planed/planned striped/stripped hoping/hopping tapping/taping "
        "scraped/scrapped dinner/diner latter/later marriage/mirage cloths/clothes lightning/lightening carving/craving "
        "carved/craved trailing/trialing bound/bond counter/courter parting/parting thorough/through quite/quiet sauce/source "
        "hearing/haring boarder/border boarding/bording massage/message planning/planing winning/wining dinning/dining "
        "barring/baring furry/fury curie/currie contacts/contracts montrer/monter montrez/montez "
        "laden/landen reisen/rissen bieten/beiten wieder/wider lieder/leider fliegen/fleigen leihen/liehen reifen/riefen "
        "weise/wiese schreien/schrien schreiben/schrieben bleiben/blieben steigen/stiegen treiben/trieben scheinen/schienen "
        "leiden/lieden meiden/mieden reiben/rieben rechnung/reichung stadt/staat schaffen/schafen offen/ofen kamm/kam "
        "weisen/wiesen verleihen/verliehen vermeiden/vermieden entscheiden/entschieden beschreiben/beschrieben "
        "unterschreiben/unterschrieben kasse/klasse "
        "cuarto/curato perdido/pedido carrera/carretera causal/casual cerrado/cerado perro/pero carro/caro ahorra/ahora "
        "poisson/poison dessert/desert coussin/cousin chaussure/chasure parents/parent"
    ).split()
)


def is_typo(one: str, other: str) -> bool:
    """Tell whether one of two different words is the other one mistyped."""
    if min(len(one), len(other)) < _SHORTEST:
        return False
    if one[0] != other[0] or one[-1] != other[-1] or frozenset((one, other)) in _TWO_WORDS:
        return False
    if not one.isalpha() or not other.isalpha():
        return False
    start = next((place for place, (here, there) in enumerate(zip(one, other, strict=False)) if here != there), 0)
    if len(one) == len(other):
        swapped = one[start + 1 : start + 2] + one[start : start + 1]
        return start > 0 and other[start : start + 2] == swapped and one[start + 2 :] == other[start + 2 :]
    short, long = sorted((one, other), key=len)
    if start == 0 or len(long) != len(short) + 1 or short[start:] != long[start + 1 :]:
        return False
    left_out, before = long[start], long[start - 1]
    # An umlaut makes another word: drucken, druecken.
    return left_out == before or (len(long) >= _LONG and not (left_out == "e" and before in "aou"))
