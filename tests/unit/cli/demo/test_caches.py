"""The demo's prewarm: what it fills and what it asks for are the same."""

from itertools import product

from cli.demo.caches import CATEGORIES, ENTRIES, SEGMENTS, _card
from policies.cache_keys import cacheable
from policies.schedules import combination, fill


def test_the_schedule_fills_exactly_what_users_ask_for() -> None:
    template, matrix = _card("{{segment}}", "{{category}}"), {"segment": list(SEGMENTS), "category": list(CATEGORIES)}
    filled = [fill(template, combination(matrix, number)) for number in range(ENTRIES)]
    asked = [_card(segment, category) for segment, category in product(SEGMENTS, CATEGORIES)]
    assert sorted(map(str, filled)) == sorted(map(str, asked))


def test_there_are_two_hundred_different_cards_and_their_answers_may_be_kept() -> None:
    cards = [_card(segment, category) for segment, category in product(SEGMENTS, CATEGORIES)]
    assert len(set(map(str, cards))) == ENTRIES == 200
    assert all(cacheable(card["endpoint"], card["body"]) for card in cards)
