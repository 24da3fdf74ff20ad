"""MinHash dedup: datasketch's signatures, exact edges, one keeper a cluster, in any order of the input."""

import itertools
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasketch import MinHash, MinHashLSH
from datasketch.hashfunc import sha1_hash32, sha1_hash64
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.dedup import minhash
from pipelines.dedup.found import REMOVED
from pipelines.dedup.lsh.comparison import proposed, recalling
from pipelines.dedup.lsh.shingles import STEPS, Shingling
from pipelines.dedup.order import keeper_order
from pipelines.dedup.workers import Threads
from pipelines.errors import UserError

DATA = Path(os.environ.get("NIGHTMILL_TEST_DATA", "../shared/data"))

PERSONA = "a retired lighthouse keeper who restores brass barometers for small museums"
WORDS = [f"word{i}" for i in range(40)]


def real(name: str, column: str) -> list[str]:
    if not (DATA / name).exists():
        pytest.skip(f"real data is absent: NIGHTMILL_TEST_DATA names no folder with {name}")
    return pq.read_table(DATA / name)[column].to_pylist()


def removed(found) -> dict[str, str]:
    return dict(zip(found.removed["id"].to_pylist(), found.removed["keeper_id"].to_pylist(), strict=True))


def shingles(text: str | None, n: int, unit: str = "word") -> frozenset[str]:
    pieces = (text or "").split() if unit == "word" else list(text or "")
    n = min(n, len(pieces)) or 1  # a text of fewer pieces is one shingle
    return frozenset((" " if unit == "word" else "").join(pieces[i : i + n]) for i in range(len(pieces) - n + 1))


def similarity(x: frozenset[str], y: frozenset[str]) -> float:
    return len(x & y) / len(x | y) if x | y else 0.0


def by_brute_force(texts: list[str | None], threshold: float, n: int) -> dict[int, int]:
    """Lowest position of each removed row's component, over all pairs that reach the threshold."""
    sets = [shingles(text, n) for text in texts]
    keeper = list(range(len(texts)))
    for _ in texts:
        for i, j in itertools.combinations(range(len(texts)), 2):
            if sets[i] and sets[j] and similarity(sets[i], sets[j]) >= threshold:
                keeper[i] = keeper[j] = min(keeper[i], keeper[j])
    return {row: kept for row, kept in enumerate(keeper) if row != kept}


HASHFUNCS = {
    ("token", "affine32"): minhash.token_hash32,
    ("token", "affine64"): minhash.token_hash64,
    ("sha1", "affine32"): sha1_hash32,
    ("sha1", "affine64"): sha1_hash64,
}


def datasketch_signature(
    text: str, n: int = 1, permutations: int = 128, scheme: str = "affine32", hash: str = "token", unit: str = "word"
) -> np.ndarray:
    sketch = MinHash(num_perm=permutations, seed=1, scheme=scheme, hashfunc=HASHFUNCS[hash, scheme])
    sketch.update_batch([shingle.encode() for shingle in shingles(text, n, unit)])
    return sketch.hashvalues


@settings(deadline=None)
@given(
    texts=st.lists(st.text(max_size=80), min_size=1, max_size=8),
    n=st.integers(1, 4),
    permutations=st.sampled_from([1, 16, 100, 128]),
    scheme=st.sampled_from(["affine32", "affine64"]),
    hash=st.sampled_from(["token", "sha1"]),
    unit=st.sampled_from(["word", "character"]),
)
def test_signatures_are_those_of_datasketch(texts, n, permutations, scheme, hash, unit) -> None:
    shingling = Shingling(n, unit, (), hash)
    ours = minhash.signatures(pa.array(texts), shingling, num_permutations=permutations, scheme=scheme)
    assert ours.dtype == (np.uint32 if scheme == "affine32" else np.uint64)
    for text, signature in zip(texts, ours, strict=True):
        assert (signature == datasketch_signature(text, n, permutations, scheme, hash, unit)).all()


