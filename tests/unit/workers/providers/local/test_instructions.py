import pytest

from workers.providers.local.instructions import Shape, Wish, read_wish, split_instruction


@pytest.mark.parametrize(
    ("instruction", "wish"),
    [
        ("Summarize the following in 3 sentences:", Wish(Shape.PARAGRAPH, 3)),
        ("Give me five short, clear bullet points", Wish(Shape.BULLETS, 5, scale=0.5)),
        ("Fasse den Text in zwei Sätzen zusammen", Wish(Shape.PARAGRAPH, 2)),
        ("Nenne sechs Stichpunkte", Wish(Shape.BULLETS, 6)),
        ("Résumez ce texte en quatre phrases", Wish(Shape.PARAGRAPH, 4)),
        ("Resume el texto en tres frases", Wish(Shape.PARAGRAPH, 3)),
        ("in at most 100 words", Wish(words=100)),
        ("You write detailed summaries.", Wish(scale=2.0)),
        ("You are helpful.", Wish()),
    ],
)
def test_wishes_are_understood_in_four_languages(instruction: str, wish: Wish) -> None:
    assert read_wish(instruction) == wish


def test_the_users_wish_overrides_the_systems() -> None:
    assert read_wish("Always answer in 7 sentences.", "in two sentences").count == 2


@pytest.mark.parametrize(
    "message",
    [
        "Summarize the following in 3 sentences:\n\nThe pond is deep.",
        "Summarize this text in 3 sentences: The pond is deep.",
        "Please summarise the article.\nThe pond is deep.",
        "Could you please summarize this text\n\nText:\nThe pond is deep.",
        "Fasse den Text zusammen:\nThe pond is deep.",
        "Résume ce texte :\nThe pond is deep.",
    ],
)
def test_a_leading_instruction_is_told_from_the_text(message: str) -> None:
    instruction, text = split_instruction(message)
    assert text.strip() == "The pond is deep."
    assert instruction


@pytest.mark.parametrize(
    "message",
    ["The pond is deep.", "List prices rose.\nNobody bought.", "Writers: a history\n\nThey wrote.", "Summarize", ""],
)
def test_a_text_that_only_sounds_like_an_instruction_stays_whole(message: str) -> None:
    assert split_instruction(message) == ("", message)
