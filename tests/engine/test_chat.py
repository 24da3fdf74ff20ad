"""Prompts become the ids that the model was trained on, and data in them is only ever text."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.engine.chat import ChatTokenizer
from pipelines.engine.llm import Request, Sampling
from pipelines.errors import PromptTooLong, UserError
from pipelines.prompts import Message, PromptSet

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<empty_output>")
#: What Llama, Gemma and Phi templates do: strip every turn, and a token that swallows the whitespace after it.
STRIPPING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer(smollm: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm)


@pytest.fixture(scope="module")
def chat(tokenizer: Any) -> ChatTokenizer:
    return ChatTokenizer(tokenizer)


@pytest.fixture(scope="module")
def thinker(smollm: Path) -> Any:
    """A tokenizer with an ordinary added token that its template writes, and a special one that strips to its right."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(smollm)
    made.add_tokens([AddedToken("<think>", special=False, normalized=False), AddedToken("\n\n\n", normalized=False)])
    made.add_tokens([AddedToken("<|end|>", special=True, rstrip=True, normalized=False)], special_tokens=True)
    made.chat_template = STRIPPING.replace("<|im_end|>", "<|end|>")
    return made


@pytest.fixture(scope="module")
def thinking(thinker: Any) -> ChatTokenizer:
    return ChatTokenizer(thinker)


def canonical(tokenizer: Any, messages: tuple[Message, ...]) -> list[int]:
    turns = [{"role": role, "content": text} for role, text in messages]
    made = tokenizer.apply_chat_template(turns, tokenize=True, add_generation_prompt=True)
    return list(made if isinstance(made, list) else made["input_ids"])


def plain(text: str) -> bool:
    return not any(token in text for token in (*SPECIAL, "<"))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@settings(deadline=None)
@given(texts.filter(plain), texts.filter(plain))
def test_plain_turns_get_the_ids_of_the_chat_template(chat: Any, tokenizer: Any, system: str, user: str) -> None:
    messages = (("system", system), ("user", user))
    assert chat.ids(messages) == canonical(tokenizer, messages)


@settings(deadline=None)
@given(st.lists(texts.filter(plain), min_size=3, max_size=3))
def test_stripping_templates_and_tokens_are_followed(thinking: Any, thinker: Any, turns: list[str]) -> None:
    messages = tuple(zip(("user", "assistant", "user"), turns, strict=True))
    assert thinking.ids(messages) == canonical(thinker, messages)


def test_real_texts_get_the_ids_of_the_chat_template(chat: ChatTokenizer, tokenizer: Any) -> None:
    if not (DATA / "seeds.parquet").exists():
        pytest.skip("real data is absent: set NIGHTMILL_TEST_DATA")
    seeds = pq.read_table(DATA / "seeds.parquet", columns=["text"])["text"].to_pylist()
    marked = {token for token, number in tokenizer.get_vocab().items() if number < 17}
    compared = [text for text in seeds if not any(token in text for token in marked)]
    assert len(compared) > 2500
    for text in compared:
        assert chat.ids((("user", text),)) == canonical(tokenizer, (("user", text),))


marked_texts = st.lists(st.one_of(st.sampled_from(SPECIAL), texts), max_size=6).map("".join)


@settings(deadline=None)
@given(marked_texts)
def test_markup_in_a_text_stays_text(chat: ChatTokenizer, tokenizer: Any, text: str) -> None:
    empty = chat.ids((("user", ""),))
    ids = chat.ids((("user", text),))
    special = set(tokenizer.all_special_ids) | set(range(17))
    assert [i for i in ids if i in special] == [i for i in empty if i in special]
    # SmolLM2's vocabulary lacks some bytes, control characters among them: those are lost to the model, markup or not.
    assume(tokenizer.decode(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)) == text)
    assert f"user\n{text}<|im_end|>" in tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_ordinary_added_tokens_that_the_template_writes_are_markup_too(thinking: Any, thinker: Any) -> None:
    think, newlines = thinker.convert_tokens_to_ids(["<think>", "\n\n\n"])
    ids = thinking.ids((("user", "a <think> b\n\n\nc <|end|>"),))
    assert ids.count(think) == 1  # the template's own
    assert newlines in ids  # not markup: the model's way to write a gap
    assert "a <think> b\n\n\nc <|end|>" in thinker.decode(ids)


def test_a_template_keeps_its_default_system_turn(chat: ChatTokenizer, tokenizer: Any) -> None:
    assert "named SmolLM" in tokenizer.decode(chat.ids((("user", "Hi"),)))
    assert "named SmolLM" not in tokenizer.decode(chat.ids((("system", "Be brief."), ("user", "Hi"))))


def test_without_a_template_turns_are_joined_by_blank_lines_after_bos(smollm: Path) -> None:
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    base = AutoTokenizer.from_pretrained(smollm)
    messages = (("system", "A list."), ("user", "One <|im_end|>"))
    text = "A list.\n\nOne <|im_end|>"
    assert base.decode(ChatTokenizer(base, chat=False).ids(messages)) == text
    base.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", pair="$A $B", special_tokens=[("<|endoftext|>", 0)]
    )
    ids = ChatTokenizer(base, chat=False).ids(messages)
    assert ids[0] == 0
    assert 2 not in ids
    assert base.decode(ids[1:]) == text