@pytest.mark.parametrize(("hash", "scheme"), HASHFUNCS)
def test_datasketchs_own_index_finds_our_signatures(hash, scheme) -> None:
    texts = [f"{PERSONA} {extra}" for extra in ("a", "b", "c")] + ["a nurse who collects maps"]
    index = MinHashLSH(threshold=0.7, num_perm=128)
    for row, signature in enumerate(minhash.signatures(pa.array(texts), Shingling(hash=hash), scheme=scheme)):
        index.insert(row, MinHash(num_perm=128, hashvalues=signature, scheme=scheme))
    asked = MinHash(num_perm=128, scheme=scheme, hashfunc=HASHFUNCS[hash, scheme])
    asked.update_batch([word.encode() for word in texts[0].split()])
    assert sorted(index.query(asked)) == [0, 1, 2]


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000])
def test_sha1_of_any_length_is_sha1(size: int) -> None:
    word = "é" * (size // 2) + "x" * (size % 2)
    hashes = Shingling(hash="sha1").sets(pa.array([word])).hashes
    assert hashes.tolist() == ([sha1_hash64(word.encode())] if size else [])


def test_signatures_of_real_texts_are_those_of_datasketch() -> None:
    texts = random.Random(0).sample(real("personas.parquet", "persona"), 300)
    texts += random.Random(0).sample(real("seeds.parquet", "text"), 20)
    ours = minhash.signatures(pa.array(texts))
    assert (ours == np.stack([datasketch_signature(text) for text in texts])).all()


@given(st.text("ab \t\n\x0b\x1c\x1f\x85\xa0\u1680\u2003\u2028\u202f\u205f\u3000\u200b\u180e\x00é語𝄞", max_size=30))
def test_words_are_those_of_str_split(text: str) -> None:
    ours = Shingling().sets(pa.array([text]))
    assert sorted(h & 0xFFFFFFFF for h in ours.hashes.tolist()) == sorted(
        minhash.token_hash32(word.encode()) for word in set(text.split())
    )


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(1, 400), st.integers(1, 3), st.integers(0, 99))
def test_sets_of_long_texts_are_ascending_and_without_repeats(words: int, vocabulary: int, n: int, seed: int) -> None:
    text = " ".join(str(word) for word in random.Random(seed).choices(range(vocabulary), k=words))
    hashes, starts, sizes = Shingling(n).sets(pa.array(["before", text, "after"]))
    assert sizes[1] == len(shingles(text, n))
    assert (np.diff(hashes[starts[1] : starts[1] + sizes[1]].astype(object)) > 0).all()


def test_identical_case_and_word_order_variants_collapse(rows) -> None:
    shuffled = " ".join(random.Random(1).sample(PERSONA.split(), 11))
    variants = [PERSONA, PERSONA, PERSONA.upper() + "!", shuffled, "a nurse who collects maps"]
    found = minhash.find(rows(variants), text_column="text", normalise=STEPS)
    assert removed(found) == {"000001": "000000", "000002": "000000", "000003": "000000"}
    assert found.removed["similarity"].to_pylist() == [1.0] * 3
    # Without normalisation, case and punctuation make other words.
    assert removed(minhash.find(rows(variants), text_column="text")) == {"000001": "000000", "000003": "000000"}


def test_one_word_of_13_swapped_survives_and_one_of_20_does_not(rows) -> None:
    short, long = WORDS[:13], WORDS[:20]
    texts = [" ".join(short), " ".join([*short[:12], "swapped"]), " ".join(long), " ".join([*long[:19], "swapped"])]
    found = minhash.find(rows(texts), text_column="text")
    assert removed(found) == {"000003": "000002"}
    assert found.removed["similarity"].to_pylist() == [19 / 21]


def test_a_similarity_that_equals_the_threshold_is_enough(rows) -> None:
    # 0.07 * 100 is above 7 in floating point; 7 / 100 is not below 0.07.
    words = [f"w{i}" for i in range(100)]
    found = minhash.find(rows([" ".join(words), " ".join(words[:7])]), text_column="text", threshold=0.07, bands=128)
    assert found.removed["similarity"].to_pylist() == [0.07]


