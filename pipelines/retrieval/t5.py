"""Rerankers of the monoT5 kind (papers.md 4.3): a T5 is asked whether a document is relevant, and says true or false.

What counts is how much likelier ``true`` is than ``false`` as the first word of the answer, over these two alone: the
logistic function of the number that comes out is P(true). The words of the question are those that published rerankers
were trained with. Of a pair that is too long the document loses its end, never the cue after it (papers.md 4.8, 7).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.modules.input_module import InputModule
from torch import Tensor
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer

from pipelines.engine.weights import resolve
from pipelines.errors import UserError
from pipelines.retrieval.heads import answers_in_words

_QUERY, _DOCUMENT, _CUE = "Query:", "Document:", "Relevant:"


def reads_as_t5(name: str) -> bool:
    """Whether a model, by hub id, path or ``packaged:NAME``, is a T5 that answers in words, and no encoder."""
    config = AutoConfig.from_pretrained(resolve(name))
    return answers_in_words(config.architectures, config.model_type)


class T5Verdict(InputModule):  # type: ignore[misc]
    """The one module of a cross-encoder: pairs of a query and a document to log P(true) - log P(false)."""

    config_file_name = "verdict_config.json"  # config.json is the T5's own
    config_keys = ["max_seq_length"]

    def __init__(self, place: str, max_seq_length: int) -> None:
        """``place`` is a folder or hub id.

        Raises:
            UserError: ``true`` or ``false`` are no single words of its vocabulary.
        """
        super().__init__()
        self.auto_model = AutoModelForSeq2SeqLM.from_pretrained(place)
        self.tokenizer = AutoTokenizer.from_pretrained(place)
        self.max_seq_length = max_seq_length
        self._words = [self._one(word, place) for word in ("true", "false")]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **more: Any) -> dict[str, Tensor]:
        """Tokens of pairs, padded to the longest; a text alone, as a model card's statistics have it, is a query's."""
        pairs = [(one, "") if isinstance(one, str) else one for one in inputs]
        cue = self._tokens([_CUE])[0]
        heads = self._tokens([f"{_QUERY} {query} {_DOCUMENT}" for query, _ in pairs])
        bodies = self._tokens([document for _, document in pairs])
        end = [self.tokenizer.eos_token_id]
        rows = []
        for head, body in zip(heads, bodies, strict=True):
            rows.append([*head, *body[: max(0, self.max_seq_length - len(head) - len(cue) - 1)], *cue, *end])
        padded: dict[str, Tensor] = dict(self.tokenizer.pad({"input_ids": rows}, return_tensors="pt"))
        return padded

    def forward(self, features: dict[str, Tensor], **more: Any) -> dict[str, Tensor]:
        """The features with ``scores``, shape (pairs, 1)."""
        ids = features["input_ids"]
        start = torch.full((len(ids), 1), self.auto_model.config.decoder_start_token_id, device=ids.device)
        logits = self.auto_model(
            input_ids=ids, attention_mask=features["attention_mask"], decoder_input_ids=start
        ).logits[:, 0, self._words]
        return {**features, "scores": logits[:, :1] - logits[:, 1:]}

    def save(self, output_path: str, *arguments: Any, safe_serialization: bool = True, **more: Any) -> None:
        """Write model, tokenizer and settings; transformers reads the folder too."""
        self.auto_model.save_pretrained(output_path)
        self.save_tokenizer(output_path)
        self.save_config(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, **more: Any) -> T5Verdict:
        """What ``save`` wrote."""
        return cls(model_name_or_path, **cls.load_config(model_name_or_path))

    def _one(self, word: str, place: str) -> int:
        [*tokens] = self._tokens([word])[0]
        if len(tokens) != 1 or tokens[0] == self.tokenizer.unk_token_id:
            raise UserError(
                f"recipe.reranker={place}: {word!r} is no single word of its vocabulary, and a T5 reranker answers "
                "true or false; choose another"
            )
        return int(tokens[0])

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return found
