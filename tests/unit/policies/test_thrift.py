import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.catalog import Thrift
from policies.protected import parts
from policies.task_kinds import MAX_TOKENS, task_of
from policies.thrift import OMITTED, plan, trimmed, with_summary

CHAT = "/v1/chat/completions"
TRIM, DROP = Thrift(trim=True), Thrift(fit_history="drop")
SUMMARISE = Thrift(fit_history="summarise", summary_model="small")

blanks = st.sampled_from(
    [" ", "  ", "     ", "\n", "\n\n", "\n\n\n\n", " \n", "\t", "x", "two  words", "End.  ", "  - item", "| a  | b |"]
)
prose = st.lists(blanks, max_size=8).map("".join)
inside = st.lists(st.sampled_from(["a  =  1", "\n", "\n\n\n", "    ", "\t", "{", "}", "`", "  "]), max_size=8).map(
    "".join
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("two  blanks \n\n\n here"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=4) | st.lists(
    values, min_size=1, max_size=4
)


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def count(body: Mapping[str, Any]) -> int:
    """One token a word and blank line, and three a message: enough to see what is saved."""
    return sum(3 + len(str(m.get("content") or "").replace(" ", "\n").split("\n")) for m in body["messages"])


@given(prose, inside.filter(lambda code: "```" not in code), prose)
def test_what_stands_inside_a_fence_never_changes(before: str, code: str, after: str) -> None:
    block = f"```python\n{code}\n```"
    assert block in trimmed(f"{before}\n{block}\n{after}")


@given(prose, inside.filter(lambda code: "```" not in code))
def test_a_fence_that_is_not_closed_protects_the_rest(before: str, code: str) -> None:
    block = f"```\n{code}"
    assert trimmed(f"{before}\n{block}").endswith(block)


@given(prose, objects, st.sampled_from([None, 2, "\t"]), prose)
def test_json_never_changes(before: str, value: Any, indent: int | str | None, after: str) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False, separators=(" ,  ", "  :  "))
    assert text in trimmed(f"{before} {text} {after}")
    assert trimmed(text) == text


@given(st.text(alphabet=" \n\t`~{}[]\"':,ab1|<>/\\", max_size=200))
def test_trimming_loses_blanks_only_and_a_second_time_nothing(text: str) -> None:
    once = trimmed(text)
    assert "".join(once.split()) == "".join(text.split())
    assert len(once) <= len(text)
    assert "".join(part.text for part in parts(text)) == text


def test_idle_blanks_in_prose_go() -> None:
    assert trimmed("One  two   three. \n\n\n\nFour.") == "One two three.\n\nFour."


@pytest.mark.parametrize(
    "text", ["[" * 5000, "{" * 400 + "a  b", "a" * 300_000 + "  b", "[1," * 3000, "<pre>a  b", "`a  b`", "a | b  |"]
)
def test_what_cannot_be_told_from_code_stays(text: str) -> None:
    assert trimmed(text) == text


def test_nothing_is_done_that_was_not_asked_for() -> None:
    body = {"messages": [user("a   b\n\n\n\nc")] * 50, "model": "m"}
    planned = plan(CHAT, body, Thrift(), count, context_length=10)
    assert planned.body is body and planned.saved_tokens == 0 and planned.done == ()
    assert plan("/v1/embeddings", {"input": "a   b"}, TRIM, count).body == {"input": "a   b"}


def test_the_request_itself_is_never_changed_and_savings_are_told() -> None:
    body: dict[str, Any] = {"messages": [{"role": "system", "content": "Be  kind."}, user("a     b")], "model": "m"}
    planned = plan(CHAT, body, TRIM, count)
    assert body["messages"][1]["content"] == "a     b"
    assert planned.body["messages"] == [{"role": "system", "content": "Be  kind."}, user("a b")]
    assert (planned.saved_tokens, planned.done) == (4, ("trimmed blanks",))


def test_pictures_and_calls_pass_through_untouched() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a  b.png"}}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"arguments": '{"a":  1}'}}]}
    body = {"messages": [call, {"role": "user", "content": [picture, {"type": "text", "text": "what  is  this"}]}]}
    messages = plan(CHAT, body, TRIM, count).body["messages"]
    assert messages[0] == call and messages[1]["content"][0] == picture
    assert messages[1]["content"][1]["text"] == "what is this"


