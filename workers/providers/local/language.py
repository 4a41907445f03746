"""What the extractive models know about languages: function words, and openers that lean on an earlier sentence."""

import re
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _phrases(phrases: str) -> tuple[str, ...]:
    return tuple(phrases.split("|"))


@dataclass(frozen=True, slots=True)
class Language:
    """Word lists of one language, all in lower case.

    `pronouns` refer back when they open a sentence. `connectives` (phrases, longest first when matched) join a sentence to the
    one before. `enumerators` count on from something earlier ("the second …", "another …"). `determiners`
    suggest the same near the beginning, `demonstratives` anywhere.
    `pointers` refer to other places of the text; `cues` announce a result or a cause.
    """

    code: str
    stopwords: frozenset[str]
    pronouns: frozenset[str]
    determiners: frozenset[str]
    demonstratives: frozenset[str]
    connectives: tuple[str, ...]
    enumerators: tuple[str, ...]
    pointers: tuple[str, ...]
    cues: tuple[str, ...]


ENGLISH = Language(
    code="en",
    stopwords=_set(
        "a about above after again against all also although always am an and another any are around as at be because been"
        " before being below between both but by can cannot could did do does doing don't down during each either else even"
        " ever every few for from further get gets got had has have having he her here hers herself him himself his how"
        " however i if in into is isn't it it's its itself just least less let like made make makes many may me might more"
        " most much must my myself neither never no nor not now of off often on once one only or other others our ours out"
        " over own per rather really same she should since so some still such take than that the their theirs them then"
        " there these they thing things this those though through thus to too two under until up upon us use used uses using"
        " very was way we well were what when where whether which while who whole whom whose why will with within without"
        " would yet you your yours"
    ),
    pronouns=_set(
        "it its it's he she they them their his her him hers theirs this these those that that's such one ones both neither"
        " none all some many most few others here there then so thus hence either each same"
    ),
    determiners=_set("it they them he she his her their"),
    demonstratives=_set("this these those such"),
    connectives=_phrases(
        "however|but|and|or|yet|so|still|nor|thus|hence|therefore|consequently|accordingly|moreover|furthermore|"
        "besides|likewise|similarly|meanwhile|nevertheless|nonetheless|instead|otherwise|conversely|by contrast|"
        "in contrast|on the other hand|on the one hand|in addition|additionally|also|as a result|"
        "as a consequence|for example|for instance|in fact|indeed|of course|in other words|that is|that said|"
        "even so|even then|after that|before that|at the same time|at that point|in that case|in this case|"
        "for this reason|for that reason|to that end|because of this|because of that|in particular|finally|first|"
        "firstly|second|secondly|third|thirdly|fourth|lastly|next|then|later|afterwards|eventually|overall|"
        "in short|in summary|to sum up|in conclusion|again|too|rather|unfortunately|fortunately|by then|"
        "since then|until then|worse|better still|put differently|more importantly|most importantly|sometimes|"
        "elsewhere|not so|and yet|and so|but then"
    ),
    enumerators=_phrases(
        "the second|the third|the fourth|the other|the others|the former|the latter|the first of|another|"
        "a second|a third|a fourth|a further|the next|the last of|the rest|one of them|none of|all of|both of|"
        "the two|the three|the same|the result|the answer|the reason|the opposite|the difference|the trick|"
        "the catch|the exception|the problem|the question|neither|the point|the idea|the remaining|the more|"
        "the comparison|the method|the remedy|the rule|the benefit|the price|the formula|the decision|the choice|"
        "the effect"
    ),
    pointers=_phrases("above|below|following|as shown|see |this section|this article|this guide|figure|table"),
    cues=_phrases(
        "in summary|in short|overall|root cause|we found|the main|most important|the key|essential|crucial|"
        "significant|concluded|conclusion|the lesson|matters|because|means that|caused|led to|result|showed|"
        "shows that|the goal|the purpose"
    ),
)

