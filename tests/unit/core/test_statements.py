from importlib.resources import files

import pytest

from core.store.statements import statement

NAMES = sorted(
    path.name.removesuffix(".sql")
    for path in files("core.store").joinpath("sql").iterdir()
    if path.name.endswith(".sql") and not path.name.startswith("_")
)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_is_complete_without_its_comments(name: str) -> None:
    text = statement(name).text
    assert "--" not in text
    assert text.count("(") == text.count(")")
    assert text.split()[0] in ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_file_says_what_it_is_for(name: str) -> None:
    source = files("core.store").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    assert source.startswith("-- ")


def test_the_words_of_a_comment_are_no_parameters() -> None:
    parameters = set(statement("claim").compile().params)
    assert parameters == {"lane", "process_id", "most", "bytes", "model", "room", "deployment"}


def test_an_unknown_statement_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        statement("no_such_statement")
