"""What kind of task a chat request is, guessed from its words, and how long answers of that kind usually are. Pure.

Only for savings that the caller asked for: which model answers is decided elsewhere, with more care.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

#: Answers of each kind of task are rarely longer than this; None: nothing is known, or the answer is the work.
MAX_TOKENS: Final[Mapping[str, int | None]] = {
    "classification": 64, "faq": 384, "extraction": 1024, "summarisation": 768, "chat": 1024, "translation": None, "coding": None,
    "mathematics": None, "planning": None, "tools": None,
}  # fmt: skip
CONCISE: Final[Mapping[str, str]] = {
    "classification": "Answer with the label only.",
    "faq": "Answer in at most three sentences.",
    "extraction": "Answer with what was asked for only, without an introduction.",
    "summarisation": "Be concise.",
    "chat": "Be concise.",
}
_TASKS: Final = (
    ("coding", re.compile(r"```|\b(?:function|bug|refactor|compile|python|javascript|typescript|sql|regex|stack trace|code)\b")),
    ("translation", re.compile(r"\b(?:translate|übersetze?|traduis|traduce|traduci)\b|翻译|翻訳|번역")),
    ("classification", re.compile(r"\b(?:classify|categori[sz]e|label|sentiment|klassifizier\w*|ordne .{1,40} ein)\b")),
    ("extraction", re.compile(r"\b(?:extract|list all|find all|pull out|extrahier\w*|extrais|extrae)\b|抽出|提取")),
    ("summarisation", re.compile(r"\b(?:summar[iy]\w*|tl;?dr|fasse\b|zusammenfass\w*|résum\w*|resum\w*)\b|总结|要約")),
    ("mathematics", re.compile(r"\b(?:prove|theorem|integral|derivative|equation|solve|calculate|beweise?|berechne)\b")),
    ("planning", re.compile(r"\b(?:plan|roadmap|strategy|step by step|design|compare|analy[sz]e)\b")),
)  # fmt: skip
_QUESTION: Final = re.compile(r"^.{1,160}[?？]\s*$")


def task_of(body: Mapping[str, Any]) -> str:
    """Guess the kind of task from the last user message."""
    if body.get("tools"):
        return "tools"
    last = next((m for m in reversed(body["messages"]) if isinstance(m, Mapping) and m.get("role") == "user"), None)
    text = last.get("content") if last is not None else None
    if not isinstance(text, str):
        return "chat"
    # What is asked stands at the beginning or at the end; what lies between is what it is about.
    asked = (text[:600] + "\n" + text[-600:] if len(text) > 1200 else text).lower()
    found = next((task for task, pattern in _TASKS if pattern.search(asked)), None)
    return found or ("faq" if _QUESTION.match(text) else "chat")