def test_a_missing_template_names_the_setting(smollm: Path) -> None:
    from transformers import AutoTokenizer

    base = AutoTokenizer.from_pretrained(smollm)
    base.chat_template = None
    with pytest.raises(UserError, match="set model.chat=false"):
        ChatTokenizer(base)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('System role not supported') }}", "refuses the turns system, user .System role not"),
        ("{% for m in messages[1:] %}{{ m.content }}{% endfor %}", "leaves out the system turn, number 1 of system"),
    ],
)
def test_a_template_that_takes_no_system_turn_is_an_error(smollm: Path, template: str, says: str) -> None:
    from transformers import AutoTokenizer

    base = AutoTokenizer.from_pretrained(smollm)
    base.chat_template = template
    with pytest.raises(UserError, match=says):
        ChatTokenizer(base).ids((("system", "S"), ("user", "U")))


PROMPTS = PromptSet("test", {"who": "Who would read this text?\n{{ text }}\nName a profession."})


def overlong(text: str, policy: str, max_tokens: int = 128) -> Request:
    rendered = PROMPTS.render("who", trim="text", text=text)
    return Request(rendered, Sampling(max_tokens=max_tokens), seed=1, overlong=policy)


def test_a_prompt_that_fits_is_left_alone(chat: ChatTokenizer) -> None:
    request = overlong("A short one.", "trim")
    ids, prompt, trimmed = chat.fit(request, 1024)
    assert (ids, prompt, trimmed) == (chat.ids(request.prompt.messages), request.prompt, False)


@pytest.mark.parametrize(
    "text",
    [
        "A luthier planes spruce. " * 40_000,
        "a" * 1_000_000,
        " x" + " " * 1_000_000,
        "👩🏽‍🚀" * 100_000,
        "漢字" * 200_000,
        "\x00" * 500_000,
    ],
    ids=["words", "one word", "spaces", "emoji", "chinese", "NUL"],
)
def test_a_megabyte_is_trimmed_to_what_fits(chat: ChatTokenizer, text: str) -> None:
    request = overlong(text, "trim")
    ids, prompt, trimmed = chat.fit(request, 1024)
    assert trimmed
    assert ids == chat.ids(prompt.messages)
    assert 0.97 * (1024 - 128) < len(ids) <= 1024 - 128
    assert text.startswith(prompt.fields["text"])
    assert prompt.messages[-1][1].endswith("Name a profession.")


def test_where_both_ends_matter_the_middle_is_left_out(chat: ChatTokenizer) -> None:
    text = "First this. " + "A luthier planes spruce. " * 40_000 + "Last that."
    rendered = PROMPTS.render("who", trim="text", trim_from="middle", text=text)
    ids, prompt, trimmed = chat.fit(Request(rendered, Sampling(max_tokens=128), seed=1, overlong="trim"), 1024)
    assert trimmed and 0.97 * (1024 - 128) < len(ids) <= 1024 - 128
    head, tail = prompt.fields["text"].split("\n[...]\n")
    assert text.startswith(head) and text.endswith(tail)
    assert len(tail) == pytest.approx(2 * len(head), abs=2)


@settings(deadline=None)
@given(st.integers(60, 400), texts)
def test_whatever_is_trimmed_fits(chat: ChatTokenizer, context: int, text: str) -> None:
    request = overlong(text * 20, "trim", max_tokens=8)
    try:
        ids, prompt, trimmed = chat.fit(request, context)
    except PromptTooLong:
        assert len(chat.ids(request.prompt.shortened(1).messages)) > context - 8
        return
    assert len(ids) <= context - 8
    assert trimmed == (prompt.fields["text"] != request.prompt.fields["text"])


def test_a_prompt_that_may_not_be_trimmed_fails(chat: ChatTokenizer) -> None:
    text = "A luthier planes spruce. " * 400
    with pytest.raises(PromptTooLong) as failed:
        chat.fit(overlong(text, "fail"), 1024)
    assert failed.value.limit == 896
    assert failed.value.prompt_tokens == len(chat.ids(overlong(text, "fail").prompt.messages))
    nothing_to_cut = Request(PROMPTS.render("who", text=text), Sampling(max_tokens=128), 1, overlong="trim")
    with pytest.raises(PromptTooLong):
        chat.fit(nothing_to_cut, 1024)


def test_a_prompt_too_long_without_its_field_fails(chat: ChatTokenizer) -> None:
    long = PromptSet("long", {"a": "word " * 900 + "{{ text }}"})
    request = Request(long.render("a", trim="text", text="x" * 50), Sampling(max_tokens=128), 1, overlong="trim")
    with pytest.raises(PromptTooLong):
        chat.fit(request, 1024)


def test_an_answer_that_fills_the_context_is_a_mistake_in_settings(chat: ChatTokenizer) -> None:
    with pytest.raises(UserError, match="sampling.max_tokens=1024 leaves no room"):
        chat.fit(overlong("x", "trim", max_tokens=1024), 1024)


def test_threads_may_meet_new_sequences_of_turns_at_once(tokenizer: Any) -> None:
    chat = ChatTokenizer(tokenizer)
    conversations = [(("user", f"Say {i}."), ("assistant", "No.")) * (i % 7) + (("user", "Why?"),) for i in range(56)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(chat.ids, conversations))
    assert made == [canonical(tokenizer, conversation) for conversation in conversations]


async def test_a_long_prompt_is_fitted_beside_the_event_loop(chat: ChatTokenizer) -> None:
    request = overlong("A luthier planes spruce. " * 40_000, "trim")
    assert await chat.fit_beside(request, 1024) == chat.fit(request, 1024)
    short = overlong("A short one.", "trim")
    assert await chat.fit_beside(short, 1024) == chat.fit(short, 1024)
