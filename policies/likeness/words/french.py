"""French. Words are folded: without accents, but for an é at the end, which makes another word of a verb."""

import re
from typing import Final

from policies.likeness.words import Lexicon, opposed, rules, table

_ENDING = re.compile(r"(?:ent|ons|er|ir|ez|es|e|s|x)$")
_IRREGULAR: Final = table(
    "travail travaux\ncheval chevaux\nanimal animaux\nmail mails\necrire ecris ecrit ecrivez\nvendre vend vends vendez\n"
    "prendre prend prends prenez\nmettre met mets mettez\nfaire fait fais faites\n"
)


def stem(word: str) -> str:
    """Take one ending off: annuler, annule and annulez are one."""
    word = _IRREGULAR.get(word, word)
    if word.endswith(("é", "ées", "és", "ée")):
        return word.rstrip("es")
    if len(word) < 4:
        return word
    cut = _ENDING.sub("", word)
    return cut if len(cut) >= 3 else word


_START: Final = r"(?:^|(?<=[.!?;:,]))[ ]?"
_WANT: Final = r"je (?:voudrais|veux|souhaite|souhaiterais|aimerais)"

_PHRASES: Final = rules(
    (r"\bn(?:e |')(\w++(?: \w++)??) plus\b", r"\1 nonplus"),
    (r"^(?:bonjour|bonsoir|salut|coucou|allo)(?=[ ,.!])", ""),
    (r"\b(?:merci(?: beaucoup| d'avance)?|s'il (?:te|vous) plait|svp|stp|aidez ?-? ?moi|aide ?-? ?moi)\b", ""),
    (r"\best ?-? ?ce qu(?:e\b|')", ""),
    (r"\bqu'est ?-? ?ce qu(?:e|')(?: est)?\b|\bqu'est ?-? ?ce\b|\bc'est quoi\b|\bqu'un(?=e? )", ""),
    # Ways to ask to be told.
    (
        (r"\b(?:peux ?-? ?tu|pourrais ?-? ?tu|pouvez ?-? ?vous|pourriez ?-? ?vous)(?: me| m'| nous)? ?"
        r"(?:dire|expliquer|indiquer|montrer) si\b"),
        "_yn_",
    ),
    (
        (r"\b(?:peux ?-? ?tu|pourrais ?-? ?tu|pouvez ?-? ?vous|pourriez ?-? ?vous)(?: me\b| m'| nous\b)? ?"
        r"(?:dire\b|expliquer\b|indiquer\b|montrer\b|aider a\b)?"),
        "",
    ),
    (rf"\b{_WANT} savoir si\b|\b(?:sais ?-? ?tu|savez ?-? ?vous) si\b", "_yn_"),
    (rf"\b(?:{_WANT} savoir|sais ?-? ?tu|savez ?-? ?vous|(?:dis|dites|explique|expliquez|montre|montrez) ?-? ?moi)\b", ""),
    # Pronouns that are hung on.
    (r"-(?:t-)?(il|elle|ils|elles|on|je|tu|vous|nous|ce|moi|ci|la)\b", r"\1"),
    # How.
    (r"\bcomment (?:puis je|je peux|pouvons nous|peut on|on peut|dois je|faire pour|faire|je|on)\b", "_how_ _me_"),
    (r"\bcomment(?= (?:\w+er|\w+ir|\w+re)\b)", "_how_ _me_"),
    (rf"\b{_WANT}\b", "_how_ _me_"),
    (r"\b(?:que (?:dois|puis) je faire|que faire|je dois faire quoi)\b", "_todo_ _me_"),
    # How much, and what is told by a noun as well.
    (r"\bcombien cout(?:e|ent)\b|\bcout(?:e|ent) combien\b", "_price_"),
    (r"\bquels? (?:est|sont) les? (?:prix|tarifs?) (?:de|du|des|d')", "_price_"),
    (r"\b(?:prix|tarifs?|couts?|coute|coutent)\b", "_price_"),
    (r"\bcombien de temps\b", "_howlong_"),
    (r"\bcombien d'habitants compte\b", "population de"),
    (r"\bcombien (?:de\b|d')", "_howmany_"),
    (r"\bcombien\b", "_howmuch_"),
    (r"\b(?:pourquoi|pour quelle raison)\b", "_why_"),
    (r"\bcomment\b", "_how_"),
    (r"\ba quelle heure\b|\bquand\b", "_when_"),
    (r"\bd'où\b", "_wherefrom_"),
    (r"\boù(?: se trouve(?:nt)?)?\b", "_where_"),
    (r"\b(?:a qui|de qui)\b", "_whose_"),
    (r"\bqui\b", "_who_"),
    # May I, shall I, must I.
    (_START + r"(?:puis je|je peux|peut on|est il possible de|ai je le droit de|on peut)\b", "_can_ _me_"),
    (_START + r"(?:faut il|dois je)\b", "_must_ _me_"),
    (r"\b(?:etait|etaient|fut|avait|avaient)\b", "_past_"),
    # Phrases that are words.
    (r"\ble (?:mot|terme) (?=[\ue000-\uf8ff])", ""),
    (r"\bme procurer\b", "acheter"),
    (r"\btelephone (?:portable|mobile)\b", "portable"),
    (r"\b(?:courriel|e ?-? ?mail|adresse mail)\b", "email"),
    (r"\bpour cent\b", "%"),
    (r"\bau moins\b", "atleast"),
    (r"\bau plus\b", "atmost"),
    (r"\bcentre ?-? ?ville\b", "centre"),
    (r"\bpar(?= (?:jour|semaine|mois|an|heure)\b)|\bchaque(?= (?:jour|semaine|mois|annee|heure)\b)", "chaque"),
    # Elided articles and pronouns.
    (r"\baujourd'hui\b", "aujourdhui"),
    (r"\b(n|d|j)'", r"\1"),
    (r"\b(?:l|qu|s|m|t|c)'", ""),
)  # fmt: skip

