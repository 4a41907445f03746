"""Phrases of prompt injection in a dozen languages, found in one pass over the words of a text.

A phrase is a row of word sets, each with the most steps that may lie between it and the one before. For every phrase the matcher
keeps where each of its sets was last met in order, so a text costs one look-up a word and nothing is ever tried again. Languages
without spaces between words are matched by parts of sentences instead of words, with distances in characters.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

_HIDDEN: Final = re.compile("[\u200b-\u200d\u2060\u2063\ufeff\u00ad]")
_WORD: Final = re.compile(r"\w+")

# A phrase: the rule, then words and the most steps to them by turns.
_Phrase = tuple[str, Sequence[str | int]]

_IGNORE: Final = (
    "ignore disregard forget override bypass ignoriere ignorieren ignoriert vergiss vergesst vergessen missachte missachten "
    "ignorez ignorer oublie oubliez ignora ignorar ignorad olvida olvide olvidad dimentica dimenticate esqueça esqueca esqueçam "
    "negeer vergeet zignoruj zapomnij игнорируй игнорируйте проигнорируй забудь забудьте تجاهل تجاهلوا"
)
_EARLIER: Final = (
    "previous prior above earlier preceding foregoing system original initial existing your safety vorherigen bisherigen obigen "
    "früheren vorigen deine deiner ihre vorige eerdere vorherige poprzednie wcześniejsze twoje предыдущие прежние все свои твои "
    "вышеуказанные alle"
)
_ORDERS: Final = (
    "instruction instructions prompt prompts rules directives guidelines programming anweisungen instruktionen vorgaben regeln "
    "anleitungen instructies aanwijzingen regels instrukcje polecenia zasady инструкции указания правила"
)
_ORDERS_BEFORE: Final = (
    "instructions prompt rules consignes règles directives instrucciones indicaciones órdenes reglas istruzioni regole "
    "indicazioni instruções instrucoes regras التعليمات الأوامر القواعد"
)
_EARLIER_AFTER: Final = (
    "above précédentes antérieures initiales ci données anteriores previas del precedenti sistema prévias previas iniciais "
    "السابقة أعلاه السابقه"
)
_SHOW: Final = (
    "reveal show print repeat output display leak recite tell expose zeige zeig verrate nenne wiederhole affiche montre "
    "révèle répète muestra muéstrame revela repite mostra rivela mostre pokaż ujawnij покажи выведи раскрой"
)
_SEND: Final = (
    "send post upload forward email exfiltrate transmit leak submit sende schicke übermittle envoie envoyez envía envia"
)
_ADDRESS: Final = "http https webhook"

_IGNORED: Final = "injection.ignore_instructions"
_REVEALED: Final = "injection.reveal_prompt"
_ROLE: Final = "injection.role_override"
_SENT: Final = "exfiltration.send_data"

_WORDS: Final[tuple[_Phrase, ...]] = (
    (_IGNORED, (_IGNORE, 6, _EARLIER, 2, _ORDERS)),
    (_IGNORED, (_IGNORE, 5, _ORDERS_BEFORE, 2, _EARLIER_AFTER)),
    (_IGNORED, (_IGNORE, 2, "everything anything alles tout todo tutto tudo всё все", 2,
                "above before previously oben vorher zuvor précède anterior antes precedente выше")),
    (_IGNORED, ("önceki yukarıdaki tüm", 2, "talimatları talimatlarını talimatlar kuralları komutları", 2,  # noqa: RUF001 - Turkish
                "unut yoksay yok görmezden dikkate")),
    (_REVEALED, (_SHOW, 4, "system hidden initial secret your original системный системные ukryty systemowy", 2,
                 "prompt prompts instructions промпт инструкции instrukcje")),
    (_REVEALED, (_SHOW, 4, "prompt instructions instrucciones instruções istruzioni", 2,
                 "système sistema secrètes cachées ocultas secretas initiales iniciales")),
    (_REVEALED, (_SHOW, 4, "systemprompt systemprompts systemanweisung systemanweisungen systeemprompt")),
    (_ROLE, ("you", 1, "are", 1, "now", 2, "dan stan jailbroken unrestricted unfiltered uncensored")),
    (_ROLE, ("developer dev god debug admin entwickler", 1, "mode modus", 2, "enabled activated unlocked aktiviert")),
    (_ROLE, ("do", 1, "anything", 1, "now")),
    (_ROLE, ("act pretend behave respond answer roleplay", 6, "without no free", 3,
             "restrictions filters limitations censorship ethics")),
    (_ROLE, ("no", 1, "longer", 1, "bound", 3, "rules guidelines restrictions policies instructions openai")),
    (_ROLE, ("du", 1, "bist", 1, "jetzt nun", 6, "uneingeschränkt einschränkungen regeln entwicklermodus")),
    (_ROLE, ("tu", 1, "es eres sei", 1, "maintenant ahora ora", 6, "restrictions restricciones restrizioni règles reglas")),
    (_SENT, (_SEND, 8, "conversation transcript credentials passwords secrets cookies zugangsdaten passwörter",
             14, _ADDRESS)),
    (_SENT, (_SEND, 8, "api private chat system environment", 1, "key keys history log prompt variables", 14, _ADDRESS)),
)  # fmt: skip

_PARTS: Final[tuple[_Phrase, ...]] = (
    (_IGNORED, ("忽略|无视|無視|忘记|忘記", 14, "指令|指示|说明|說明|规则|規則|提示")),
    (
        _IGNORED,
        ("以前の|上記の|これまでの|前の|すべての|全ての", 10, "指示|命令|ルール|プロンプト|指令", 8, "無視|忘れ"),
    ),
    (_IGNORED, ("이전|위의|모든|앞의", 12, "지시|명령|규칙|지침|프롬프트", 10, "무시|잊어")),
    (_IGNORED, ("निर्देश", 24, "अनदेखा|नज़रअंदाज़|नजरअंदाज|भूल जा")),
    (_REVEALED, ("显示|输出|泄露|告诉我|顯示|輸出", 12, "系统提示|系統提示")),
    (_REVEALED, ("システムプロンプト", 16, "表示|教え|見せ|出力")),
    (_REVEALED, ("시스템 프롬프트|시스템프롬프트", 14, "보여|알려|출력")),
)


def fold(text: str) -> str:
    """Make spellings equal that readers take for equal: width, case, invisible signs."""
    return _HIDDEN.sub("", unicodedata.normalize("NFKC", text)).lower()


class _Phrases:
    """Phrases, ready to be found in folded text."""

    def __init__(self, phrases: Sequence[_Phrase], *, between: str | None) -> None:
        self.rules = tuple(dict.fromkeys(rule for rule, _ in phrases))
        #: token -> the steps it may be: (slot, most distance from the slot before, the rule if this step ends a phrase)
        self._steps: dict[str, list[tuple[int, int, str | None]]] = {}
        self._slots = 0
        for rule, row in phrases:
            sets, gaps = row[::2], (0, *row[1::2])
            for number, (words, gap) in enumerate(zip(sets, gaps, strict=True)):
                for word in dict.fromkeys(fold(str(words)).split(between)):
                    step = (self._slots + number, int(gap), rule if number == len(sets) - 1 else None)
                    # The last step first: a word must not take two steps at once.
                    self._steps.setdefault(word, []).insert(0, step)
            self._slots += len(sets)
        longest_first = sorted(self._steps, key=len, reverse=True)
        self._parts = re.compile("|".join(map(re.escape, longest_first))) if between else None

    def find(self, text: str) -> Iterator[str]:
        """Yield the rules of the phrases in `text`; a rule may come twice."""
        reached = [-1_000_000] * self._slots
        for place, token in self._tokens(text):
            for slot, gap, rule in self._steps.get(token, ()):
                if gap and not 0 < place - reached[slot - 1] <= gap:
                    continue
                if rule is not None:
                    yield rule
                reached[slot] = place

    def _tokens(self, text: str) -> Iterator[tuple[int, str]]:
        if self._parts is None:
            return enumerate(_WORD.findall(text))
        return ((match.start(), match[0]) for match in self._parts.finditer(text))


PHRASES: Final = _Phrases(_WORDS, between=None)
SIGNED_PHRASES: Final = _Phrases(_PARTS, between="|")
