"""German. Words are folded: ä is ae, ß is ss."""

import re
from typing import Final

from policies.likeness.words import Lexicon, opposed, rules, table

_ENDING = re.compile(r"(?:en|er|em|es|et|st|e|n|s|t)$")
_IRREGULAR: Final = table(
    """
    kind kinder kindern kindes
    haus haeuser haeusern
    buch buecher buechern
    land laender laendern
    faengt fangen faengst
    laeuft laufen
    faehrt fahren
    gibt geben
    """
)


def stem(word: str) -> str:
    """Take one ending off: storniere, stornieren and storniert are one."""
    word = _IRREGULAR.get(word, word)
    cut = _ENDING.sub("", word)
    return cut if len(cut) >= 4 or (len(cut) == 3 and len(word) >= 5) else word


_ASKS: Final = r"(?:ich|man|wir)"
_START: Final = r"(?:^|(?<=[.!?;:,]))[ ]?"
_WANT: Final = r"(?:moechten?|will|wollen|wollte|wuerden? gerne?|wuerde|haette gerne?|brauche hilfe)"

_PHRASES: Final = rules(
    (r"^(?:hallo|hi|hey|moin|servus|guten (?:tag|morgen|abend)|gruezi)(?: (?:zusammen|liebes team))?(?=[ ,.!])", ""),
    (r"\b(?:vielen dank|danke(?: schoen| sehr| im voraus)?|bitte|mal|eigentlich|denn|wohl|eben|einfach|gerade)\b", ""),
    # Ways to ask to be told.
    (
        (r"\b(?:koennen|koennten|koenntest|kannst|wuerden|wuerdest) (?:sie|du|ihr)(?: (?:mir|uns))? "
        r"(?:sagen|erklaeren|verraten|zeigen|nennen)[ ,]*+ob\b"),
        "_yn_",
    ),
    (
        (r"\b(?:koennen|koennten|koenntest|kannst|wuerden|wuerdest) (?:sie|du|ihr)(?: (?:mir|uns))?"
        r"(?: (?:sagen|erklaeren|verraten|zeigen|nennen|helfen))?\b"),
        "",
    ),
    (
        (rf"\b(?:ich {_WANT} wissen|weisst du|wissen sie|mich wuerde interessieren|ich frage mich|sag(?:e|en sie)? mir)"
        r"[ ,]*+ob\b"),
        "_yn_",
    ),
    (rf"\b(?:ich {_WANT} wissen|weisst du|wissen sie|mich wuerde interessieren|ich frage mich)\b", ""),
    (r"\b(?:sag|nenn|erklaer|zeig)(?:e|en sie)? (?:mir|uns)\b|\bnenne\b|\berklaere\b", ""),
    # How.
    (rf"\bwie (?:kann|koennen|koennte|soll|muss|darf) {_ASKS}\b", "_how_ _me_"),
    (rf"\bwie (?:{_ASKS})\b", "_how_ _me_"),
    (rf"\bwie (\w++) {_ASKS}\b", r"_how_ _me_ \1"),
    (r"\bwas (?:muss|soll|kann) ich (?:tun|machen)[ ,]*+um\b", "_how_ _me_"),
    (rf"\b(?:ich|wir) {_WANT}\b", "_how_ _me_"),
    (r"\b(?:helfen sie (?:mir|uns)|hilf (?:mir|uns)|hilfe)(?: bei| mit)?\b", "_how_ _me_"),
    (r"\bwas (?:soll|kann|muss) (?:ich|man) (?:tun|machen)\b|\bwas tun\b", "_todo_ _me_"),
    # How much, and what is told by a noun as well.
    (r"\bwie hoch (?:ist|sind) (?:der|die) (?:preis|kosten)\b|\bwas kostet\b|\bwie ?viel kostet\b|\bwas kosten\b", "_price_"),
    (r"\bwie teuer (?:ist|sind)\b|\bwie ?viel kosten\b|\b(?:preise?|kostet|kosten)\b", "_price_"),
    (r"\bfaengt (\w+ \w+|\w+ \w+ \w+) an\b", r"beginnt \1"),
    (r"\bwie ?viele\b", "_howmany_"),
    (r"\bum wie ?viel uhr\b|\bzu welcher (?:zeit|uhrzeit)\b|\bwann\b", "_when_"),
    (r"\bwie ?viel\b", "_howmuch_"),
    (r"\bwie lange?\b", "_howlong_"),
    (r"\bwie oft\b|\bwie haeufig\b", "_howoften_"),
    (r"\bwie weit\b", "entfernung"),
    (r"\bwie hoch\b", "hoehe"),
    (r"\bwie gross\b", "groesse"),
    (r"\bwie alt\b", "alter"),
    (r"\bwie (?:lautet|lauten|heisst|ist|sind)(?= (?:der|die|das|mein|meine|ihre?|eure?|deine?|seine?)\b)", ""),
    (r"\b(?:warum|weshalb|wieso|aus welchem grund)\b", "_why_"),
    (r"\bwie\b", "_how_"),
    (r"\bwohin\b", "_whereto_"),
    (r"\bwoher\b", "_wherefrom_"),
    (r"\bwo (?:befinde[nt]|liegt) sich\b|\bwo\b", "_where_"),
    (r"\bwessen\b", "_whose_"),
    (r"\bwen\b|\bwem\b", "_whom_"),
    (r"\bwer\b", "_who_"),
    # May I, shall I, must I.
    (_START + rf"(?:kann|darf|koennte|duerfte|koennen|duerfen) {_ASKS}\b", "_can_ _me_"),
    (_START + r"(?:kann|darf|koennen|duerfen)\b", "_can_"),
    (_START + rf"(?:soll|sollte|sollten|sollen) {_ASKS}\b", "_should_ _me_"),
    (_START + rf"(?:muss|muessen) {_ASKS}\b", "_must_ _me_"),
    (r"\b(?:war|waren|wurde|wurden|hatte|hatten)\b", "_past_"),
    # Phrases that are words.
    (r"\b(?:das|des) (?:wort|wortes|begriff|begriffs) (?=[\ue000-\uf8ff])", ""),
    (r"\be ?-? ?mail ?-? ?adresse\b|\bmailadresse\b", "email adresse"),
    (r"\b(?:gutschein|rabatt)codes?\b", "gutscheincode"),
    (r"\b(?:log|logge|einloggen|logg) (?:ich )?(?:mich )?ein\b|\beinloggen\b", "melde mich an"),
    (r"\b(?:innenstadt|stadtzentrum)\b", "zentrum"),
    (r"\bkunden ?(?:dienst|service|support)\b", "kundendienst"),
    (r"\bpro(?= (?:tag|woche|monat|jahr|stunde)\b)|\bjede[nrs]?(?= (?:tag|woche|monat|jahr|stunde)\b)", "pro"),
    (r"\bmindestens\b", "atleast"),
    (r"\bhoechstens\b", "atmost"),
)  # fmt: skip

