"""Spanish. Words are folded: without accents, ñ as n."""

import re
from typing import Final

from policies.likeness.words import Lexicon, opposed, rules, table

_CLITICS = re.compile(r"(?:(?<=[aei]r)(?:me|te|se|lo|la|le|los|las|les|nos)|(?<=[ae])me)$")
_IRREGULAR: Final = table(
    """
    empezar empieza empiezo empiezan
    comenzar comienza comienzo comienzan
    cerrar cierra cierro cierran
    poder puede puedo pueden podemos
    querer quiero quiere
    pedir pide pido piden
    devolver devuelve devuelvo devuelvan
    costar cuesta cuestan
    perder pierdo pierde
    """
)


def stem(word: str) -> str:
    """Take one ending off: cancelar and cancelo are one; hijo and hija are not."""
    word = _CLITICS.sub("", _IRREGULAR.get(word, word))
    if word.endswith("zco"):
        word = f"{word[:-3]}cer"
    if len(word) < 4:
        return word
    word = word.removesuffix("s") if not word.endswith(("es", "is", "us")) else word
    for ending in ("ar", "er", "ir", "es", "e", "o"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


_START: Final = r"(?:^|(?<=[.!?;:,]))[ ]?"

_PHRASES: Final = rules(
    (r"^(?:hola|saludos|oye|disculpe|perdon|buen dia|buen[ao]s(?: (?:dias|tardes|noches))?)(?=[ ,.!])", ""),
    (r"\b(?:muchas gracias|gracias(?: de antemano)?|por favor|porfa|ayuda)\b", ""),
    # Ways to ask to be told.
    (r"\b(?:me )?(?:puedes|puede|podrias|podria|podeis|pueden) (?:decir|explicar|indicar|mostrar)(?:me|nos)? si\b", "_yn_"),
    (
        (r"\b(?:me )?(?:puedes|puede|podrias|podria|podeis|pueden) (?:decir|explicar|indicar|mostrar|ayudar)(?:me|nos)?"
        r"(?: a| con)?\b"),
        "",
    ),
    (r"\b(?:puedes|podrias|podria) (?=\w*+(?<=[aei]r)(?:me)?\b)", ""),
    (r"\b(?:quiero|quisiera|me gustaria|necesito|querria) saber si\b", "_yn_"),
    (
        (r"\b(?:(?:quiero|quisiera|me gustaria|necesito|querria) saber|sabes|sabe usted|dime|digame|explicame|expliqueme|explica|"
        r"muestrame)\b"),
        "",
    ),
    # How.
    (r"\bcomo (?:puedo|podria|debo|se puede|puede uno|podemos|hago para)\b", "_how_ _me_"),
    (r"\bcual es la (?:mejor )?(?:manera|forma) de\b", "_how_ _me_"),
    (r"\bcomo se (\w+)a\b", r"_how_ _me_ \1o"),
    (r"\bcomo se\b", "_how_ _me_"),
    (r"\bcomo(?= \w+o\b)", "_how_ _me_"),
    (r"\b(?:quiero|quisiera|me gustaria|deseo|querria|necesito(?= \w*+(?<=[aei]r)\b))\b", "_how_ _me_"),
    (r"\bque (?:hago|debo hacer|puedo hacer|tengo que hacer)\b", "_todo_ _me_"),
    # How much, and what is told by a noun as well.
    (r"\bcuanto (?:cuesta|cuestan|vale|valen)\b|\bque precio (?:tiene|tienen)\b|\bcual es el (?:precio|coste|costo) de\b",
     "_price_"),
    (r"\b(?:precios?|costes?|costos?|cuestan?)\b", "_price_"),
    (r"\bcuantas personas viven en\b", "poblacion de"),
    (r"\bcuantos\b|\bcuantas\b", "_howmany_"),
    (r"\bcuanto tiempo\b", "_howlong_"),
    (r"\bcuant[oa]\b", "_howmuch_"),
    (r"\bcon que frecuencia\b|\bcada cuanto\b", "_howoften_"),
    (r"\bque (?:altura|alto) tiene\b|\bcuanto mide\b", "altura"),
    (r"\b(?:por que|por que razon|por que motivo)\b", "_why_"),
    (r"\bcomo\b", "_how_"),
    (r"\ba que hora\b|\bcuando\b", "_when_"),
    (r"\b(?:a|hacia) donde\b|\badonde\b", "_whereto_"),
    (r"\bde donde\b", "_wherefrom_"),
    (r"\bdonde\b|\bcual es(?= la \w++ mas cercana\b)", "_where_"),
    (r"\bde quien\b", "_whose_"),
    (r"\ba quien(?:es)?\b", "_whom_"),
    (r"\bquien(?:es)?\b", "_who_"),
    # May I, shall I, must I.
    (_START + r"(?:se )?(?:puedo|podemos|podria|es posible|se puede)\b", "_can_ _me_"),
    (_START + r"(?:puede|pueden)\b", "_can_"),
    (_START + r"(?:debo|deberia)\b", "_should_ _me_"),
    (_START + r"(?:tengo que|hay que|es necesario)\b", "_must_ _me_"),
    (r"\b(?:era|eran|fue|fueron|estaba|estaban|habia)\b", "_past_"),
    # Phrases that are words.
    (r"\bla palabra (?=[\ue000-\uf8ff])", ""),
    (r"\b(?:dar|doy|dar(?:me|se)) de baja\b", "cancelar"),
    (r"\b(?:correo electronico|direccion de correo|e ?mail)\b", "email"),
    (r"\bpor ciento\b", "%"),
    (r"\bal menos\b|\bpor lo menos\b", "atleast"),
    (r"\bcomo maximo\b", "atmost"),
    (r"\bcada(?= (?:dia|semana|mes|ano|hora)\b)|\b(?:al|por)(?= (?:dia|semana|mes|ano|hora)\b)", "cada"),
)  # fmt: skip

SPANISH: Final = Lexicon(
    language="es",
    signs=frozenset(
        "el los las del al y es son esta estan mi mis donde cuando quien cual cuanto cuantos cuantas que una con por "
        "para quiero puedo como hola gracias necesito hay tiene sin su sus pero muy desde hasta".split()
    ),
    phrases=_PHRASES,
    empty=frozenset(
        "el la los las un una unos unas lo le les se me te nos yo tu usted ustedes es son esta estan estoy este estos "
        "estas ese esa eso que cual cuales si y e ha han he hay muy ya pues aqui bien puedo puede pueden podemos "
        "podria entonces vosotros".split()
    ),
    negations=table(
        """
        no ni | nunca jamas | sin | nadie | nada | ningun ninguna ninguno
        """
    ),
    quantities=table(
        """
        todos todas todo toda | algun alguna alguno algunos algunas | mucho mucha muchos muchas
        poco poca pocos pocas | mas | menos | mayoria | ambos ambas | solo solamente | tambien | incluso | siempre
        aveces | medio media | doble | todavia aun | otra otro otras otros | o u | excepto | atleast | atmost | cada
        varios varias | bastante suficiente
        """
    ),
    numbers=table(
        """
        0 cero | 1 uno | 2 dos | 3 tres | 4 cuatro | 5 cinco | 6 seis | 7 siete | 8 ocho | 9 nueve | 10 diez
        11 once | 12 doce docena | 15 quince | 20 veinte | 30 treinta | 40 cuarenta | 50 cincuenta | 60 sesenta
        70 setenta | 80 ochenta | 90 noventa | 100 cien ciento | 1000 mil | 1e6 millon millones
        1. primero primera primer | 2. segundo segunda | 3. tercero tercera tercer | 4. cuarto cuarta
        """
    ),
    dates=table(
        """
        lunes | martes | miercoles | jueves | viernes | sabado sabados | domingo domingos | enero | febrero | marzo
        abril | mayo | junio | julio | agosto | septiembre setiembre | octubre | noviembre | diciembre | hoy
        manana | ayer | anteayer | tarde | noche | mediodia | primavera | verano | otono | invierno | pasado pasada
        proximo proxima | ultimo ultima
        """
    ),
    units=table(
        """
        kg kilo kilos kilogramo kilogramos | g gramo gramos | mg miligramo miligramos | t tonelada toneladas
        libra libras | oz onza onzas | km kilometro kilometros | m metro metros | cm centimetro centimetros
        mi milla millas | l litro litros | min minuto minutos | h hora horas | s segundos | d dia dias
        week semana semanas | month mes meses | y ano anos | usd dolar dolares | eur euro euros | peso pesos
        """
    ),
    prepositions=table(
        """
        de del | a al | desde | hasta | hacia | en | por | para | con | sobre | que | antes | despues | entre | bajo
        contra | durante
        """
    ),
    telling=frozenset("desde hasta hacia sobre antes despues entre bajo contra durante".split()),
    loose=frozenset("de en".split()),
    persons=table(
        """
        @1 yo me mi mis nuestro nuestra nuestros nuestras nos mio mia _me_ | @2 tu tus te ti vuestro vuestra | ella
        ellos | ellas | su sus suyo suya
        """
    ),
    focus=frozenset("solo incluso".split()),
    joins=frozenset(["y", "e"]),
    synonyms=table(
        """
        eliminar borrar suprimir
        comprar adquirir
        cambiar modificar
        empezar comenzar
        movil celular
        reparar arreglar
        ordenador computadora computador
        coche carro auto automovil
        visado visa
        billete boleto
        rapido veloz
        foto imagen fotografia
        pelicula film
        trabajo empleo
        recibir obtener
        contrasena clave
        elegir escoger
        gratis gratuito
        """
    ),
    opposites=opposed(
        "activar/desactivar antes/despues comprar/vender abrir/cerrar abro/cierro ventajas/desventajas subir/bajar subo/bajo "
        "maximo/minimo aumentar/disminuir importar/exportar instalar/desinstalar ganar/perder bruto/neto izquierda/derecha "
        "arriba/abajo dentro/fuera bloquear/desbloquear mejor/peor llegada/salida con/sin encender/apagar",
        stem,
    ),
    stem=stem,
)
