"""Wording that several commands share."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 job`, `2 jobs`; `plural` for nouns that take more than an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