def test_removed_rows_say_which_neighbour_tied_them_in(rows) -> None:
    # Each row swaps one more word of 20: neighbours are at 19/21, the ends further apart.
    texts = [" ".join([*WORDS[20 : 20 + i], *WORDS[i:20]]) for i in range(4)]
    found = minhash.find(rows(texts), text_column="text")
    assert found.removed.schema == REMOVED
    assert found.removed.to_pylist() == [
        {
            "id": f"00000{i}",
            "keeper_id": "000000",
            "cluster_id": "000000",
            "method": "minhash",
            "similarity": (20 - i) / (20 + i),
            "via_id": f"00000{i - 1}",
            "via_similarity": 19 / 21,
        }
        for i in (1, 2, 3)
    ]


def test_texts_without_a_shingle_are_like_nothing(rows) -> None:
    texts = [None, None, "", "", " \n", "\u3000", "one", "one two", "one two"]
    assert removed(minhash.find(rows(texts), text_column="text")) == {"000008": "000007"}
    # Texts of fewer words than a shingle are one: equal ones are duplicates, others are not.
    found = minhash.find(rows([*texts, "one"]), text_column="text", ngram=2)
    assert removed(found) == {"000008": "000007", "000009": "000006"}
    assert found.stats["without_shingles"] == 6
    assert minhash.find(rows([None, ""]), text_column="text").stats["removed"] == 0
    assert minhash.find(rows([]), text_column="text").stats == {
        "rows": 0,
        "removed": 0,
        "clusters": 0,
        "without_shingles": 0,
        "buckets": 0,
        "pairs_compared": 0,
        "bands": 16,
        "proposed_at_threshold": pytest.approx(0.99988, abs=1e-5),
        "in_memory": True,
        "estimated_gib": 0,
    }


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_equals_brute_force_where_bands_propose_everything(data, rows) -> None:
    text = st.one_of(st.none(), st.lists(st.sampled_from("abcdefg"), max_size=7).map(" ".join))
    texts = data.draw(st.lists(text, max_size=24))
    threshold = data.draw(st.sampled_from([0.3, 0.5, 2 / 3, 0.8, 0.9, 1.0]))
    n = data.draw(st.integers(1, 2))
    # Bands of one value propose a pair with J = 0.3 with probability 1 - 0.7^128.
    found = minhash.find(rows(texts), text_column="text", threshold=threshold, ngram=n, bands=128)
    assert removed(found) == {f"{i:06d}": f"{k:06d}" for i, k in by_brute_force(texts, threshold, n).items()}
    for row in found.removed.to_pylist():
        one, keeper, via = (shingles(texts[int(row[key])], n) for key in ("id", "keeper_id", "via_id"))
        assert row["similarity"] == similarity(one, keeper)
        assert row["via_similarity"] == similarity(one, via) >= threshold


@settings(deadline=None, max_examples=25)
@given(seed=st.integers())
def test_the_order_of_the_input_changes_nothing(seed, rows) -> None:
    rng = random.Random(seed)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(0, 8))) for _ in range(40)]
    pairs = [(text, f"{i:x}") for text, i in zip(texts, rng.sample(range(1000), 40), strict=True)]
    one = minhash.find(rows(*zip(*pairs, strict=True)), text_column="text", threshold=0.6, bands=40)
    rng.shuffle(pairs)
    other = minhash.find(rows(*zip(*pairs, strict=True)), text_column="text", threshold=0.6, bands=40)
    assert one.removed.equals(other.removed)
    assert one.stats == other.stats
    assert one.removed["id"].to_pylist() == sorted(one.removed["id"].to_pylist())