FRENCH: Final = Lexicon(
    language="fr",
    signs=frozenset(
        "le la les du des et est sont je mon ma mes où quand qui quel quelle quels quelles comment pourquoi combien "
        "une un avec pour dans sur sans puis peux veux voudrais bonjour merci vous nous au aux ne pas à est-ce c'est "
        "qu'est les ou été faire".split()
    ),
    phrases=_PHRASES,
    empty=frozenset(
        "le la les un une je j me moi nous on tu te toi vous il elle ils elles ce cet cette ces ca est sont suis etes "
        "es a ont ai as avez et que quel quelle quels quelles quoi si dont y en ne n peut peuvent peux puis bien tres "
        "alors donc voici ici la etre faire se".split()
    ),
    negations=table(
        """
        pas non ni | nonplus | jamais | sans | personne | rien | aucun aucune
        """
    ),
    quantities=table(
        """
        tous toutes tout toute | quelques | beaucoup | peu | plus | moins | plupart | seulement | aussi | meme
        toujours | parfois | souvent | rarement | demi demie | double | deja | encore | autre autres | ou | sauf
        atleast | atmost | chaque | plusieurs | assez
        """
    ),
    numbers=table(
        """
        0 zero | 2 deux | 3 trois | 4 quatre | 5 cinq | 6 six | 7 sept | 8 huit | 9 neuf | 10 dix | 11 onze
        12 douze douzaine | 15 quinze | 20 vingt | 30 trente | 40 quarante | 50 cinquante | 60 soixante | 100 cent
        1000 mille | 1e6 million millions | 1e9 milliard milliards | 1. premier premiere
        2. deuxieme second seconde | 3. troisieme | 4. quatrieme
        """
    ),
    dates=table(
        """
        lundi lundis | mardi mardis | mercredi mercredis | jeudi jeudis | vendredi vendredis | samedi samedis
        dimanche dimanches | janvier | fevrier | mars | avril | mai | juin | juillet | aout | septembre | octobre
        novembre | decembre | aujourdhui | demain | hier | matin | midi | soir | nuit | printemps | ete | automne
        hiver | eté | prochain prochaine | dernier derniere
        """
    ),
    units=table(
        """
        kg kilo kilos kilogramme kilogrammes | g gramme grammes | mg milligramme milligrammes | t tonne tonnes
        livres | oz once onces | km kilometre kilometres | m metre metres | cm centimetre centimetres
        l litre litres | min minute minutes | h heure heures | s secondes | d jour jours | week semaine semaines
        month mois | y an ans annee annees | usd dollar dollars | eur euro euros | franc francs
        """
    ),
    prepositions=table(
        """
        de du des d | a au aux | vers | depuis | jusque | en | dans | par | pour | avec | sur | que | avant | apres
        entre | sous | contre | pendant | chez
        """
    ),
    telling=frozenset("par depuis jusque avant apres entre sous contre pendant".split()),
    loose=frozenset("de en dans sur".split()),
    persons=table(
        """
        @1 je j me moi mon ma mes notre nos nous _me_ | @2 tu te toi ton ta tes vous votre vos | lui | son sa ses
        leur leurs
        """
    ),
    focus=frozenset("seulement meme".split()),
    joins=frozenset(["et"]),
    synonyms=table(
        """
        supprimer effacer
        annuler resilier
        commencer debuter
        changer modifier
        portable mobile smartphone
        voiture auto
        ordinateur pc
        billet ticket
        photo image
        travail emploi
        reparer depanner
        montrer afficher
        choisir selectionner
        annuel annuelle
        gratuit gratuite
        recevoir obtenir
        """
    ),
    opposites=opposed(
        "activer/desactiver avant/apres acheter/vendre ouvrir/fermer avantages/inconvenients augmenter/diminuer "
        "maximum/minimum brut/net importer/exporter installer/desinstaller gagner/perdre gauche/droite arrivee/depart "
        "bloquer/debloquer meilleur/pire avec/sans allumer/eteindre possible/impossible",
        stem,
    ),
    stem=stem,
)
