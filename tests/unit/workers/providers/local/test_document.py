from hypothesis import given
from hypothesis import strategies as st

from workers.providers.local.document import Kind, parse

MARKDOWN = """---
author: nobody
---
# The title

An opening with **bold** words and a [link](https://example.org/a_(b)).
It goes on here.

## First part

- One item.
- Another *item*
  over two lines

| a | b |
|---|---|
| cell | cell |

```python
print("Code is no sentence.")
```

Second part
-----------

> A quotation.

<!-- A comment. -->
The end.[^1]
"""


def test_front_matter_code_tables_and_comments_are_left_out() -> None:
    text = " ".join(sentence.text for sentence in parse(MARKDOWN).sentences)
    assert "nobody" not in text and "print" not in text and "cell" not in text and "comment" not in text


def test_inline_markup_and_line_breaks_are_removed() -> None:
    texts = [sentence.text for sentence in parse(MARKDOWN).sentences]
    assert texts == [
        "An opening with bold words and a link.",
        "It goes on here.",
        "One item.",
        "Another item over two lines",
        "A quotation.",
        "The end.",
    ]


def test_headings_of_both_styles_make_sections() -> None:
    document = parse(MARKDOWN)
    assert document.title == "The title"
    assert document.headings == ["", "First part", "Second part"]
    assert [sentence.section for sentence in document.sentences] == [0, 0, 1, 1, 2, 2]


def test_every_sentence_knows_what_it_stood_in() -> None:
    kinds = [sentence.kind for sentence in parse(MARKDOWN).sentences]
    assert kinds == [Kind.PROSE, Kind.PROSE, Kind.ITEM, Kind.ITEM, Kind.QUOTE, Kind.PROSE]


def test_plain_text_headings_are_recognised() -> None:
    document = parse("A Tale of Two Ponds\n\nThe first pond is deep.\n\nThe other pond\n\nIt is shallow.\n")
    assert document.title == "A Tale of Two Ponds"
    assert document.headings == ["", "The other pond"]


@given(st.text(max_size=600))
def test_any_text_can_be_parsed(text: str) -> None:
    for sentence in parse(text).sentences:
        assert sentence.text == " ".join(sentence.text.split()) != ""


@given(
    st.lists(st.sampled_from(["# A", "- b", "> c", "```", "---", "| d |", "e.", "", "===", "<!--", "-->"]), max_size=30)
)
def test_any_mixture_of_markup_can_be_parsed(lines: list[str]) -> None:
    document = parse("\n".join(lines))
    assert all(sentence.section < len(document.headings) for sentence in document.sentences)
