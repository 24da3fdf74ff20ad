"""A T5 says true or false of a pair; a tiny one, made here with its tokenizer, learns which document is the answer."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForSeq2SeqLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from pipelines.errors import UserError
from pipelines.retrieval.cross_encoder import cross_encoder, score, train
from pipelines.retrieval.lexical import opened
from pipelines.retrieval.t5 import reads_as_t5
from tests.retrieval.test_cross_encoder import BASE, KNOBS, ROWS


def tiny_t5(place, lexicon, words=("true", "false")):
    """A T5 of one layer whose words are those of the collection."""
    texts = [*opened(lexicon).texts(0, 99), *(row[0] for row in ROWS.rows), "Query : Document : Relevant : how far"]
    known = sorted({word for text in texts for word in text.replace(",", " ").replace(".", " ").split()} | {*words})
    vocabulary = {word: place for place, word in enumerate(["<pad>", "</s>", "<unk>", *known])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(place)
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(vocabulary), d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(place)
    return str(place)


@pytest.mark.parametrize("listwise", [False, True])
def test_it_learns_to_say_true_of_the_document_that_answers(listwise, lexicon, tmp_path):
    base = tiny_t5(tmp_path / "base", lexicon)
    made = tmp_path / "made"
    made.mkdir()
    told = train(
        str(made),
        ROWS,
        lexicon=lexicon,
        listwise=listwise,
        **{**KNOBS, "base": base, "learning_rate": 3e-3, "steps": 80, "checkpoint_steps": 80},
    )
    assert told["loss"][1] < told["loss"][0] / 2
    pairs = [(query, one) for query, own, others in ROWS.rows for one in opened(lexicon).text([own, others[0]])]
    found = score(f"{made}/model", pairs, batch_size=3, pair_tokens=48, device="cpu")
    assert all(0.0 <= one <= 1.0 for one in found)
    assert all(own > other for own, other in zip(found[::2], found[1::2], strict=True))


def test_its_score_is_the_probability_of_true_over_both_words(lexicon, tmp_path):
    place = tiny_t5(tmp_path / "base", lexicon)
    reader = cross_encoder(place, "cpu", 48, seed=0)
    [found] = reader.predict([("strings", "a lute")], show_progress_bar=False)
    tokens = reader.tokenizer("Query: strings Document: a lute Relevant:", return_tensors="pt").input_ids
    ids = torch.cat([tokens, torch.tensor([[reader.tokenizer.eos_token_id]])], dim=1)
    model = AutoModelForSeq2SeqLM.from_pretrained(place)
    with torch.no_grad():
        logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
    words = reader.tokenizer.convert_tokens_to_ids(["true", "false"])
    assert found == pytest.approx(torch.softmax(logits[words], dim=0)[0].item(), abs=1e-6)


@pytest.mark.parametrize("words", [1, 9, 500])
def test_a_long_document_is_cut_and_the_cue_after_it_is_not(words, lexicon, tmp_path):
    reader = cross_encoder(tiny_t5(tmp_path / "base", lexicon), "cpu", 24, seed=0)
    ids = reader.preprocess([("strings of lutes", "strings " * words)])["input_ids"][0]
    said = reader.tokenizer.convert_ids_to_tokens(ids)
    assert said[:5] == ["Query", ":", "strings", "of", "lutes"] and said[-3:] == ["Relevant", ":", "</s>"]
    assert len(said) == min(24, 10 + words) and said.count("strings") == 1 + min(words, 14)


def test_a_checkpoint_is_read_back_as_it_was_written(lexicon, tmp_path):
    """Through the class that wrote it, so that a training can go on from there."""
    reader = cross_encoder(tiny_t5(tmp_path / "base", lexicon), "cpu", 24, seed=0)
    reader.save_pretrained(str(tmp_path / "again"))
    assert reads_as_t5(str(tmp_path / "again"))
    again = type(reader[0]).load(str(tmp_path / "again"))
    assert again.max_seq_length == 24
    torch.testing.assert_close(again.auto_model.state_dict(), reader[0].auto_model.state_dict())


def test_a_vocabulary_without_true_and_false_is_named(lexicon, tmp_path):
    place = tiny_t5(tmp_path / "base", lexicon, words=("yes", "no"))
    with pytest.raises(UserError, match="'true' is no single word of its vocabulary"):
        cross_encoder(place, "cpu", 24, seed=0)


def test_an_encoder_is_none():
    assert not reads_as_t5(BASE)
