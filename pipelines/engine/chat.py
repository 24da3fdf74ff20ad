"""From the turns of a prompt to token ids, so that data is never interpreted.

``[("user", "Say <|im_end|>")]`` becomes the chat template's own tokens around the plain text of the turn. Special
tokens come from the template alone; the same characters in a text are encoded as characters. Text without such markup
gets exactly the ids of ``apply_chat_template(tokenize=True)``. Nothing here knows of engines.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import settings
from pipelines.engine.llm import Request
from pipelines.engine.weights import resolve
from pipelines.errors import PromptTooLong, UserError
from pipelines.prompts import Message, Rendered

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Whitespace around a slot when the template is rendered: it shows whether the template strips its turns.
_PAD = " \n"
#: Characters of text per token that no ordinary text exceeds; longer fields are cut to it before they are tokenised.
_CHARS_PER_TOKEN = 16
#: Above this many characters a prompt takes more than about 20 ms to tokenise (measured: 2.2 MB/s).
_LONG_CHARS = 40_000


def load(model: settings.Model) -> ChatTokenizer:
    """The tokenizer of a model, from ``model.tokenizer`` or beside its weights.

    Raises:
        UserError: it is not there, or is of a kind that cannot keep markup in data apart.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise UserError(
            "a tokenizer is needed here and transformers is not installed; pip install transformers"
        ) from None
    setting, name = ("model.tokenizer", model.tokenizer) if model.tokenizer else ("model.weights", model.weights)
    where = resolve(name, None if model.tokenizer else model.revision, setting=setting)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            where,
            revision=None if model.tokenizer else model.revision,
            trust_remote_code=model.trust_remote_code,
        )
    except OSError as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(f"{setting}={name}: no tokenizer there ({why}); name another with model.tokenizer") from error
    return ChatTokenizer(tokenizer, chat=model.chat)


@dataclass(frozen=True, slots=True)
class _Slot:
    """Where a turn's text goes, and on which sides the template strips it."""

    turn: int
    left: bool
    right: bool

    def fill(self, text: str) -> str:
        text = text.lstrip() if self.left else text
        return text.rstrip() if self.right else text