GERMAN = Language(
    code="de",
    stopwords=_set(
        "aber alle allem allen aller alles als also am an andere anderen anderer anderes auch auf aus bei beim bereits bin bis"
        " bist da dabei dadurch dafür dagegen daher damit danach dann daran darauf daraus darin darum das dass davon dazu dem den"
        " denen denn der deren des dessen deshalb die dies diese diesem diesen dieser dieses doch dort du durch ein eine"
        " einem einen einer eines einige er erst es etwa etwas euch fast für gegen gibt hat hatte hatten haben hier hin"
        " hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer in indem ins ist ja jede jedem jeden jeder jedes jedoch"
        " jetzt kann kein keine keinem keinen keiner können könnte man manche mehr mein mich mir mit muss müssen nach nicht"
        " nichts noch nun nur ob oder ohne sehr sein seine seinem seinen seiner seit selbst sich sie sind so sogar solche"
        " soll sollte sondern sonst über um und uns unser unter vom von vor war waren wäre was wegen weil weiter welche wenn"
        " wer werden wie wieder wir wird wo wurde wurden während zu zum zur zwar zwei zwischen"
    ),
    pronouns=_set(
        "er sie es ihm ihn ihnen ihr ihre ihren ihrer sein seine dies diese dieser dieses diesem diesen jene jener solche"
        " solcher das dem denen deren dessen beide beides alle manche viele einige andere dort hier da dann so daran darauf"
        " darin daraus davon dazu damit dabei dadurch dafür dagegen daher darum deshalb deswegen danach davor"
    ),
    determiners=_set("er sie es ihm ihn ihnen ihre ihr sein seine"),
    demonstratives=_set("dies diese dieser dieses diesem diesen jene jener jenen solche solcher"),
    connectives=_phrases(
        "aber|doch|und|oder|denn|jedoch|dennoch|trotzdem|allerdings|deshalb|daher|darum|deswegen|folglich|somit|"
        "also|außerdem|zudem|darüber hinaus|ferner|überdies|hingegen|dagegen|andererseits|einerseits|"
        "im gegensatz dazu|stattdessen|zum beispiel|beispielsweise|etwa|in der tat|tatsächlich|das heißt|"
        "mit anderen worten|erstens|zweitens|drittens|schließlich|zuletzt|zunächst|dann|danach|später|inzwischen|"
        "gleichzeitig|insgesamt|kurz gesagt|zusammenfassend|auch|ebenso|sogar|nun|so|hinzu kommt|leider"
    ),
    enumerators=_phrases(
        "der zweite|die zweite|das zweite|der dritte|die dritte|der andere|die andere|die anderen|ein weiterer|"
        "eine weitere|ein weiteres|der nächste|letztere|letzterer|erstere|beide|keiner von"
    ),
    pointers=_phrases("oben|unten|folgende|siehe |dieser abschnitt|dieser artikel|abbildung|tabelle"),
    cues=_phrases(
        "zusammenfassend|insgesamt|entscheidend|wichtig|wesentlich|ursache|ergebnis|bedeutet|führt zu|zeigt|"
        "zeigte|ziel|weil|vor allem"
    ),
)