def test_a_document_sent_again_is_left_out_the_second_time() -> None:
    document = "The river was straightened in the nineteenth century. " * 8
    code = "```\n" + "x = 1\n" * 60 + "```"
    body = {
        "messages": [
            user(f"{document}\n\n{code}\n\nWhen?"),
            {"role": "assistant", "content": document},
            user(f"{document}\n\n{code}\n\nWhy?"),
        ]
    }
    planned = plan(CHAT, body, TRIM, count)
    first, answer, second = (message["content"] for message in planned.body["messages"])
    assert document.strip() in first and answer.strip() == document.strip()
    assert OMITTED in second and "straightened" not in second and code in second and second.endswith("Why?")
    assert planned.saved_tokens > 50


conversations = st.lists(
    st.sampled_from(["system", "user", "assistant", "tool"]).flatmap(
        lambda r: st.integers(1, 30).map(lambda n: (r, n))
    ),
    max_size=20,
)


@given(conversations, st.integers(20, 400), st.sampled_from([DROP, SUMMARISE]))
def test_a_fitted_conversation_keeps_instructions_and_the_latest_turn_in_order(
    told: list[tuple[str, int]], context: int, thrift: Thrift
) -> None:
    messages = [{"role": "system", "content": "rules"}]
    messages += [{"role": role, "content": f"{number} " * words} for number, (role, words) in enumerate(told)]
    messages.append(user("the last question"))
    planned = plan(CHAT, {"messages": messages}, thrift, count, context_length=context)
    kept = planned.body["messages"]
    numbers = [messages.index(message) for message in kept]
    assert numbers == sorted(numbers)
    assert [m for m in kept if m["role"] == "system"] == [m for m in messages if m["role"] == "system"]
    assert kept[-1] == messages[-1]
    spoken = [m for m in kept if m["role"] != "system"]
    if planned.done:
        assert spoken[0]["role"] == "user", "an answer of a tool must not lose the call it belongs to"
        assert planned.saved_tokens > 0
        assert count(planned.body) < context
    else:
        assert kept == messages


def test_a_conversation_is_cut_no_more_than_needed() -> None:
    turns = [m for n in range(20) for m in (user(f"question {n}"), {"role": "assistant", "content": f"answer {n}"})]
    body = {"messages": [*turns, user("last")], "max_tokens": 50}
    planned = plan(CHAT, body, DROP, count, context_length=102)
    fitted = count(planned.body)
    assert 40 <= fitted <= 50
    assert planned.body["messages"][-1] == user("last")


def test_what_is_dropped_can_be_summarised_and_put_in_its_place() -> None:
    system = {"role": "system", "content": "rules"}
    old = [user("my name is Ada " * 20), {"role": "assistant", "content": "noted " * 20}]
    planned = plan(CHAT, {"messages": [system, *old, user("who am I?")]}, SUMMARISE, count, context_length=120)
    assert planned.summary is not None and planned.summary.model == "small"
    assert "my name is Ada" in planned.summary.messages[0]["content"]
    assert planned.body["messages"] == [system, user("who am I?")]
    full = with_summary(planned, " The user is Ada. ")
    assert [m["role"] for m in full["messages"]] == ["system", "system", "user"]
    assert full["messages"][1]["content"].endswith("The user is Ada.")


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Classify the sentiment: great!", "classification"),
        ("Extract all dates from: …", "extraction"),
        ("Fasse den Text zusammen", "summarisation"),
        ("Fix this bug in my python code", "coding"),
        ("Translate to French: hello", "translation"),
        ("What is the capital of France?", "faq"),
        ("I feel lonely today.", "chat"),
        ("Prove the theorem", "mathematics"),
    ],
)
def test_kinds_of_tasks_are_told_apart(text: str, task: str) -> None:
    assert task_of({"messages": [user(text)]}) == task


def test_a_default_limit_and_a_hint_follow_the_task_and_never_override() -> None:
    thrift = Thrift(max_tokens=True, concise_hint=True)
    planned = plan(CHAT, {"messages": [user("Classify: good")]}, thrift, count)
    assert planned.body["max_tokens"] == MAX_TOKENS["classification"]
    assert planned.body["messages"][0]["role"] == "system"
    own = {"messages": [user("Classify: good")], "max_tokens": 7}
    assert plan(CHAT, own, Thrift(max_tokens=True), count).body is own
    assert "max_tokens" not in plan(CHAT, {"messages": [user("Classify: good")]}, thrift, count, reasons=True).body
    code = {"messages": [user("refactor this code")]}
    assert plan(CHAT, code, thrift, count).body is code
    shaped = {"messages": [user("Classify: good")], "response_format": {"type": "json_object"}}
    assert plan(CHAT, shaped, thrift, count).body is shaped