class ChatTokenizer:
    """Tokenises prompts for one model.

    A copy of the tokenizer is told to read every special token as text. The special tokens that the template writes
    are replaced in it by stand-ins, added tokens of random private-use characters that no data holds; after encoding,
    their ids become the real ones. So one call tokenises a whole prompt, and what lies beside a special token is
    treated (stripped, prefixed) exactly as the model's own tokenizer would.
    """

    def __init__(self, tokenizer: Any, *, chat: bool = True) -> None:
        """Take a Hugging Face tokenizer; ``chat`` false joins turns by blank lines, whatever template it has.

        Raises:
            UserError: the tokenizer has no chat template, or is not backed by the ``tokenizers`` library.
        """
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise UserError(
                f"model.tokenizer: {type(tokenizer).__name__} keeps no tokenizer.json, so markup in data could not be "
                "told from the model's own; name a repository that has one"
            )
        if chat and not tokenizer.chat_template:
            raise UserError("model.chat=true, but this model's tokenizer has no chat template; set model.chat=false")
        self._tokenizer = tokenizer
        self._skeletons: dict[tuple[str, ...], tuple[str | _Slot, ...]] = {}
        self._template = tokenizer.get_chat_template() if chat else ""
        added = backend.get_added_tokens_decoder()
        self._markup = {token.content: (number, token) for number, token in added.items() if self._is_markup(token)}
        self._encoder = self._copy(backend)
        self._real: dict[int, int] = {}
        self._stand_ins: dict[str, str] = {}
        self._rendering = threading.Lock()
        self._prefix = [] if chat else _prefix(tokenizer)

    def ids(self, messages: tuple[Message, ...]) -> list[int]:
        """Token ids of a conversation, ending where the model's next answer begins."""
        if self._template:
            skeleton = self._skeleton(tuple(role for role, _ in messages))
            text = "".join(part if isinstance(part, str) else part.fill(messages[part.turn][1]) for part in skeleton)
        else:
            text = "\n\n".join(content for _, content in messages)
        # The batch call lets go of the GIL; the single one does not.
        (encoding,) = self._encoder.encode_batch_fast([text], add_special_tokens=False)
        real = self._real
        return [*self._prefix, *(real.get(number, number) for number in encoding.ids)]

    def fit(self, request: Request, context: int) -> tuple[list[int], Rendered, bool]:
        """Token ids of a request that leave room for its answer, the prompt they are of, and whether it was trimmed.

        Args:
            request: ``overlong`` says what happens to a prompt that does not fit; ``prompt.trim`` what may be cut.
            context: longest prompt plus answer, in tokens.

        Raises:
            PromptTooLong: it does not fit, and may not be trimmed or would have nothing left of the field.
            UserError: ``sampling.max_tokens`` alone fills the context.
        """
        limit, prompt = context - request.sampling.max_tokens, request.prompt
        if limit < 1:
            raise UserError(
                f"sampling.max_tokens={request.sampling.max_tokens} leaves no room for a prompt in "
                f"model.context={context}; lower the first or raise the second"
            )
        if request.overlong == "trim" and prompt.trim is not None:
            return self._trimmed(prompt, prompt.trim, limit)
        ids = self.ids(prompt.messages)
        if len(ids) > limit:
            raise PromptTooLong(len(ids), limit)
        return ids, prompt, False

    async def fit_beside(self, request: Request, context: int) -> tuple[list[int], Rendered, bool]:
        """As ``fit``; a long prompt is tokenised in a thread, so that the event loop goes on."""
        if sum(len(text) for _, text in request.prompt.messages) > _LONG_CHARS:
            return await asyncio.to_thread(self.fit, request, context)
        return self.fit(request, context)

    def _trimmed(self, prompt: Rendered, name: str, limit: int) -> tuple[list[int], Rendered, bool]:
        """The longest start of the field ``name`` that fits, within 1/64 of ``limit``."""
        whole = len(str(prompt.fields[name]))
        high = min(whole, _CHARS_PER_TOKEN * limit)
        while True:
            cut = prompt.shortened(high) if high < whole else prompt
            ids = self.ids(cut.messages)
            if len(ids) > limit:
                break
            if high == whole:
                return ids, prompt, False
            high = min(whole, 4 * high)
        over, low, best = len(ids), 0, prompt.shortened(0)
        best_ids = self.ids(best.messages)
        step = 0
        while high - low > 1 and limit - len(best_ids) > limit // 64:
            step += 1
            share = (limit - len(best_ids)) / max(over - len(best_ids), 1)
            # Tokens grow evenly with characters, so the straight line between the two ends finds the place in a few
            # steps; every third step halves, so that uneven text cannot make it crawl.
            middle = low + int((high - low) * (0.5 if step % 3 == 0 else share))
            middle = min(max(middle, low + 1), high - 1)
            cut = prompt.shortened(middle)
            ids = self.ids(cut.messages)
            if len(ids) > limit:
                high, over = middle, len(ids)
            else:
                low, best, best_ids = middle, cut, ids
        if low == 0:
            raise PromptTooLong(len(self.ids(prompt.messages)), limit)
        return best_ids, best, True

    def _is_markup(self, token: Any) -> bool:
        """Special tokens, and those added ones that the chat template writes (newline runs of some models are not)."""
        text = token.content
        names = any(c.isalnum() for c in text) and not text.isalnum()
        return bool(token.special) or (names and text in self._template)

    def _skeleton(self, roles: tuple[str, ...]) -> tuple[str | _Slot, ...]:
        if roles not in self._skeletons:
            with self._rendering:
                self._skeletons[roles] = self._render(roles)
        return self._skeletons[roles]

    def _render(self, roles: tuple[str, ...]) -> tuple[str | _Slot, ...]:
        from jinja2 import TemplateError

        mark = secrets.token_hex(16)
        turns = [{"role": role, "content": f"{_PAD}{mark}x{i}x{_PAD}"} for i, role in enumerate(roles)]
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise UserError(
                f"model.weights: its chat template refuses the turns {', '.join(roles)} ({error}); choose prompts that "
                "fit it (an empty prompt.system where it takes no system turn), or another model"
            ) from error
        # Around a slot, the padding is there unless the template stripped it.
        pieces = re.split(rf"((?:{_PAD})?{mark}x\d+x(?:{_PAD})?)", text)
        slots: list[str | _Slot] = []
        for piece in pieces:
            found = re.search(rf"{mark}x(\d+)x", piece)
            if found is None:
                slots.append(self._with_stand_ins(piece))
            else:
                slots.append(_Slot(int(found[1]), not piece.startswith(_PAD), not piece.endswith(_PAD)))
        placed = {slot.turn for slot in slots if isinstance(slot, _Slot)}
        if missing := set(range(len(roles))) - placed:
            raise UserError(
                f"model.weights: its chat template leaves out the {roles[min(missing)]} turn, number "
                f"{min(missing) + 1} of {', '.join(roles)}; choose prompts without it, or another model"
            )
        return tuple(slots)

    def _with_stand_ins(self, literal: str) -> str:
        if not self._markup:
            return literal
        longest_first = sorted(self._markup, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda found: self._stand_in(found[0]), literal)

    def _stand_in(self, markup: str) -> str:
        """An added token that no data holds, with the whitespace habits of ``markup``."""
        from tokenizers import AddedToken

        if markup not in self._stand_ins:
            number, token = self._markup[markup]
            name = f"\ue000{secrets.token_hex(16)}\ue001"
            twin = AddedToken(name, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False, special=False)
            # Other threads may be encoding: they keep the encoder they have, whose ids are the same.
            encoder = self._copy(self._encoder)
            encoder.add_tokens([twin])
            self._real = {**self._real, int(encoder.token_to_id(name) or 0): number}
            self._encoder = encoder
            self._stand_ins[markup] = name
        return self._stand_ins[markup]

    def _copy(self, backend: Any) -> Tokenizer:
        """A tokenizer like ``backend`` that reads all markup as text."""
        from tokenizers import Tokenizer

        copy = Tokenizer.from_str(backend.to_str())
        copy.no_truncation()
        copy.no_padding()
        # Marks as special also those that the publisher left ordinary, such as <think>, but that the template writes.
        copy.add_special_tokens([token for _, token in self._markup.values()])
        copy.encode_special_tokens = True
        return copy


def _prefix(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a plain text: usually nothing, or its beginning-of-sequence token."""
    plain = tokenizer.encode("a", add_special_tokens=False)
    whole = tokenizer.encode("a")
    for start in range(len(whole)):
        if whole[start : start + len(plain)] == plain:
            return list(whole[:start])
    return []
