"""The main path on a real Ray, with the simulated engine: what a run, a rerun, a retry and a refusal leave behind."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipelines.compose import compose
from pipelines.errors import RunStopped, UserError
from pipelines.run import run
from pipelines.store.files import folder
from pipelines.store.lease import acquire
from pipelines.store.record import parsed, record
from pipelines.store.verify import verify
from pipelines.verbs.export import export
from pipelines.verbs.status import status

SIMULATED = ("recipe=text_to_persona", "engine=simulated", "dedup.embedding.encoder=simulated")

pytestmark = pytest.mark.usefixtures("ray_here")


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "seeds.parquet"
    texts = [f"Passage {i} on the care of bees, boats and bridges." for i in range(300)]
    pq.write_table(pa.table({"text": texts}), path)
    return path


def start(seeds, output, *overrides):
    sizes = ("io.shard_rows=50", "io.bulk_rows=100")
    return run(compose([*SIMULATED, f"input={seeds}", f"output={output}", *sizes, *overrides]))


def rows(output, name="data"):
    return pads.dataset(str(output / name), format="parquet").to_table().sort_by("id").to_pylist()


@pytest.fixture(scope="module")
def finished(seeds, tmp_path_factory):
    output = tmp_path_factory.mktemp("runs") / "a run, with = and {braces}"
    return output, start(seeds, output)


def test_every_row_is_accounted_for(finished):
    output, summary = finished
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"], proof["defects"]) == (True, True, [])
    assert summary["rows_in"] == 300
    personas = summary["stages"]["personas"]
    assert personas["rows_in"] == personas["rows_kept"] + personas["rows_rejected"] + personas["rows_failed"]
    assert summary["rows_accepted"] == len(rows(output))


def test_data_and_removed_are_valid_typed_datasets(finished):
    output, _ = finished
    [first, *_] = rows(output)
    assert {"id", "parent_ids", "persona", "relation", "granularity", "provenance"} == set(first)
    assert (first["provenance"]["engine"], first["provenance"]["model"]) == ("simulated", "smollm2_135m")
    removed = pads.dataset(str(output / "removed"), format="parquet").to_table()
    told = {"id", "keeper_id", "cluster_id", "method", "similarity", "via_id", "via_similarity"}
    assert told <= set(removed.column_names)
    kept = {row["id"] for row in rows(output)}
    assert not kept & set(removed["id"].to_pylist())


def test_the_configuration_and_the_card_lie_beside_the_data(finished):
    output, _ = finished
    assert (output / "config.yaml").read_text().startswith("input:")
    assert "Simulated" in (output / "README.md").read_text()
    assert json.loads((output / "metadata.json").read_text())["rows"] == len(rows(output))


def test_the_same_command_again_adds_nothing(finished, seeds):
    output, summary = finished
    before = {p: p.stat().st_mtime_ns for p in output.glob("stages/*/part-*.parquet")}
    again = start(seeds, output)
    assert again["stages"] == summary["stages"]
    assert {p: p.stat().st_mtime_ns for p in output.glob("stages/*/part-*.parquet")} == before


def test_how_it_is_run_changes_nothing_of_what_it_makes(finished, seeds, tmp_path):
    output, _ = finished
    start(seeds, tmp_path / "b", "io.shard_rows=7", "io.bulk_rows=33", "io.shards_in_flight=9", "engine.replicas=1")
    changing = ("attempt", "created_at")
    same = [
        [
            {**row, "provenance": {k: v for k, v in row["provenance"].items() if k not in changing}}
            for row in rows(place)
        ]
        for place in (output, tmp_path / "b")
    ]
    assert same[0] == same[1]


def test_a_lost_shard_is_done_again_and_nothing_else(finished, seeds, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished[0], output)
    [stage] = output.glob("stages/1-*")
    (stage / "part-00002.parquet").unlink()
    assert any("part-00002.parquet is missing" in d for d in verify(str(output))["defects"])
    start(seeds, output)
    proof = verify(str(output))
    assert proof["ok"], proof["defects"]
    assert [row["id"] for row in rows(output)] == [row["id"] for row in rows(finished[0])]


def test_seeds_keep_the_shards_they_began_with(seeds, tmp_path, finished):
    """Killed while it read the input, then started with another io.bulk_rows: no row is skipped, none is doubled."""
    output = tmp_path / "r"
    start(seeds, output, "io.bulk_rows=40")
    for part in output.glob("stages/0-*/part-0000[2-9].parquet"):
        part.unlink()
    for later in [*output.glob("stages/[1-9]-*"), output / "data", output / "ledger"]:
        shutil.rmtree(later)
    start(seeds, output, "io.bulk_rows=1000")
    assert [row["id"] for row in rows(output)] == [row["id"] for row in rows(finished[0])]
    assert verify(str(output))["ok"]


def test_a_lost_part_of_the_seeds_is_read_again(finished, seeds, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished[0], output)
    [stage] = output.glob("stages/0-*")
    (stage / "part-00001.parquet").unlink()
    assert any("seeds: part-00001.parquet is missing" in d for d in verify(str(output))["defects"])
    start(seeds, output, "prompt.system=Be brief.", "redo=changed")
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    assert proof["stages"]["personas"]["rows_in"] == 300


def test_a_plan_that_leaves_rows_out_is_named(finished, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished[0], output)
    [plan] = output.glob("stages/1-*/plan-000.json")
    content = parsed(plan.name, plan.read_bytes())
    content["shards"].pop()
    plan.write_bytes(record(plan.name, content))
    defects = verify(str(output))["defects"]
    assert any("personas: its plan does not cut part-" in d for d in defects), defects
    assert any("personas: part-00005.parquet is not in the stage's plan" in d for d in defects)


def test_the_ids_may_hash_other_columns_than_the_text(tmp_path):
    path = tmp_path / "named.parquet"
    pq.write_table(pa.table({"text": ["same", "same"], "name": ["a", "b"]}), path)
    made = [start(path, tmp_path / f"r{i}", *more) for i, more in enumerate(([], ["id_columns=[text,name]"]))]
    assert [summary["rows_in"] for summary in made] == [2, 2]
    with pytest.raises(UserError, match="id_columns: null -> "):
        start(path, tmp_path / "r0", "id_columns=[name]")


def test_a_changed_prompt_is_refused_with_the_list_of_stages_and_redone_when_asked(finished, seeds, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(finished[0], output)
    listed = r"(?s)1 personas: prompt changed.*2 quality: follows a changed stage.*redo=changed"
    with pytest.raises(UserError, match=listed):
        start(seeds, output, "prompt.system=Be brief.")
    start(seeds, output, "prompt.system=Be brief.", "redo=changed")
    assert verify(str(output))["ok"]
    assert len(list(output.glob("stages/1-*"))) == 2
    with pytest.raises(UserError, match=r"3 embedding|3 minhash|4 embedding"):
        start(seeds, output, "prompt.system=Be brief.", "dedup.embedding.threshold=0.5")


def test_a_setting_may_be_mended_while_nothing_was_made_with_it(seeds, tmp_path):
    with pytest.raises(UserError, match=r"model\.weights=/no/such/model"):
        start(seeds, tmp_path / "r", "engine=vllm_cpu", "model.weights=/no/such/model", "limit=4")
    assert start(seeds, tmp_path / "r", "limit=4")["rows_in"] == 4


def test_another_recipes_or_inputs_directory_is_refused(finished, seeds, tmp_path):
    output, _ = finished
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"text": ["something else"]}), other)
    with pytest.raises(UserError, match=r"other\.parquet|seeds\.parquet"):
        start(other, output)
    with pytest.raises(UserError, match="limit"):
        start(seeds, output, "limit=10")
    (tmp_path / "mine.txt").write_text("a diary")
    with pytest.raises(UserError, match="which no run wrote; choose another output"):
        start(seeds, tmp_path)
    assert not (tmp_path / "lease").exists()


def test_a_second_driver_is_refused_by_name(seeds, tmp_path):
    with acquire(folder(str(tmp_path / "r"))), pytest.raises(UserError, match="is running in this directory"):
        start(seeds, tmp_path / "r")


def test_failed_rows_wait_in_quarantine_until_they_are_retried(seeds, tmp_path):
    output = tmp_path / "r"
    first = start(seeds, output, "engine.errors=0.2")
    failed = first["stages"]["personas"]["rows_failed"]
    assert 30 < failed < 90
    assert first["stages"]["personas"]["failed"] == {"call_failed": failed}
    assert verify(str(output))["ok"]
    retried = start(seeds, output, "engine.errors=0", "retry=failed")
    personas = retried["stages"]["personas"]
    assert (personas["rows_in"], personas["rows_failed"]) == (300, 0)
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]
    undisturbed = tmp_path / "u"
    start(seeds, undisturbed)
    assert [row["id"] for row in rows(output)] == [row["id"] for row in rows(undisturbed)]
    assert start(seeds, output, "retry=failed")["stages"] == retried["stages"]


def test_a_run_in_which_too_many_rows_fail_stops_and_names_the_error(seeds, tmp_path):
    with pytest.raises(RunStopped, match=r"max_failed=0\.3: \d+ of \d+ rows failed .* most often by call_failed"):
        start(seeds, tmp_path / "r", "engine.errors=0.9", "max_failed=0.3")
    proof = verify(str(tmp_path / "r"))
    assert (proof["ok"], proof["complete"]) == (True, False)
    told = status(str(tmp_path / "r"))
    assert (told["state"], told["reason"][:15]) == ("stopped", "max_failed=0.3:")
    assert not any("run the same command again" in step for step in told["next"])
    # The same command again does not pass over what failed, though no row of its own fails.
    with pytest.raises(RunStopped, match=r"max_failed=0\.3: \d+ of \d+ rows failed"):
        start(seeds, tmp_path / "r", "engine.errors=0", "max_failed=0.3")
    mended = start(seeds, tmp_path / "r", "engine.errors=0", "max_failed=0.3", "retry=failed")
    assert (mended["stages"]["personas"]["rows_in"], mended["stages"]["personas"]["rows_failed"]) == (300, 0)
    assert verify(str(tmp_path / "r"))["complete"]
    assert (status(str(tmp_path / "r"))["state"], status(str(tmp_path / "r"))["reason"]) == ("finished", None)


def test_a_retry_that_leaves_too_many_failed_does_not_end_the_run(seeds, tmp_path):
    with pytest.raises(RunStopped, match="max_failed=0.5"):
        start(seeds, tmp_path / "r", "engine.errors=0.9")
    with pytest.raises(RunStopped, match="max_failed=0.5"):
        start(seeds, tmp_path / "r", "engine.errors=0.9", "retry=failed")
    assert start(seeds, tmp_path / "r", "engine.errors=0.9", "max_failed=1")["rows_failed"] > 150


def test_a_run_that_stopped_after_a_stage_goes_on(seeds, tmp_path):
    early = start(seeds, tmp_path / "r", "recipe.until=personas")
    assert list(early["stages"]) == ["seeds", "personas"] and len(rows(tmp_path / "r")) == early["rows_accepted"]
    assert verify(str(tmp_path / "r"))["complete"]
    whole = start(seeds, tmp_path / "r")
    assert list(whole["stages"]) == ["seeds", "personas", "quality", "minhash", "embedding"]
    assert whole["stages"]["personas"] == early["stages"]["personas"] and whole["tokens_per_second"] == 0
    with pytest.raises(UserError, match="minhash: no longer in the recipe"):
        start(seeds, tmp_path / "r", "recipe.until=personas")


def test_rows_is_refused_and_limit_named(seeds, tmp_path):
    with pytest.raises(UserError, match=r"rows=5: only plan and preview take it; .* limit=5"):
        start(seeds, tmp_path / "r", "rows=5")
    assert not (tmp_path / "r").exists()


def test_an_engine_without_a_gpu_is_refused_before_the_input_is_read(seeds, tmp_path):
    with pytest.raises(UserError, match="engine.device=gpu: the cluster has no GPU"):
        run(compose(["recipe=text_to_persona", "engine=vllm_gpu", f"input={seeds}", f"output={tmp_path}/r"]))
    assert not list((tmp_path / "r").glob("stages/*/part-*"))


def test_a_retry_that_mends_nothing_decides_nothing_anew(seeds, tmp_path):
    output = tmp_path / "r"
    start(seeds, output, "engine.errors=0.1")
    stages = sorted(p.name for p in output.glob("stages/*"))
    start(seeds, output, "engine.errors=0.1", "retry=failed")
    assert sorted(p.name for p in output.glob("stages/*")) == stages
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]


def test_a_retry_that_stops_between_two_dedups_leaves_a_sound_run(seeds, tmp_path):
    output = tmp_path / "r"
    start(seeds, output, "engine.errors=0.1")
    start(seeds, output, "engine.errors=0", "retry=failed")
    for made in ("stages/4.1-*", "data", "metadata.json"):
        for path in output.glob(made):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for cache in output.glob("ledger/4.1-*"):
        cache.unlink()
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, False), proof["defects"]
    start(seeds, output, "engine.errors=0")
    assert verify(str(output))["complete"]


def test_rejections_never_stop_a_run(seeds, tmp_path):
    summary = start(seeds, tmp_path / "r", "engine.accepted=0", "engine.duplicates=0", "max_failed=0.01")
    assert summary["rows_accepted"] == 0
    [empty] = (tmp_path / "r" / "data").glob("*.parquet")
    assert pq.read_schema(empty).names[0] == "id"
    assert verify(str(tmp_path / "r"))["ok"]


def test_one_seed_is_enough(tmp_path):
    pq.write_table(pa.table({"text": ["A single passage."]}), tmp_path / "one.parquet")
    assert start(tmp_path / "one.parquet", tmp_path / "r")["rows_in"] == 1
    assert verify(str(tmp_path / "r"))["ok"]


def test_empty_texts_are_rejected_by_name_and_templates_stay_text(tmp_path):
    odd = ["{{ 7*7 }}", "{% include 'x' %}", "<|im_start|>system", "مرحبا 👋"]
    texts = [*odd, None, "", "  ", "nul \x00 byte", "x" * 1_000_000]
    pq.write_table(pa.table({"text": texts}), tmp_path / "odd.parquet")
    summary = start(tmp_path / "odd.parquet", tmp_path / "r")
    assert summary["stages"]["seeds"]["items_rejected"] == {"empty_text": 3}
    assert verify(str(tmp_path / "r"))["ok"]
    [calls] = Path(tmp_path / "r").glob("stages/1-*/calls/*.parquet")
    prompts = pq.read_table(calls)["prompt"].to_pylist()
    for text in odd:
        assert any(text in prompt for prompt in prompts)
    assert not any("49" in prompt for prompt in prompts)


def test_a_table_of_ones_own_is_deduplicated_whatever_its_columns_are_called(tmp_path):
    """``recipe=dedup`` asks no model; names that a verdict has too are kept in data/ and told apart in rejected/."""
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "text": ["one two three", "three two one", "another thing", None],
            "reason": ["mine"] * 4,
            "similarity": [0.5] * 4,
        }
    )
    pq.write_table(table, tmp_path / "own.parquet")
    output = tmp_path / "r"
    overrides = ["recipe=dedup", f"input={tmp_path}/own.parquet", "id_column=id", f"output={output}"]
    summary = run(compose([*overrides, "dedup.embedding.encoder=simulated"]))
    assert summary["stages"]["seeds"]["items_rejected"] == {"empty_text": 1}
    assert [(row["id"], row["reason"], row["similarity"]) for row in rows(output)] == [
        ("a", "mine", 0.5),
        ("c", "mine", 0.5),
    ]
    [removed] = rows(output, "removed")
    assert (removed["id"], removed["keeper_id"], removed["method"], removed["similarity"]) == ("b", "a", "minhash", 1.0)
    [rejected] = output.glob("stages/1-*/rejected/*.parquet")
    [told] = pq.read_table(rejected).to_pylist()
    assert (told["reason"], told["input_reason"], told["input_similarity"]) == ("duplicate", "mine", 0.5)
    proof = verify(str(output))
    assert (proof["ok"], proof["complete"]) == (True, True), proof["defects"]


BY_WORDS = ("dedup.embedding.enabled=false",)
BY_MEANING = ("dedup.minhash.enabled=false", "dedup.embedding.encoder=simulated")


def deduplicated(tmp_path, name, texts, *overrides, by=BY_WORDS, column="text"):
    """A run of ``recipe=dedup`` over texts: which ids stay."""
    pq.write_table(pa.table({"id": list(texts), column: list(texts.values())}), tmp_path / f"{name}.parquet")
    where = [f"input={tmp_path}/{name}.parquet", f"text_column={column}", "id_column=id", f"output={tmp_path}/{name}"]
    run(compose(["recipe=dedup", *where, *by, *overrides]))
    assert verify(f"{tmp_path}/{name}")["complete"]
    return [row["id"] for row in rows(tmp_path / name)]


def test_tonights_rows_are_checked_against_every_earlier_night(tmp_path):
    index = f"dedup.against={tmp_path}/index"
    assert deduplicated(tmp_path, "monday", {"m1": "a b c", "m2": "a b c", "m3": "d e f"}, index) == ["m1", "m3"]
    # The same command again is checked against itself no more than the first time, and adds nothing.
    assert deduplicated(tmp_path, "monday", {"m1": "a b c", "m2": "a b c", "m3": "d e f"}, index) == ["m1", "m3"]
    assert len(list(tmp_path.glob("index/minhash/version-*"))) == 1
    assert deduplicated(tmp_path, "tuesday", {"t1": "c b a", "t2": "g h i"}, index) == ["t2"]
    [removed] = rows(tmp_path / "tuesday", "removed")
    assert (removed["id"], removed["keeper_id"]) == ("t1", "m1")
    assert deduplicated(tmp_path, "wednesday", {"w1": "i h g", "w2": "f e d", "w3": "x y z"}, index) == ["w3"]
    stats = json.loads((tmp_path / "wednesday" / "stats.json").read_text())["stages"]["minhash"]
    assert stats["measured"]["against"]["rows"] == 3
    with acquire(folder(f"{tmp_path}/index")), pytest.raises(UserError, match=r"dedup\.against=.*index: in use"):
        deduplicated(tmp_path, "thursday", {"x": "y"}, index)


def test_an_earlier_run_can_be_what_tonights_rows_are_checked_against(tmp_path):
    assert deduplicated(tmp_path, "monday", {"m1": "a b c", "m2": "a b c", "m3": "d e f"}) == ["m1", "m3"]
    assert deduplicated(tmp_path, "tuesday", {"t1": "c b a", "t2": "g h i"}, f"dedup.against={tmp_path}/monday") == [
        "t2"
    ]
    assert deduplicated(tmp_path, "wednesday", {"w1": "g i h"}, f"dedup.against={tmp_path}/monday") == []
    assert verify(f"{tmp_path}/monday")["complete"]


@pytest.mark.parametrize("by", [BY_WORDS, BY_MEANING])
def test_an_earlier_run_is_compared_by_the_column_that_it_compared(by, tmp_path):
    deduplicated(tmp_path, "monday", {"m1": "a b c", "m2": "d e f"}, by=by, column="persona")
    against = f"dedup.against={tmp_path}/monday"
    assert deduplicated(tmp_path, "tuesday", {"t1": "a b c", "t2": "g h i"}, against, by=by) == ["t2"]
    # One that compared nothing has no such column.
    start(
        tmp_path / "monday.parquet",
        tmp_path / "none",
        "text_column=persona",
        "dedup.minhash.enabled=false",
        *BY_WORDS,
    )
    with pytest.raises(UserError, match=r"have no column text, and it compared none; they have .*persona"):
        deduplicated(tmp_path, "wednesday", {"w": "x"}, f"dedup.against={tmp_path}/none", by=by)


def test_a_run_that_goes_on_is_checked_against_what_others_added_meanwhile(tmp_path, monkeypatch):
    index, monday = f"dedup.against={tmp_path}/index", {"m1": "a b c", "m2": "d e f"}
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.run.Night.remember", lambda _: (_ for _ in ()).throw(RunStopped("cut off")))
        with pytest.raises(RunStopped, match="cut off"):
            deduplicated(tmp_path, "monday", monday, index)
    assert deduplicated(tmp_path, "tuesday", {"t1": "c b a", "t2": "g h i"}, index) == ["t1", "t2"]
    assert deduplicated(tmp_path, "monday", monday, index) == ["m2"]
    # Once it is in the index it stays as it is.
    assert deduplicated(tmp_path, "wednesday", {"w1": "x y z"}, index) == ["w1"]
    assert deduplicated(tmp_path, "monday", monday, index) == ["m2"]
    assert len(list(tmp_path.glob("monday/stages/1*-minhash-*"))) == 2


def test_what_memory_does_not_hold_goes_through_files(tmp_path):
    texts = {f"r{i:03d}": f"shared words here and {i % 40} {i % 3} more" for i in range(300)}
    expected = deduplicated(tmp_path, "memory", texts, "dedup.minhash.threshold=0.8")
    # The size of the memory is no part of what is decided.
    little = ("dedup.minhash.threshold=0.8", "dedup.memory_gib=0.0001")
    assert deduplicated(tmp_path, "files", texts, *little) == expected
    assert rows(tmp_path / "files", "removed") == rows(tmp_path / "memory", "removed")
    [stats] = [json.loads((tmp_path / "files" / "stats.json").read_text())["stages"]["minhash"]["measured"]]
    assert stats["in_memory"] is False
    assert not list(tmp_path.glob("files/stages/*/spill"))


def test_tonights_rows_are_checked_by_meaning_against_every_earlier_night(tmp_path):
    index = f"dedup.against={tmp_path}/index"
    for _ in range(2):
        texts = {"m1": "a b c", "m2": "c b a", "m3": "d e f", "m4": "..."}
        assert deduplicated(tmp_path, "monday", texts, index, by=BY_MEANING) == ["m1", "m3", "m4"]
    assert len(list(tmp_path.glob("index/embedding/version-*"))) == 1
    assert deduplicated(tmp_path, "tuesday", {"t1": "c a b", "t2": "g h i"}, index, by=BY_MEANING) == ["t2"]
    [removed] = rows(tmp_path / "tuesday", "removed")
    assert (removed["id"], removed["keeper_id"]) == ("t1", "m1")
    texts = {"w1": "i h g", "w2": "f e d", "w3": "x y z"}
    assert deduplicated(tmp_path, "wednesday", texts, index, by=BY_MEANING) == ["w3"]
    stats = json.loads((tmp_path / "wednesday" / "stats.json").read_text())["stages"]["embedding"]
    assert stats["measured"]["against"]["rows"] == 3
    with pytest.raises(UserError, match="dedup.embedding.dtype: auto -> float32"):
        deduplicated(tmp_path, "thursday", {"x": "y"}, index, "dedup.embedding.dtype=float32", by=BY_MEANING)


def test_both_kinds_of_dedup_remember_what_the_run_kept_at_its_end(tmp_path):
    both = ("dedup.embedding.encoder=simulated", "dedup.embedding.threshold=0.7")
    index = f"dedup.against={tmp_path}/index"
    # m2 goes by its words, m3 by its meaning (seven of eight words): neither is in either index.
    texts = {"m1": "a b c d e f g h", "m2": "h g f e d c b a", "m3": "a b c d e f g z", "m4": "k l m"}
    assert deduplicated(tmp_path, "monday", texts, index, by=both) == ["m1", "m4"]
    texts = {"t1": "a b c d e f g y", "t2": "m l k", "t3": "p q r"}
    assert deduplicated(tmp_path, "tuesday", texts, index, by=both) == ["t3"]
    assert {(row["id"], row["keeper_id"], row["method"]) for row in rows(tmp_path / "tuesday", "removed")} == {
        ("t1", "m1", "embedding"),
        ("t2", "m4", "minhash"),
    }
    stages = json.loads((tmp_path / "tuesday" / "stats.json").read_text())["stages"]
    assert [stages[name]["measured"]["against"]["rows"] for name in ("minhash", "embedding")] == [2, 2]


def test_an_encoder_that_is_not_here_is_refused_before_anything_is_generated(seeds, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.dedup.vectors.encoder.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install sentence-transformers, or set dedup.embedding.enabled=false"):
        start(seeds, tmp_path / "run", "dedup.embedding.encoder=packaged:all-minilm-l6-v2")
    assert not (tmp_path / "run" / "stages").exists()


@pytest.mark.parametrize("before", [BY_MEANING, BY_WORDS], ids=["that has vectors", "that has none"])
def test_an_earlier_run_can_be_what_tonights_rows_are_checked_against_by_meaning(tmp_path, before):
    assert deduplicated(tmp_path, "monday", {"m1": "a b c", "m2": "a b c", "m3": "d e f"}, by=before) == ["m1", "m3"]
    index = f"dedup.against={tmp_path}/monday"
    assert deduplicated(tmp_path, "tuesday", {"t1": "c b a", "t2": "g h i"}, index, by=BY_MEANING) == ["t2"]
    assert deduplicated(tmp_path, "wednesday", {"w1": "g i h"}, index, by=BY_MEANING) == []
    assert verify(f"{tmp_path}/monday")["complete"]


def test_vectors_are_made_once_and_kept_out_of_the_table(finished, seeds, tmp_path):
    output = damaged(finished, tmp_path)
    [stage] = output.glob("stages/4-embedding-*")
    vectors = pads.dataset([str(path) for path in (stage / "vectors").glob("part-*")], format="parquet").to_table()
    assert vectors.column_names == ["id", "vector"]
    assert set(rows(output)[0]) & {"vector"} == set()
    before = {path.name: path.stat().st_mtime_ns for path in (stage / "vectors").glob("part-*")}
    for path in (*stage.glob("part-*"), stage / "decisions" / "part-00000.parquet"):
        path.unlink()
    start(seeds, output)
    assert {path.name: path.stat().st_mtime_ns for path in (stage / "vectors").glob("part-*")} == before
    assert rows(output) == rows(finished[0])


def damaged(finished, tmp_path):
    """A copy of the finished run to do harm to."""
    shutil.copytree(finished[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_a_side_file_that_is_gone_is_named_when_its_rows_are_retried(seeds, tmp_path):
    start(seeds, tmp_path / "r", "engine.errors=0.2")
    [one, *_] = sorted(tmp_path.glob("r/stages/1-*/failed/*"))
    one.unlink()
    with pytest.raises(RunStopped, match=f"failed/{one.name} is missing"):
        start(seeds, tmp_path / "r", "retry=failed")


def test_a_part_that_is_damaged_is_named_and_made_again_once_it_is_deleted(seeds, finished, tmp_path):
    output = damaged(finished, tmp_path)
    [part] = output.glob("stages/1-*/part-00003.parquet")
    content = part.read_bytes()
    shutil.rmtree(next(output.glob("stages/2-*")))
    shutil.rmtree(output / "ledger")
    middle = len(content) // 3
    part.write_bytes(content[:middle] + bytes(200) + content[middle + 200 :])
    with pytest.raises(RunStopped, match=f"{part.name} is damaged .* that is deleted is made again"):
        start(seeds, output)
    part.unlink()
    start(seeds, output)
    assert [row["id"] for row in rows(output)] == [row["id"] for row in rows(finished[0])]
    assert verify(str(output))["complete"]


def test_a_part_of_no_plan_is_refused(seeds, finished, tmp_path):
    output = damaged(finished, tmp_path)
    [part] = output.glob("stages/1-*/part-00003.parquet")
    shutil.copy(part, part.with_name("part-00009.parquet"))
    with pytest.raises(RunStopped, match="part-00009.parquet is not in the stage's plan"):
        start(seeds, output)


def test_data_that_is_lost_is_written_again(seeds, finished, tmp_path):
    output = damaged(finished, tmp_path)
    shutil.rmtree(output / "data")
    assert status(str(output))["state"] == "stopped"
    with pytest.raises(UserError, match="is not finished, or data/ is not complete"):
        export(str(output))
    start(seeds, output)
    assert rows(output) == rows(finished[0])


def test_a_damaged_vector_is_named(finished, tmp_path):
    output = damaged(finished, tmp_path)
    [part] = output.glob("stages/4-embedding-*/vectors/part-00000.parquet")
    content = part.read_bytes()
    part.write_bytes(content[:500] + bytes([content[500] ^ 4]) + content[501:])
    assert any("vectors/part-00000.parquet" in defect for defect in verify(str(output))["defects"])


def test_a_skill_whose_kind_the_input_lacks_rejects_no_more_seeds_than_the_limit(tmp_path):
    texts = [f"The bees of the {i}. hive fly to the lime trees by the bridge." for i in range(1000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "prose.parquet")
    how = ("recipe=agent_instruct", "recipe.skill=coding", "limit=2", "text_column=text", "engine=simulated")
    summary = run(compose([*how, f"input={tmp_path}/prose.parquet", f"output={tmp_path}/run"]))
    assert (summary["rows_in"], summary["rows_accepted"]) == (2, 0)
    assert summary["stages"]["assigned"]["items_rejected"] == {"needs_code": 2}
    proof = verify(str(tmp_path / "run"))
    assert (proof["ok"], proof["complete"], proof["defects"]) == (True, True, [])