GERMAN: Final = Lexicon(
    language="de",
    signs=frozenset(
        "der die das den dem des ein eine einen einem einer und ist sind ich mein meine meinen meinem meiner wie wo "
        "wann wer warum welche welcher welches nicht kein keine bitte mit fuer von zu zum zur im am auf nach bei kann "
        "koennen muss haben hat habe wird werden sie es man mir mich vom über unter ohne wenn dass oder aber auch "
        "noch gibt darf soll wurde bis vor seit aus sich ins beim dein deine unser ihre für können müssen heute alle "
        "was bedeutet macht".split()
    ),
    phrases=_PHRASES,
    empty=frozenset(
        "der die das den dem des ein eine einen einem einer eines ich mich mir wir uns du dich dir sie ihnen es man "
        "sich ist sind bin seid sein bei wird werden hat haben habe habt was welche welcher welches welchen welchem "
        "dass ob wenn und kann koennen koennte muss muessen soll sollen darf duerfen um so dann da doch auch hier "
        "gibt es sehr ganz wirklich dies diese dieser dieses diesen diesem deren dessen also tun machen".split()
    )
    - {"hier"},
    negations=table(
        """
        nicht kein keine keinen keinem keiner keines nein | nie niemals nimmer | ohne | niemand | nichts | weder
        """
    ),
    quantities=table(
        """
        alle allen alles aller | manche manchen einige einigen | viel viele vielen | wenig wenige wenigen | mehr
        weniger | meisten meiste | beide beiden | nur | sogar | immer | manchmal | oft haeufig | selten | atleast
        atmost | halb halbe | doppelt doppelte | schon bereits | noch | wieder | genug | oder | ausser
        jede jeder jedes jeden | pro
        """
    ),
    numbers=table(
        """
        0 null | 1 eins | 2 zwei | 3 drei | 4 vier | 5 fuenf | 6 sechs | 7 sieben | 8 acht | 9 neun | 10 zehn
        11 elf | 12 zwoelf dutzend | 20 zwanzig | 30 dreissig | 40 vierzig | 50 fuenfzig | 60 sechzig | 70 siebzig
        80 achtzig | 90 neunzig | 100 hundert | 1000 tausend | 1e6 million millionen | 1e9 milliarde milliarden
        1. erste ersten erster erstes | 2. zweite zweiten zweiter | 3. dritte dritten dritter
        4. vierte vierten vierter
        """
    ),
    dates=table(
        """
        montag montags | dienstag dienstags | mittwoch mittwochs | donnerstag donnerstags | freitag freitags
        samstag samstags sonnabend | sonntag sonntags | januar jaenner | februar | maerz | april | mai | juni | juli
        august | september | oktober | november | dezember | heute | morgen | gestern | uebermorgen | vorgestern
        morgens | vormittag vormittags | mittag mittags | nachmittag nachmittags | abend abends | nacht nachts
        fruehling fruehjahr | sommer | herbst | winter | letzten letzte letzter letztes
        naechsten naechste naechster naechstes | vorigen vorige | kommenden kommende | wochenende
        """
    ),
    units=table(
        """
        kg kilogramm kilo kilos | g gramm | mg milligramm | t tonne tonnen | pfund | km kilometer kilometern
        m meter metern | cm zentimeter zentimetern | mm millimeter | mi meile meilen | l liter litern
        ml milliliter | s sekunde sekunden | min minute minuten | h stunde stunden | d tag tage tagen
        week woche wochen | month monat monate monaten | y jahr jahre jahren | % prozent | usd dollar
        eur euro euros | clock uhr
        """
    ),
    prepositions=table(
        """
        von vom | zu zum zur | nach | in im ins | an am ans | auf | aus | bei beim | mit | fuer | ueber | als | vor
        bis | seit | waehrend | unter | zwischen | gegen | hinter | durch | neben | ab | um
        """
    ),
    telling=frozenset("durch nach vor bis seit waehrend unter zwischen gegen hinter neben".split()),
    loose=frozenset("in an auf bei".split()),
    persons=table(
        """
        @1 ich mich mir mein meine meinen meinem meiner meines wir uns unser unsere unseren unserem unserer _me_
        @2 du dich dir dein deine deinen deinem deiner euer eure euren | er | ihn | ihm
        sein seine seinen seinem seiner seines | ihr ihre ihren ihrem ihrer ihres
        """
    ),
    focus=frozenset("nur sogar".split()),
    joins=frozenset(["und", "sowie"]),
    synonyms=table(
        """
        loeschen entfernen
        kaufen erwerben
        aendern modifizieren
        beginnt startet
        kaputt defekt
        abo abonnement abonnements
        handy smartphone mobiltelefon
        auto wagen pkw
        arzt doktor
        paket sendung
        bild foto
        schnell rasch
        stelle job
        laden geschaeft
        urlaub ferien
        bekommen erhalten kriegen
        benoetigen brauchen
        fahrrad rad
        fernseher tv
        computer rechner pc
        passwort kennwort
        reparieren instandsetzen
        kostenlos gratis umsonst
        hilfe unterstuetzung
        schreiben verfassen
        antwort rueckmeldung
        """
    ),
    opposites=opposed(
        "aktivieren/deaktivieren ein/aus an/ab vor/nach kaufen/verkaufen eroeffnen/schliessen oeffnen/schliessen "
        "vorteile/nachteile mindestbetrag/hoechstbetrag ankunft/abfahrt erhoehen/senken importieren/exportieren "
        "installieren/deinstallieren hochladen/herunterladen gewinnen/verlieren brutto/netto bruttogehalt/nettogehalt "
        "links/rechts oben/unten innen/aussen hinzufuegen/entfernen sperren/entsperren beste/schlechteste groesste/kleinste "
        "laenger/kuerzer teuerste/billigste zunehmen/abnehmen verschluesseln/entschluesseln auf/zu",
        stem,
    ),
    stem=stem,
    particles=(
        "zurueck", "ein", "aus", "an", "ab", "auf", "um", "vor", "nach", "mit", "zu", "los", "weg", "fest", "bei", "her", "hin",
        "weiter", "statt", "teil", "zusammen", "herunter", "hoch", "runter",
    ),
)  # fmt: skip