def test_recall_on_planted_pairs(rows) -> None:
    rng = random.Random(7)
    texts, planted = [], []
    for pair in range(2000):
        words = [f"w{pair}_{i}" for i in range(rng.randint(25, 60))]
        swaps = rng.randint(0, len(words) // 25)
        planted.append((f"{len(texts):06d}", f"{len(texts) + 1:06d}"))
        texts += [" ".join(words), " ".join([*words[swaps:], *(f"new{pair}_{i}" for i in range(swaps))])]
    found = minhash.find(rows(texts), text_column="text")
    assert min(found.removed["via_similarity"].to_pylist()) >= 0.9
    assert removed(found).items() <= {(two, one) for one, two in planted}
    assert found.stats["removed"] >= 0.999 * len(planted)


def test_100_000_copies_leave_one(rows) -> None:
    found = minhash.find(rows([PERSONA] * 100_000), text_column="text")
    assert found.stats["removed"] == 99_999
    assert found.stats["pairs_compared"] == 99_999  # the bands all propose one bucket
    assert pc.all(pc.equal(found.removed["keeper_id"], "000000")).as_py()


def test_a_large_cluster_of_different_near_copies_is_not_quadratic(rows) -> None:
    count = 20_000
    found = minhash.find(rows([" ".join([*WORDS, f"x{i}"]) for i in range(count)]), text_column="text")
    assert found.stats["removed"] == count - 1
    assert found.stats["pairs_compared"] < 2 * 16 * count


def test_headlines_have_62_exact_duplicates(rows) -> None:
    texts = real("headlines.parquet", "text")
    found = minhash.find(rows(texts), text_column="text", threshold=1.0)
    exact = len(texts) - len(set(texts))
    same_set = len(texts) - len({shingles(text, 1) for text in texts})
    assert exact == 62
    assert found.stats["removed"] == same_set


def test_all_of_cora_equals_brute_force(rows) -> None:
    texts = real("dups/cora_records.parquet", "text")
    sets = [shingles(text, 1) for text in texts]
    edges = [(i, j) for i, j in itertools.combinations(range(len(texts)), 2) if similarity(sets[i], sets[j]) >= 0.9]
    keeper = list(range(len(texts)))
    while any(keeper[i] != keeper[j] for i, j in edges):
        for i, j in edges:
            keeper[i] = keeper[j] = min(keeper[i], keeper[j])
    expected = {f"{i:06d}": f"{k:06d}" for i, k in enumerate(keeper) if i != k}
    assert removed(minhash.find(rows(texts), text_column="text", bands=32)) == expected


def test_duplicate_or_missing_ids_are_refused_by_name(rows) -> None:
    with pytest.raises(UserError, match="id 'b' occurs more than once"):
        minhash.find(rows(["x", "y", "z"], ["b", "a", "b"]), text_column="text")
    with pytest.raises(UserError, match="1 rows have no id"):
        minhash.find(rows(["x", "y"], ["b", None]), text_column="text")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"threshold": 0}, "dedup.minhash.threshold=0"),
        ({"threshold": 1.1}, "dedup.minhash.threshold=1.1"),
        ({"bands": 200}, "dedup.minhash.bands=200.*num_permutations=128"),
        ({"ngram": 0}, "dedup.minhash.ngram=0"),
        ({"unit": "letter"}, "dedup.minhash.unit=letter: must be one of word, character"),
        ({"hash": "md5"}, "dedup.minhash.hash=md5: must be one of token, sha1"),
        ({"normalise": ["upper"]}, "dedup.minhash.normalise=upper: a step is one of nfkc"),
        ({"scheme": "legacy"}, "dedup.minhash.scheme=legacy: must be one of affine32, affine64"),
        ({"verify": "no"}, "dedup.minhash.verify=no"),
        ({"clusters": "ring"}, "dedup.minhash.clusters=ring"),
        ({"keep": "last"}, "dedup.keep=last: must be one of first, longest, highest"),
        ({"keep": "highest"}, "dedup.keep=highest: name the column of numbers that decides, dedup.score_column="),
        ({"keep": "highest", "score_column": "n"}, "dedup.score_column=n: no such column"),
        ({"keep": "highest", "score_column": "text"}, "dedup.score_column=text: .* numbers are needed"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(rows, knobs, message) -> None:
    with pytest.raises(UserError, match=message):
        minhash.find(rows(["x"]), text_column="text", **knobs)


def test_a_missing_or_numeric_column_is_refused_by_name(rows) -> None:
    with pytest.raises(UserError, match="column 'words' is to be read as text.*only"):
        minhash.find(rows(["x"]), text_column="words")
    numbers = type(rows(["x"]))(pa.table({"id": ["a"], "text": [1]}))
    with pytest.raises(UserError, match="column 'text'.*int64"):
        minhash.find(numbers, text_column="text")


def test_the_default_bands_recall_the_threshold() -> None:
    assert (recalling(0.9, 128), recalling(0.8, 128)) == (16, 25)
    assert proposed(0.9, 128, 16) == pytest.approx(0.99988, abs=1e-5)
    for threshold in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0):
        assert proposed(threshold, 128, recalling(threshold, 128)) >= 0.999
    assert recalling(0.1, 4) == 4  # as good as four permutations can be


