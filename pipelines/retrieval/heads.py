"""Which models give a pair of texts a number, by what their configurations say of them."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.errors import UserError

#: Families whose checkpoints answer in words.
_FAMILIES = ("t5", "mt5", "umt5", "longt5")


def has_head(architectures: Sequence[str] | None, labels: int) -> bool:
    """Whether a model comes with a head that turns a pair into one number, as a published cross-encoder does."""
    return labels == 1 and any(one.endswith("ForSequenceClassification") for one in architectures or ())


def answers_in_words(architectures: Sequence[str] | None, family: str) -> bool:
    """Whether a model is a T5 that can say true or false of a pair, and no encoder."""
    return family in _FAMILIES and any(one.endswith("ForConditionalGeneration") for one in architectures or ())


def headless(said: str) -> UserError:
    """What is said of a model that is to rank as it is and cannot; ``said`` is the setting with its value."""
    return UserError(
        f"{said}: has no head that turns a pair into one number, so it ranks by chance; name a cross-encoder or a T5, "
        "or one that recipe=train_retriever has trained"
    )
