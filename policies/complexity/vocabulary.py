"""Words that tell what a prompt asks for, in English, German, Spanish and French.

Each group is one feature: languages share its weight, so that what was learned from one helps the others.
"""

from collections.abc import Mapping
from typing import Final

# A word that ends in `*` stands for all words that begin so.
_GROUPS: Final[Mapping[str, str]] = {
    "prove": """
        prove proves proving proof disprove deriv* rigorous* lemma theorem beweis* widerleg* herleit* leite induktion
        satz demuestr* demostr* prueba pruebes teorema démontr* démonstr* prouv* preuve théorème refut* réfut*
        """,
    "justify": """
        justif* deduc* déduis* déduct* infer infers inference* inferenc* inférenc* begründ* schließe ableit* folgt
        folgere razon* raisonn* argue rechtfertig* reason reasoning logic* logisch* lógic* logiqu* zwingend* consisten*
        impl*
        """,
    "paradox": """
        paradox* contradict* widerspr* contradic* contredis* counterexample* gegenbeispiel* contraejemplo* puzzle*
        riddle* rätsel* acertijo* énigme* fallac* flaw trugschluss* liar lies lügt lügner miente ment impossib*
        unmöglich* imposib* hypothes* hipótesis hypothèse*
        """,
    "extreme": """
        smallest shortest fewest least minimal* minimum maximal* maximum optimal* fastest largest greatest kleinste*
        kürzeste* schnellste* wenigste* mindestens größte* größer mínim* máxim* óptim* mayor menor corta minimale*
        optimum tight bound
        """,
    "all_cases": """
        every each all determine find unique uniquely possible exists exist existiert jede jedes jeder alle bestimme
        finde gibt eindeutig todo todos toda cada halla existe encuentra tout toute tous trouve seul único única
        """,
    "formal": """
        algorithm* algorithmus algoritmo* algorithme* complexity komplexität complejidad invariant* schleifeninvariante
        polynom* np race interleaving deadlock* atomic mutex lock concurren* nebenläufig* concurrent* irrational* prime
        primes primzahl* primo* premiers integer integers integral divis* continuous group equilib* probabil*
        wahrscheinlich*
        """,
    "design": """
        design designs architect* architekt* arquitect* entwirf entwickl* develop* implement* build refactor*
        refactoriz* überarbeit* diseñ* constru* conçois élabor* elabor* erarbeit* construis migrat* migra* rebuild
        restructur* refond* framework strategy strategie* estrategia* stratégie* roadmap
        """,
    "weigh": """
        compare comparison vergleich* compar* trade-off* tradeoff* weigh wäg* abwäg* bewert* evalua* évalu* assess*
        judge options optionen opciones alternativ* pros advantag* vorteil* nachteil* ventaj* recommend* empfiehl*
        empfehl* recomend* recommand* balanced ausführlich* gründlich* thorough* detailed profund* fondo approfondi*
        umfassend* comprehensive
        """,
    "scope": """
        risk* risik* riesg* risque* budget* presupuest* stakeholder* milestone* meilenstein* hito* jalon* depend*
        abhängig* scenario* szenari* escenari* scénari* constraint* phase* monitoring rollback test* security
        sicherheit* seguridad sécurité migration* legal rechtlich* funding finanz* financ* costs kosten coste* coût*
        timeline team* teams assumption* annahmen supuestos
        """,
    "explain": """
        explain explains explanation erklär* erläuter* explic* expliqu* describe beschreib* difference unterschied*
        diferencia* différence* how wie cómo comment funktioniert funciona fonctionne works work briefly kurz example
        examples beispiel* ejemplo* exemple*
        """,
    "why": "why warum wieso weshalb pourquoi porqué",
    "write": """
        write draft compose rewrite rephrase improve schreib* verfass* formulier* verbesser* erstell* redact* redige*
        rédig* écris escrib* reformul* create make mach haz fais prepara prépare prepare hazme
        """,
    "summarise": """
        summar* summaris* abstract condense tl;dr tldr outline fasse zusammen* kürze resum* résum* condens* acort*
        raccourc* shorten overview gist
        """,
    "extract": """
        extract* list table json csv classif* klassif* clasific* schema convert* wandle umwand* konvert* convierte
        transform* tabelle tabla tableau liste listet zieh* identif* sort group gruppier* agrup* ordne ordena relève
        bullet stichpunkt* key keys
        """,
    "lookup": """
        what what's whats which who when where was welche welcher welches wer wann wo qué cuál quién cuándo dónde cuánto
        cuántos quel quelle quels qui quand où combien name heißt significa signifie mean means bedeutet is ist es est
        """,
    "brief": """
        one sentence line word words only just yes no satz wort nur ja nein frase palabra palabras solo sólo sí phrase
        mot mots seulement oui non title titel título titre headline überschrift sms short
        """,
    "command": """
        turn set open call play send add remind stop translate rename fix mach stell ruf rufe schalt* öffne setz
        erinner* spiel übersetz* korrigier* pon abre llama añade recuérd* enciende apaga traduc* corrig* sube baja
        allum* éteins appelle rappelle ajoute ouvre tradui*
        """,
    "solve": """
        solve calculate compute evaluate löse berechn* rechne resuelv* calcul* résou* équation gleichung ecuación
        equation derivative ableitung derivada dérivée integral integrale percent prozent steps rechenweg pasos étapes
        """,
    "plan": """
        plan planning planes itinerary schedule agenda checklist checkliste organis* organiz* weekly wochenplan
        programm* programa programme menu menü menú packing trip weekend wochenende semana week* days tage días jours
        """,
    "search": """
        search find look check fetch such suche prüfe hole lies busca consulta lee cherche regarde read cheapest
        günstigst* barat*
        """,
    "one_thing": """
        title titel título titre headline überschrift sms subject betreff asunto objet yes no ja nein sí oui non single
        translate übersetz* traduc* tradui* pronounce spell buchstab* synonym* sinónim* rename name called formula
        formel fórmula formule capital hauptstadt shortcut extension endung tag command befehl comando commande sort
        alphabet* round runde redondea arrondi*
        """,
    "material": """
        text texte texto article artikel artículo paragraph absatz párrafo paragraphe email mail mails correo courriel
        thread notes notizen notas review reviews bewertung* opinion* reseña* avis transcript call chat minutes
        protokoll acta message nachricht mensaje note notiz nota following folgende* siguiente* suivant* below poem
        gedicht poema
        """,
    "artefact": """
        system systems systeme sistema système platform* plattform* plataforma plateforme* app apps application*
        anwendung* compiler service services microservic* pipeline* tutorial curriculum report reports bericht* informe*
        rapport* essay novel novela roman story kurzgeschichte cuento nouvelle chapter businessplan memo taxonomy
        dashboard engine infrastructur* infrastruktur* concept konzept* policy library game handbook standard* programme
        organisation* organizat* employees mitarbeiter* empleados company unternehmen* empresa* cooperativ* migration*
        stages etappen etapas étapes groups gruppen grupos positions positionen* posiciones versions fassungen versiones
        findings
        """,
    "mechanism": """
        work works funktioniert funktionieren funciona funcionan fonctionne fonctionnent happens passiert pasa
        """,
    "working": """
        working steps schritte rechenweg rechnung pasos cálculo étapes calcul show zeige muestra montre mit
        """,
    "conditional": """
        if then unless only exactly either neither nobody nothing none nor always never same other others wenn dann
        falls nur genau weder niemand nichts keiner keine kein immer nie si entonces solo exactamente ni nadie ningún
        nunca siempre alors seulement exactement aucun personne jamais toujours whether ob sonst without ohne sin sans
        """,
    "games": """
        coin coins münze* moneda* pièce* box boxes kiste* caja* door doors tür* puerta* porte* hat hats hüte torch
        bridge boat boot barca barque river fluss río rivière guard* wächter gardien* prisoner* preso prisonnier*
        marbles weigh weighings waage balance dominoes dominosteine board schachbrett team* digit* zeros nullen ceros
        zéros machine* job jobs
        """,
    "self": """
        my mein meine meinen meiner meinem mi mis mon ma mes our unser* nuestro* nuestra* notre nos we wir i ich me mir
        je
        """,
    "small_code": """
        function functions method script regex query sql dockerfile component form workflow snippet class loop string
        list array dict callback hinting docstring generics unit funktion funktionen methode skript abfrage schleife
        formular zeichenkette función método consulta bucle cadena formulario fonction méthode requête boucle chaîne
        formulaire file files datei archivo fichier
        """,
    "everyday": """
        weekend wochenende week-end trip reise viaje voyage party birthday geburtstag* cumpleaños anniversaire dinner
        abendessen* cena dîner recipe rezept receta recette meal* breakfast barbecue garden garten jardín jardin
        holiday* vacation urlaub* vacaciones vacances exam exams prüfung* klausur examen examens training trainingsplan
        packing umzug* mudanza déménagement camping acampada hiking checklist checkliste shopping einkauf* compra
        courses morning routine friend friends freund* amigo* amis neighbour* nachbar* vecin* voisin* gift geschenk*
        regalo cadeau cat dog katze hund gato perro chat chien tips tipps consejos conseils idea ideas ideen idées
        """,
    "civic": """
        town city cities stadt* dorf* gemeinde* ciudad* pueblo* comarca ville village* region* county council school
        schools schule* escuela* école* lycée hospital* krankenhaus* klinik* clínica hôpital museum museo musée library
        bibliothek* médiathèque* biblioteca theatre theater* teatro charity verein* asociación association government
        regierung* gobierno gouvernement law gesetz* ley ordenanza loi policy market markt* mercado marché industry firm
        firma business companies investor* customers kunden clientes clients
        """,
    "long_text": """
        essay essays novel screenplay play drama story chapter tale saga campaign world thesis lecture book review obra
        ensayo ensayos cuento novela roman theaterstück kurzgeschichte märchen pièce nouvelle essai conte drehbuch guión
        scénario narrat* erzähl*
        """,
    "short_text": """
        poem haiku limerick message toast letter email note card speech tweet post poema mensaje carta correo tarjeta
        discurso gedicht nachricht brief karte rede poème mot carte discours lettre short kurz* kurzes corto breve court
        petit small
        """,
    "discuss": """
        discuss debate analys* analiz* analis* analizar critical critique criticism erörter* diskut* debat* ethic*
        ethik* ética éthique perspective* perspektive* interpretation* positions argument* stance should soll sollte
        debería faut-il
        """,
    "sums": """
        average speed interest zins* verzinst kapital probability area perimeter volume radius height percent price cost
        costs km km/h litres liter litros litre euro euros balls kugeln bolas boules bag urne bolsa dice roll rolls tank
        depósito rectangle rectangular rechteck* geschwindigkeit velocidad vitesse durchschnitt* promedio moyenne precio
        prix preis share ratio line gerade* recta droite binary decimal factor function maximum minimum slope
        """,
    "social": """
        hi hello hey hallo hola bonjour salut thanks thank danke gracias merci please bitte favor joke witz chiste
        blague ok okay vale good gut bien morning morgen yes lol
        """,
}