def test_character_shingles_see_what_words_do_not(rows) -> None:
    texts = ["the lighthouse keepers of the northern coast", "the lighthouse-keepers of the northern coast"]
    assert removed(minhash.find(rows(texts), text_column="text", threshold=0.8)) == {}
    found = minhash.find(rows(texts), text_column="text", threshold=0.8, ngram=3, unit="character")
    assert removed(found) == {"000001": "000000"}
    one, other = (shingles(text, 3, "character") for text in texts)
    assert found.removed["similarity"].to_pylist() == [similarity(one, other)]


def test_the_keeper_is_chosen_by_rule(rows) -> None:
    texts = [" ".join(WORDS[:20]), " ".join([*WORDS[:20], WORDS[20]]), " ".join(WORDS[:19])]
    table = pa.table({"id": ["b", "a", "c"], "text": texts, "stars": pa.array([1, None, 5], pa.int64())})
    source = type(rows([]))(table)

    def kept(**rule) -> set[str]:
        return set(minhash.find(source, text_column="text", **rule).removed["keeper_id"].to_pylist())

    assert kept() == {"a"}
    assert kept(keep="longest") == {"a"}
    assert kept(keep="highest", score_column="stars") == {"c"}


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), st.sampled_from([None, 0.0, 1.0, 2.5])), unique_by=lambda row: row[0]))
def test_keeper_order_is_by_score_then_by_id(pairs) -> None:
    ids = pa.array([id_ for id_, _ in pairs], pa.string())
    scores = np.array([np.nan if score is None else score for _, score in pairs], np.float64)
    by_hand = sorted(range(len(pairs)), key=lambda i: (pairs[i][1] is None, -(pairs[i][1] or 0), pairs[i][0].encode()))
    assert keeper_order(ids, "highest", scores).tolist() == by_hand
    assert keeper_order(ids, "first").tolist() == sorted(range(len(pairs)), key=lambda i: pairs[i][0].encode())


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_star_is_greedy_keep_first(data, rows) -> None:
    text = st.lists(st.sampled_from("abcdefg"), max_size=7).map(" ".join)
    texts = data.draw(st.lists(text, max_size=24))
    threshold = data.draw(st.sampled_from([0.3, 0.5, 2 / 3, 0.8, 1.0]))
    sets = [shingles(text, 1) for text in texts]
    stays: list[int] = []
    gone: dict[int, int] = {}
    for row, words in enumerate(sets):
        near = [k for k in stays if words and similarity(words, sets[k]) >= threshold]
        gone.update({row: near[0]} if near else {})
        stays += [] if near else [row]
    found = minhash.find(rows(texts), text_column="text", threshold=threshold, bands=128, clusters="star")
    assert removed(found) == {f"{i:06d}": f"{k:06d}" for i, k in gone.items()}
    for row in found.removed.to_pylist():
        assert row["similarity"] == row["via_similarity"] >= threshold
        assert row["keeper_id"] == row["via_id"]


def test_star_does_not_join_chains(rows) -> None:
    texts = [" ".join([*WORDS[20 : 20 + i], *WORDS[i:20]]) for i in range(4)]
    assert removed(minhash.find(rows(texts), text_column="text", clusters="star")) == {
        "000001": "000000",
        "000003": "000002",
    }


