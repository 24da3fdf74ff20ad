"""What is wrong with a recipe over a collection is said when it is composed, before a night is spent on it."""

from pathlib import Path

import pytest

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.face import retrieval_check


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["recipe.template=scifcat"], "no kind of task of prompt promptagator; did you mean scifact"),
        (["recipe.examples=3"], "recipe.template=zero_shot shows none; set recipe.examples=0"),
        (["recipe.template=fiqa", "recipe.examples=9"], "recipe.examples=9: must be"),
    ],
)
def test_a_template_that_is_none_is_named(more, said, place):
    with pytest.raises(UserError, match=said):
        compose(["recipe=promptagator", f"input={place}", "output=x", *more])


def test_a_template_brings_its_eight_examples(place):
    found = [
        compose(["recipe=promptagator", f"input={place}", "output=x", *more])["recipe"]["examples"]
        for more in ([], ["recipe.template=scifact"], ["recipe.template=scifact", "recipe.examples=0"])
    ]
    assert found == [0, 8, 0]


@pytest.mark.parametrize(
    ("recipe", "more", "said"),
    [
        ("bm25", ["recipe.stemmer=germn"], "recipe.stemmer=germn: must be null or one of"),
        ("train_retriever", ["recipe.train_split=test"], "recipe.train_split=test: is recipe.split too"),
        ("train_retriever", ["recipe.train_split=dev"], "recipe.train_split=dev: no judgement is of this split"),
        (
            "inpars",
            ["recipe.judge=packaged:all-minilm-l6-v2"],
            "only recipe.variant=v2 asks",
        ),
        ("inpars", ["recipe.variant=v2", "recipe.judge=/no/such"], "recipe.judge=/no/such: no such directory"),
        ("inpars", ["recipe.encoder=packaged:nothing"], "recipe.encoder=packaged:nothing: no such packaged weights"),
        ("inpars", ["recipe.negative_first=2000"], "recipe.negative_first=2000: must be at most recipe.negative_depth"),
        (
            "inpars",
            ["recipe.scale=small", "recipe.workers=3"],
            "recipe.batch=16: must be a multiple of",
        ),
        ("inpars", ["recipe.split=dev"], "recipe.split=dev: no judgement is of this split"),
        (
            "promptagator",
            ["recipe.template=fiqa", "recipe.examples_split=dev"],
            "recipe.examples_split=dev: no",
        ),
    ],
)
def test_what_would_fail_late_in_the_night_is_named_at_the_start(recipe, more, said, place):
    with pytest.raises(UserError, match=said):
        compose([f"recipe={recipe}", f"input={place}", "output=x", *more])


def test_packages_that_are_not_installed_are_named(place, monkeypatch):
    monkeypatch.setattr(retrieval_check, "find_spec", lambda name: None if name == "bm25s" else name)
    with pytest.raises(UserError, match="recipe=bm25: bm25s is not installed; pip install 'nightmill.retrieval.'"):
        compose(["recipe=bm25", f"input={place}", "output=x"])


def test_a_bare_corpus_is_enough_where_nothing_is_measured(place):
    for name in ("queries", "qrels"):
        (place / f"{name}.parquet").unlink()
    compose(["recipe=inpars", f"input={place}", "output=x", "recipe.until=queries"])
    with pytest.raises(UserError, match="the collection has no judgements"):
        compose(["recipe=inpars", f"input={place}", "output=x"])


def test_a_collection_that_is_none_is_one_mistake(tmp_path):
    Path(tmp_path / "notes.txt").write_text("no corpus")
    with pytest.raises(UserError) as caught:
        compose(["recipe=bm25", f"input={tmp_path}", f"output={tmp_path}/run"])
    assert str(caught.value).count("\n") == 0 and "has no corpus" in str(caught.value)