# What only several words together tell, as they stand in lower case; `|` lies between phrases, spaces count.
_PHRASES: Final[tuple[str, ...]] = (
    "step by step|schritt für schritt|paso a paso|pas à pas|chain of|line by line|lückenlos|rigor|streng",
    (
        "show that|zeige, dass|prueba que|montre que|prove that|demuestra que|prove|beweis|demuestr|démontr|find all|"
        "determine all|bestimme alle|halla todos|trouve tous"
    ),
    (
        "must be|can't be|no other|rule out|what follows|must have|is it possible|is there a|can two|which of|"
        "was daraus folgt|kann man|kann in|gibt es|se puede|peut-on|is it true|can any|es posible|is this"
    ),
    (
        "and why|und warum|y por qué|et pourquoi|mit begründung|y justifica|en justifiant|explain why|justify|"
        "begründe|razona|without a calculator|no calculator|ohne taschenrechner|sin calculadora|sans calculatrice"
    ),
    (
        "in detail|walk me through|help me think|trade-off|from start to end|role-play|spiele mit mir|full plan|"
        "business plan|businessplan|plan de negocio|plan d'affaires|strategy|strategie|in-depth|system|plattform"
    ),
    (
        "how does|how do |wie funktioniert|cómo funciona|comment fonctionne|what is the difference|"
        "what's the difference|unterschied|diferencia|différence|explain|erklär|explica|explique"
    ),
    (
        "how do i|wie gebe ich|wie mache ich|cómo creo|comment afficher|what does|was bedeutet|qué significa|"
        "que signifie|wie heißt|how many|how much|how long|how tall|how old|wie viel|wie lange|wie hoch|cuánto|"
        "combien|quel est|quelle est|cuál es|what is the|what's the|where can|where do|do you|is there"
    ),
    (
        "in one sentence|one-sentence|one sentence|in einem satz|in one line|en una frase|en une phrase|text message|"
        "under ten words|in three words|in drei worten|en pocas palabras|yes or no|ja oder nein|sí o no|only the|"
        "just the|just tell me|gib nur|nur die|dame solo|donne seulement|key point|one word|tl;dr"
    ),
    (
        "bullet points|half page|half-page|halben seite|demi-page|about 200 words|in ten sentences|100 wörter|"
        "stichpunkt|cinco puntos|quatre points| words|palabras|sentences|sätze|in a few|a paragraph|main points|"
        "for beginners|with an example|mit beispiel|mit einem beispiel|con un ejemplo|con ejemplo|avec un exemple"
    ),
)

GROUPS: Final[tuple[str, ...]] = tuple(_GROUPS)
PHRASES: Final[tuple[tuple[str, ...], ...]] = tuple(tuple(listed.split("|")) for listed in _PHRASES)


def _index(*, stems: bool) -> dict[str, tuple[int, ...]]:
    """The places of the groups that each word, or each stem, belongs to."""
    found: dict[str, tuple[int, ...]] = {}
    for place, listed in enumerate(_GROUPS.values()):
        for entry in listed.split():
            if entry.endswith("*") == stems:
                key = entry.removesuffix("*")
                found[key] = (*found.get(key, ()), place)
    return found


WORDS: Final[Mapping[str, tuple[int, ...]]] = _index(stems=False)
STEMS: Final[Mapping[str, tuple[int, ...]]] = _index(stems=True)
STEM_LENGTHS: Final = tuple(sorted({len(stem) for stem in STEMS}))