@pytest.mark.parametrize("scheme", ["affine32", "affine64"])
def test_estimates_are_those_of_the_signatures(rows, scheme) -> None:
    texts = [" ".join([*WORDS[20 : 20 + i], *WORDS[i:20]]) for i in range(3)]
    sketches = [
        MinHash(hashvalues=signature, scheme=scheme) for signature in minhash.signatures(pa.array(texts), scheme=scheme)
    ]
    found = minhash.find(rows(texts), text_column="text", threshold=0.7, verify="estimate", scheme=scheme)
    for row in found.removed.to_pylist():
        assert row["similarity"] == sketches[int(row["id"])].jaccard(sketches[int(row["keeper_id"])])
        assert row["via_similarity"] >= 0.7
    assert len(found.removed) == 2


def test_the_number_of_cpus_changes_nothing(rows, monkeypatch) -> None:
    rng = random.Random(3)
    source = rows([" ".join(rng.choices("abcdefghijkl", k=rng.randint(1, 9))) for _ in range(3000)])
    found = []
    for cpus in (1, 2, 5):
        monkeypatch.setattr(minhash.os, "sched_getaffinity", lambda _, cpus=cpus: set(range(cpus)))
        found.append(minhash.find(source, text_column="text", threshold=0.7))
    assert found[0].stats["removed"] > 500
    assert all(other.removed.equals(found[0].removed) and other.stats == found[0].stats for other in found)


def test_one_document_of_many_megabytes(rows) -> None:
    long = " ".join(f"word{i}" for i in range(400_000))
    found = minhash.find(rows([long, PERSONA, f"{long} more"]), text_column="text")
    assert removed(found) == {"000002": "000000"}
    assert found.removed["similarity"].to_pylist() == [400_000 / 400_001]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), clusters=st.sampled_from(["chains", "star"]), in_memory=st.booleans())
def test_rows_are_compared_within_their_group_as_if_it_stood_alone(rows, seed, clusters, in_memory) -> None:
    rng = random.Random(seed)
    source = rows([" ".join(rng.choices("abcdefgh", k=rng.randint(0, 6))) for _ in range(60)])
    groups = pa.array([rng.choice(["x", "y", None]) for _ in range(60)], pa.string())
    source.table = source.table.append_column("group", groups)
    # Bands of one permutation each propose whatever is alike.
    how = {"text_column": "text", "threshold": 0.6, "num_permutations": 64, "bands": 64, "clusters": clusters}
    workers = None if in_memory else Threads(60_000, 2)
    found = minhash.find(source, **how, within="group", workers=workers)
    alone = [
        pc.is_null(groups) if group is None else pc.fill_null(pc.equal(groups, group), False)
        for group in ("x", "y", None)
    ]
    each = [minhash.find(type(source)(source.table.filter(mask)), **how).removed for mask in alone]
    assert found.removed.sort_by("id").equals(pa.concat_tables(each).sort_by("id").cast(found.removed.schema))


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_group_may_be_of_several_columns(rows, in_memory) -> None:
    source = rows(["what is true"] * 6)
    skill, passage = ["a", "a", "b", "b", "a", "a"], ["p", None, None, "p", None, "b"]
    source.table = source.table.append_column("skill", pa.array(skill)).append_column("passage", pa.array(passage))
    workers = None if in_memory else Threads(1_000, 2)
    found = minhash.find(source, text_column="text", within=["skill", "passage"], workers=workers)
    assert removed(found) == {"000004": "000001"}
    # "a" of one column and "b" of the other are not "b" and "a".
    swapped = rows(["what is true"] * 2)
    swapped.table = swapped.table.append_column("one", pa.array(["a", "b"])).append_column("two", pa.array(["b", "a"]))
    assert removed(minhash.find(swapped, text_column="text", within=["one", "two"])) == {}


def test_a_group_is_a_column_of_text(rows) -> None:
    source = rows(["one two", "two one"])
    with pytest.raises(UserError, match="column 'group' is to be read as text, but the rows have only"):
        minhash.find(source, text_column="text", within="group")
    # Its own text as the group: nothing is compared that is not the same.
    assert removed(minhash.find(rows(["one two", "two one", "one two"]), text_column="text", within="text")) == {
        "000002": "000000"
    }
