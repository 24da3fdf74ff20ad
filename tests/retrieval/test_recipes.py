"""Recipes over a collection, end to end: accounts, figures, files, and what a changed collection means."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import RunStopped, UserError
from pipelines.recipe import stages_of
from pipelines.run import run
from pipelines.verbs.verify import verify


@pytest.fixture
def bm25(any_layout, tmp_path):
    """A run of recipe=bm25, and its folder."""
    config = compose(["recipe=bm25", f"input={any_layout}", f"output={tmp_path}/run"])
    return run(config), tmp_path / "run"


def test_bm25_ranks_the_judged_queries(bm25):
    told, place = bm25
    assert (told["rows_in"], told["rows_accepted"]) == (3, 2)
    assert told["stages"]["judged"]["items_rejected"] == {"not_judged": 1}
    figures = json.loads((place / "stats.json").read_text())["arms"]["BM25"]
    assert figures["recall@100"] == 1.0 and 0.5 < figures["nDCG@10"] < 1.0
    lines = [line.split()[:4] for line in (place / "runs" / "bm25.trec").read_text().splitlines()]
    assert lines == [["q1", "Q0", "d5", "1"], ["q1", "Q0", "d1", "2"], ["q2", "Q0", "d2", "1"]]
    proof = verify(str(place))
    assert (proof["ok"], proof["complete"]) == (True, True)


@pytest.fixture
def over(place, tmp_path):
    """Runs recipe=bm25 over the collection in Parquet."""
    return lambda *more: run(compose(["recipe=bm25", f"input={place}", f"output={tmp_path}/run", *more]))


def test_a_flipped_byte_of_an_index_is_named(over, tmp_path):
    over()
    [made] = (tmp_path / "run" / "stages").glob("*lexicon*/made")
    for file in sorted(path for path in made.rglob("*") if path.is_file()):
        sound = file.read_bytes()
        file.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
        [defect] = verify(f"{tmp_path}/run")["defects"]
        assert f"stage lexicon: made/{file.name} is not as it was made" in defect
        file.write_bytes(sound)
    assert verify(f"{tmp_path}/run")["ok"]


def test_the_same_command_adds_nothing_and_brings_lost_runs_back(over, tmp_path):
    before = over()
    (tmp_path / "run" / "runs" / "bm25.trec").unlink()
    assert not verify(f"{tmp_path}/run")["complete"]
    after = over()
    assert after["stages"] == before["stages"]
    assert (tmp_path / "run" / "runs" / "bm25.trec").exists()


def test_judgements_that_change_are_another_setting(over, place, tmp_path):
    over()
    rows = {"query_id": ["q3"], "doc_id": ["d2"], "score": [1]}
    pq.write_table(pa.table(rows), place / "qrels.parquet")
    with pytest.raises(UserError, match="judged: settings changed"):
        over()
    told = over("redo=changed")
    assert told["rows_accepted"] == 1 and told["arms"]["BM25"]["nDCG@10"] == 0.0


def test_rankings_that_are_there_are_measured_beside_each_other(over, place, tmp_path):
    over()
    (tmp_path / "worse.trec").write_text("q1 Q0 d2 1 9 x\nq1 Q0 d5 2 8 x\n")
    runs = f"recipe.runs={{bm25: {tmp_path}/run/runs/bm25.trec, worse: {tmp_path}/worse.trec}}"
    told = run(compose(["recipe=evaluate", f"input={place}", f"output={tmp_path}/evaluated", runs]))
    assert told["arms"]["bm25"] == json.loads((tmp_path / "run" / "stats.json").read_text())["arms"]["BM25"]
    assert told["arms"]["worse"]["nDCG@10"] < told["arms"]["bm25"]["nDCG@10"]
    assert list(told["compared"]) == ["worse"]


def test_a_ranking_of_ours_that_was_reranked_is_one_like_others(over, place, tmp_path):
    over()
    runs = tmp_path / "run" / "runs"
    (runs / "reranked.trec").write_text((runs / "bm25.trec").read_text())
    given = ["recipe=evaluate", f"input={place}", f"output={tmp_path}/both", "dedup.embedding.device=cpu"]
    both = f"recipe.runs=[{runs}/bm25.trec,{runs}/reranked.trec]"
    told = run(compose([*given, both]))
    assert list(told["arms"]) == ["bm25", "reranked"] and told["arms"]["bm25"] == told["arms"]["reranked"]
    with pytest.raises(UserError, match="recipe.runs: reranked is what recipe.reranker's ranking is called"):
        compose([*given, both, "recipe.reranker=packaged:all-minilm-l6-v2"])


def test_one_of_them_is_reranked_by_a_model_that_is_named(over, place, ranker, tmp_path):
    over()
    given = [f"input={place}", f"output={tmp_path}/reranked", "dedup.embedding.device=cpu"]
    reranker = f"recipe.reranker={ranker}"
    told = run(compose(["recipe=evaluate", *given, f"recipe.runs={tmp_path}/run/runs/bm25.trec", reranker]))
    assert list(told["arms"]) == ["bm25", "bm25 + reranker"]
    lines = [line.split()[:3] for line in (tmp_path / "reranked" / "runs" / "reranked.trec").read_text().splitlines()]
    assert sorted(lines) == [["q1", "Q0", "d1"], ["q1", "Q0", "d5"], ["q2", "Q0", "d2"]]
    with pytest.raises(UserError, match="recipe.reranks=other: no ranking of recipe.runs, which has bm25"):
        compose(["recipe=evaluate", *given, f"recipe.runs={tmp_path}/run/runs/bm25.trec", "recipe.reranks=other"])
    with pytest.raises(UserError, match="recipe.reranker=packaged:all-minilm-l6-v2: has no head"):
        compose(
            [
                "recipe=evaluate",
                *given,
                f"recipe.runs={tmp_path}/run/runs/bm25.trec",
                "recipe.reranker=packaged:all-minilm-l6-v2",
            ]
        )


def test_a_retriever_is_trained_on_pairs_of_another_run(place, tmp_path):
    """Without judgements to choose a weight by, nothing is mixed."""
    pairs = {"query": ["gut strings", "weight of air", "lutes"], "doc_id": ["d5", "d2", "d1"]}
    pq.write_table(pa.table(pairs), tmp_path / "pairs.parquet")
    people(place)
    given = [f"input={place}", f"output={tmp_path}/run", "recipe.scale=small", "recipe.steps=2", "recipe.batch=2"]
    more = [f"recipe.pairs={tmp_path}/pairs.parquet", "recipe.tuned_on=0", "recipe.reranker_steps=2"]
    told = run(compose(["recipe=train_retriever", *given, *more, "dedup.embedding.device=cpu"]))
    assert told["stages"]["retriever"]["measured"]["pairs"] == 3
    assert list(told["arms"]) == ["BM25", "zero-shot encoder", "trained retriever", "BM25 + reranker"]


def people(place):
    """Five queries to train on, one of which is measured too, and another that is measured alone."""
    asked = ["strings of a lute", "weight of air", "neck of a lute", "how are barometers read", "maps", "gut strings"]
    names = [f"q{number}" for number in range(1, 7)]
    pq.write_table(pa.table({"query_id": names, "text": asked}), place / "queries.parquet")
    answers = {"train": ["d1", "d2", "d1", "d2", "d3", "d5"], "test": ["d5"]}
    rows = [(query, document, "train") for query, document in zip(names, answers["train"], strict=True)]
    rows += [("q1", "d5", "train"), ("q6", "d5", "test")]
    columns = [list(one) for one in zip(*rows, strict=True)]
    pq.write_table(
        pa.table(dict(zip(("query_id", "doc_id", "split"), columns, strict=True)) | {"score": [1] * len(rows)}),
        place / "qrels.parquet",
    )


def test_a_retriever_is_trained_on_what_people_judged(place, tmp_path):
    """On five documents: the mechanics; what it is worth is a benchmark."""
    people(place)
    given = [f"input={place}", f"output={tmp_path}/run", "recipe.scale=small", "recipe.steps=3", "recipe.batch=2"]
    told = run(compose(["recipe=train_retriever", *given, "recipe.reranker_steps=2", "dedup.embedding.device=cpu"]))
    assert (told["rows_in"], told["rows_accepted"]) == (6, 1)
    stages = told["stages"]
    # Seven pairs; that of the measured query is out, and those of the one that is held out.
    rejected = stages["known"]["items_rejected"]
    assert rejected["also_measured"] == 1 and rejected["held_out"] in (1, 2)
    assert stages["retriever"]["measured"]["pairs"] == 6 - rejected["held_out"]
    assert stages["weight"]["measured"]["queries"] == 1
    assert 0.0 <= stages["weight"]["measured"]["weight"] <= 1.0
    # What is known to answer a query too was drawn for none.
    opposed = pq.read_table(next((tmp_path / "run" / "stages").glob("*-opposed-*/part-00000.parquet"))).to_pylist()
    assert all(set(row["negatives"]).isdisjoint([row["doc_id"], *row["answers"]]) for row in opposed)
    arms = ["bm25", "zero_shot", "retriever", "reranked", "mixed"]
    assert len(told["arms"]) == len(arms)
    assert sorted(path.stem for path in (tmp_path / "run" / "runs").iterdir()) == sorted(arms)
    proof = verify(f"{tmp_path}/run")
    assert (proof["ok"], proof["complete"]) == (True, True)


#: Small enough to train on a few documents, and with texts of no model.
TINY = (
    "engine=simulated",
    "engine.replicas=1",
    "engine.accepted=1.0",
    "engine.duplicates=0.0",
    "dedup.embedding.device=cpu",
    "recipe.scale=small",
    "recipe.document_chars=0",
    "recipe.steps=2",
    "recipe.batch=2",
    "recipe.reranker_steps=2",
    "recipe.stopwords=false",  # what simulated queries have in common with the documents
)


@pytest.mark.parametrize(
    ("recipe", "more", "filters"),
    [
        ("inpars", ("recipe.variant=v2", "recipe.keep=3"), {"scored": "lower_score", "relevant": "less_relevant"}),
        ("promptagator", ("recipe.template=fiqa", "recipe.samples=2", "recipe.examples=2", "recipe.round_trip=5"), {}),
    ],
)
@pytest.mark.usefixtures("ray_here")
def test_queries_are_written_filtered_trained_on_and_measured(recipe, more, filters, place, tmp_path):
    """On five documents, with the simulated engine: the mechanics of every stage."""
    more = [*more, "recipe.examples_split=test"] if recipe == "promptagator" else more
    told = run(compose([f"recipe={recipe}", f"input={place}", f"output={tmp_path}/run", *TINY, *more]))
    stages = told["stages"]
    # Two of the five have no text, and are no seeds.
    assert (told["rows_in"], stages["queries"]["rows_in"]) == (5, 3)
    for stage, reason in filters.items():
        assert set(stages[stage]["items_rejected"]) <= {reason}
        assert stages[stage]["items_kept"] == min(3, stages[stage]["rows_in"])
    assert stages["reranker"]["measured"]["pairs"] == told["rows_accepted"] > 0
    assert len(told["arms"]) == 4 and told["queries"] == 2
    assert bool(told["notes"]) == (recipe == "inpars"), "a judge of our own is said to be one"
    rows = pq.read_table(f"{tmp_path}/run/data").to_pylist()
    assert all(row["negatives"] and row["doc_id"] not in row["negatives"] for row in rows)
    proof = verify(f"{tmp_path}/run")
    assert (proof["ok"], proof["complete"]) == (True, True)


@pytest.mark.usefixtures("ray_here")
def test_queries_that_all_go_are_a_named_stop(place, tmp_path):
    with pytest.raises(
        RunStopped, match="there are 0 queries of 0 documents to train on, and two documents are needed"
    ):
        run(compose(["recipe=inpars", f"input={place}", f"output={tmp_path}/run", *TINY, "recipe.least_tokens=500"]))


@pytest.mark.usefixtures("ray_here")
def test_a_corpus_with_a_double_is_named_before_a_model_is_asked(place, tmp_path):
    rows = pq.read_table(place / "corpus.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([*rows, rows[0]]), place / "corpus.parquet")
    with pytest.raises(UserError, match="the corpus has document d1 twice"):
        run(compose(["recipe=inpars", f"input={place}", f"output={tmp_path}/run", *TINY, "limit=2"]))
    assert not list((tmp_path / "run" / "stages").glob("*-queries-*/part-*"))


def test_a_folder_that_was_moved_and_judgements_that_changed_leave_the_index_as_it_is(place, tmp_path):
    def fingerprints(at):
        return {one.name: one.fingerprint for one in stages_of(compose(["recipe=bm25", f"input={at}", "output=x"]), "")}

    before, moved = fingerprints(place), place.rename(tmp_path / "moved")
    assert fingerprints(moved) == before
    pq.write_table(pa.table({"query_id": ["q3"], "doc_id": ["d2"], "score": [1]}), moved / "qrels.parquet")
    changed = {name for name, one in fingerprints(moved).items() if one != before[name]}
    assert "measured" in changed and "lexicon" not in changed