FRENCH = Language(
    code="fr",
    stopwords=_set(
        "à afin ainsi alors après au aucun aussi autre autres aux avant avec avoir bien car ce ceci cela celle celles celui"
        " ces cet cette ceux chaque chez comme comment dans de depuis des deux dont du elle elles en encore entre est et été"
        " être eu fait faire fois font il ils je jusqu la là le les leur leurs lors lorsque lui mais même mêmes moins mon ne"
        " ni non nos notre nous on ont ou où par parce pas pendant peu peut peuvent plus plusieurs pour pourquoi puis quand"
        " que quel quelle quelles quels qui quoi sa sans se selon sera ses si son sont sous sur ta te tous tout toute toutes"
        " très trop tu un une vers vos votre vous y était étaient"
    ),
    pronouns=_set(
        "il ils elle elles ce ceci cela ça c'est celui celle ceux celles ces cet cette lui leur leurs son sa ses tous toutes"
        " certains d'autres ici là ainsi alors en y"
    ),
    determiners=_set("il ils elle elles leur leurs son sa ses"),
    demonstratives=_set("cet cette ces cela celui celle ceux"),
    connectives=_phrases(
        "mais|et|ou|or|donc|car|cependant|toutefois|pourtant|néanmoins|ainsi|alors|par conséquent|en conséquence|"
        "de plus|en outre|par ailleurs|d'ailleurs|en revanche|au contraire|à l'inverse|par exemple|en effet|"
        "en fait|c'est pourquoi|autrement dit|d'abord|ensuite|enfin|puis|finalement|premièrement|deuxièmement|"
        "troisièmement|d'une part|d'autre part|en résumé|bref|en somme|de même|aussi|pour cette raison|"
        "dans ce cas|malheureusement"
    ),
    enumerators=_phrases(
        "le deuxième|la deuxième|le second|la seconde|le troisième|la troisième|l'autre|les autres|un autre|"
        "une autre|ce dernier|cette dernière|les deux|aucun de"
    ),
    pointers=_phrases("ci-dessus|ci-dessous|suivant|voir |cette section|cet article|figure|tableau"),
    cues=_phrases(
        "en résumé|principal|essentiel|important|cause|résultat|parce que|signifie|montre|objectif|surtout|"
        "en conclusion"
    ),
)

SPANISH = Language(
    code="es",
    stopwords=_set(
        "a al algo algunas algunos ante antes aquel aquella así aun aunque bien cada casi como con contra cual cuando de del"
        " desde donde dos durante e el él ella ellas ellos en entre era eran es esa esas ese eso esos esta está están estas"
        " este esto estos fue fueron ha han hasta hay la las le les lo los más me menos mientras mi mismo mucho muchos muy"
        " nada ni no nos nosotros nuestra nuestro o otra otras otro otros para pero poco por porque pues que qué quien se"
        " sea ser si sí sido sin sobre solo son su sus también tan tanto te tiene tienen toda todas todo todos tras tu un"
        " una uno unos y ya yo"
    ),
    pronouns=_set(
        "él ella ellos ellas ello esto eso aquello este esta estos estas ese esa esos esas aquel aquella su sus le les lo ambos"
        " ambas ninguno todos todas algunos muchos otros aquí allí así entonces"
    ),
    determiners=_set("ellos ellas él ella su sus"),
    demonstratives=_set("este esta estos estas ese esa esos esas esto eso aquel aquella"),
    connectives=_phrases(
        "pero|y|o|sin embargo|no obstante|aun así|por lo tanto|por tanto|por eso|por ello|así que|así|además|"
        "asimismo|también|en cambio|por el contrario|por otro lado|por otra parte|por un lado|por ejemplo|"
        "de hecho|en efecto|es decir|en otras palabras|primero|segundo|tercero|luego|después|finalmente|"
        "por último|entonces|mientras tanto|en resumen|en suma|en definitiva|pues|por esta razón|en este caso|"
        "como resultado|en consecuencia"
    ),
    enumerators=_phrases(
        "el segundo|la segunda|el tercero|la tercera|el otro|la otra|los otros|los demás|otro|otra|este último|"
        "esta última|los dos|ambos|ninguno de"
    ),
    pointers=_phrases("arriba|abajo|siguiente|véase|esta sección|este artículo|figura|tabla"),
    cues=_phrases(
        "en resumen|principal|esencial|importante|causa|resultado|porque|significa|muestra|objetivo|sobre todo|"
        "en conclusión"
    ),
)

LANGUAGES = (ENGLISH, GERMAN, FRENCH, SPANISH)

# How much of a text is read to tell its language.
_SAMPLE_CHARS = 6_000


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without digits and punctuation."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def detect(text: str) -> Language:
    """The language whose function words are the most frequent; English when nothing speaks for another."""
    words = words_of(text[:_SAMPLE_CHARS])
    return max(LANGUAGES, key=lambda language: sum(word in language.stopwords for word in words))
