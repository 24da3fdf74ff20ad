"""Overrides become one checked configuration of plain values, or one message with every mistake and its fix."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from pipelines import settings
from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.face import check
from pipelines.settings import Device, Dtype
from pipelines.stages.stage import enabled

RUN = ["recipe=text_to_persona", "input=seeds.parquet", "output=runs/x"]


def mistakes(*overrides: str, base: list[str] = RUN, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        compose([*base, *overrides], **options)
    return str(caught.value)


def test_everything_is_a_plain_value() -> None:
    config = compose([*RUN, "limit=1_000", "recipe.granularity=coarse"])
    assert json.loads(json.dumps(config)) == config
    assert (config["limit"], config["recipe"]["granularity"]) == (1000, "coarse")
    assert "hydra" not in config


def test_references_are_resolved() -> None:
    config = compose([*RUN, "text_column=body", "recipe.granularity=medium", "dedup.minhash.threshold=0.8"])
    stages = config["recipe"]["stages"]
    assert stages["personas"]["flow"]["text_column"] == "body"
    assert stages["personas"]["flow"]["granularity"] == "medium"
    assert stages["minhash"]["dedup"]["threshold"] == 0.8


def test_nodes_are_what_their_schemas_take() -> None:
    config = compose([*RUN, "model.dtype=bfloat16", "sampling.stop=[END,'a,b']"])
    assert settings.Model(**config["model"]).dtype == Dtype.bfloat16
    assert settings.VllmEngine(**config["engine"]).device == Device.cpu
    assert settings.Sampling(**config["sampling"]) == settings.Sampling(0.7, 0.95, max_tokens=128, stop=["END", "a,b"])


def test_nothing_of_hydra_stays_behind() -> None:
    compose(RUN)
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("limt=3", "limt: no such key; did you mean limit?"),
        ("max_tokens=5", "max_tokens: no such key; did you mean sampling.max_tokens?"),
        ("recipe.granularty=fine", "recipe.granularty: no such key; did you mean recipe.granularity?"),
        ("recpe.granularity=fine", "did you mean recipe.granularity?"),
        ("recipe.stages.qualty.filters=x", "did you mean recipe.stages.quality.filters?"),
        ("+limt=3", "limt: no such key; + adds no new keys here; did you mean limit?"),
        ("++sampling.tmperature=1", "did you mean sampling.temperature?"),
        ("sampling.zzz=1", "sampling.zzz: no such key; sampling has logprobs, max_tokens, min_p"),
        ("engine.base_url=http://x", "it belongs to kind endpoint"),
        ("modle=smollm2_135m", "modle: no such key; did you mean model?"),
    ],
)
def test_a_key_that_does_not_exist_is_answered_with_the_nearest_that_do(override: str, expected: str) -> None:
    assert expected in mistakes(override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("limit=abc", "limit=abc: Value 'abc' of type 'str' could not be converted to Integer"),
        ("limit=1.5", "limit=1.5: Value '1.5' of type 'float' could not be converted to Integer"),
        ("dedup.minhash.ngram=abc", "dedup.minhash.ngram=abc: Value 'abc' of type 'str' could not be converted"),
        ("input=null", "input=null: a value is needed (seeds: a path"),
        ("text_column=${model.nothing}", "text_column"),
        ("+recipe.stages.x={flow:{_target_:os.system}}", "recipe.stages.x.columns is missing"),
        ("limit=true", "limit=True: Value 'True' of type 'bool' could not be converted to Integer"),
        ("sampling.stop=END", "sampling.stop=END:"),
        ("dedup.minhash=3", "dedup.minhash=3:"),
        ("recipe.granularity=Fine", "Invalid value 'Fine', expected one of [coarse, medium, fine]"),
        ("recipe.overlong=cut", "expected one of [trim, fail]"),
        ("retry=all", "retry=all: Invalid value 'all', expected one of [failed]"),
        ("redo=true", "redo=True: Invalid value 'True', expected one of [changed]"),
        (
            "recipe.stages.quality.filters.too_short.than=abc",
            "than='abc': pipelines.filters.persona.fewer_words expects int",
        ),
        ("recipe.stages.minhash.enabled=maybe", "recipe.stages.minhash.enabled=maybe: must be true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(override: str, expected: str) -> None:
    assert expected in mistakes(override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("max_failed=7", "max_failed=7.0: must be above 0 and at most 1 (share of failed rows"),
        ("max_failed=0", "must be above 0"),
        ("limit=0", "limit=0: must be at least 1"),
        ("sampling.top_k=0", "must be -1 or at least 1"),
        ("recipe.personas_per_text=0", "recipe.personas_per_text=0: must be at least 1"),
        ("recipe.relations=[]", "recipe.relations=[]: must be not empty"),
        ("engine.kind=endpoint", "choose another option of the group"),
        ("input=", "input=: must be not empty"),
        ("sampling.max_tokens=2048", "must be below model.context=2048"),
        ("dedup.keep=highest", "dedup.keep=highest: name the column of numbers that decides, dedup.score_column="),
        ("dedup.minhash.bands=129", "must be at most dedup.minhash.num_permutations=128"),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused(override: str, expected: str) -> None:
    assert expected in mistakes(override)


def test_a_model_is_a_choice_of_the_group() -> None:
    message = mistakes("model=gpt2")
    assert "model=gpt2: no such model" in message
    assert "smollm2_135m" in message
    assert "model.weights=gpt2" in message
    assert compose([*RUN, "model.weights=openai-community/gpt2"])["model"]["weights"] == "openai-community/gpt2"


@pytest.mark.parametrize("value", ["gpt2", "5", "{name: x}", "[smollm2_135m]", "null", "/models/x"])
def test_nothing_but_a_name_chooses_a_model(value: str) -> None:
    assert "no such model" in mistakes(f"model={value}")


def test_an_unknown_option_is_answered_with_the_nearest() -> None:
    assert "engine=vllm_cpuu: no such engine; did you mean vllm_cpu" in mistakes("engine=vllm_cpuu")
    message = mistakes(base=["recipe=text_to_person", "input=a", "output=b"])
    assert "recipe=text_to_person: no such recipe; did you mean text_to_persona or persona_to_persona?" in message


def test_a_second_model_is_refused_where_the_recipe_takes_one() -> None:
    assert "model@weak=smollm2_135m: the recipe takes none there" in mistakes("model@weak=smollm2_135m")


def test_all_mistakes_are_said_at_once() -> None:
    message = mistakes(
        "model=gpt2", "limt=3", "sampling.max_tokens=abc", "max_failed=7", "+foo=1", "engine=endpoint", "(",
        base=["recipe=text_to_person"],
    )  # fmt: skip
    expected = [
        "recipe=",
        "model=",
        "limt:",
        "sampling.max_tokens=",
        "max_failed=",
        "foo:",
        "engine.base_url is",
        "(:",
        "input is",
        "output is",
    ]
    lines = [line.removeprefix("  - ") for line in message.splitlines()[1:]]
    assert message.startswith(f"{len(expected)} mistakes:")
    assert all(any(line.startswith(one) for line in lines) for one in expected), message


def test_a_wrong_scale_is_one_mistake_and_not_one_for_each_number_that_goes_by_it() -> None:
    how = ["recipe=agent_instruct", "input=a", "text_column=text", "output=b"]
    assert mistakes("recipe.scale=smal", base=how).startswith("recipe.scale=smal: must be paper or small")
    both = mistakes("recipe.scale=smal", "recipe.rounds=${nowhere}", base=how)
    assert "recipe.rounds: Interpolation key 'nowhere' not found" in both and "recipe.types" not in both
    assert "recipe.judge_at_least=11: must be from 1 to 10" in mistakes("recipe.judge_at_least=11", base=how)


def test_what_must_be_set_depends_on_the_verb() -> None:
    message = mistakes(base=[])
    assert all(f"{key} is not" in message for key in ("recipe", "input", "output"))
    assert "output is not set: add output=... (run directory" in message
    assert "output" not in mistakes(base=["recipe=text_to_persona"], needs=("recipe", "input"))
    nothing = compose([], needs=())
    assert (nothing["recipe"], nothing["input"], nothing["output"]) == (None, None, None)
    assert nothing["engine"]["kind"] == "vllm"


def test_new_keys_are_taken_where_any_key_is_legal() -> None:
    for plus in ("", "+"):
        config = compose([*RUN, f"{plus}engine.engine_kwargs.max_num_batched_tokens=4096"])
        assert config["engine"]["engine_kwargs"] == {"max_num_batched_tokens": 4096}


def test_a_stage_can_be_taken_out_or_switched_off() -> None:
    assert "minhash" not in compose([*RUN, "~recipe.stages.minhash"])["recipe"]["stages"]
    assert compose([*RUN, "dedup.embedding.enabled=false"])["recipe"]["stages"]["embedding"]["enabled"] is False


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("+recipe.stages.personas.flow.relation=x", "text_to_persona has no such knob; did you mean relations"),
        ("~recipe.stages.personas.flow.relations", "flow.relations is missing"),
        ("recipe.stages.personas.flow._target_=pipelines.flows.persona_hub.text", "has no function 'text'"),
        ("recipe.stages.quality.filters.contact._target_=pipelines.no.way", "module 'pipelines.no' cannot be imported"),
        ("recipe.stages.quality.filters.contact._partial_=false", "add _partial_: true"),
        ("+recipe.stages.hop2={repeat: 1, stages: {}}", "hop2: a block's name ends in no digit"),
        ("+recipe.stages.quality.dedup={}", "a stage has exactly one of rows, flow, map, filters, dedup, select"),
        ("+recipe.stages.quality.enable=false", "enable: no key of a filters stage; did you mean enabled?"),
        ("recipe.stages.personas.columns.persona=text", "recipe.stages.personas.columns.persona=text: not a type"),
    ],
)  # fmt: skip
def test_stages_are_bound_to_their_functions_before_anything_starts(override: str, expected: str) -> None:
    assert expected in mistakes(override)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("prompt.templates.persona='{{ txt }}'", "uses 'txt', which the flow does not give; did you mean text?"),
        ("prompt.templates.persona='{{ text'", "prompt.templates.persona, line 1:"),
        ("prompt=none", "renders the template 'persona', which prompt 'none' lacks"),
    ],
)  # fmt: skip
def test_templates_are_read_against_the_flow(override: str, expected: str) -> None:
    assert expected in mistakes(override)


def test_several_values_without_a_sweep_are_answered_with_the_three_ways_out() -> None:
    message = mistakes("recipe.relations=read,write")
    assert "add -m" in message
    assert "recipe.relations=[read,write]" not in message  # the general form is shown, not a guess at what was meant
    assert "write recipe.relations=[a,b] for a list" in message


def test_a_secret_is_not_repeated() -> None:
    for override in ("engine.api_key=sk-123", "engine.api_key=sk-1,2", "engine.api_key=sk(1"):
        assert "sk" not in mistakes("engine=endpoint", "engine.base_url=http://x/v1", override)


def test_a_dollar_and_a_brace_are_a_reference_unless_escaped() -> None:
    assert compose(["recipe=text_to_persona", "input=a", "output=runs/${seed}"])["output"] == "runs/0"
    assert "did you" not in mistakes(base=["recipe=text_to_persona", "input=a", "output=runs/${sed}"])
    assert "write \\${" in mistakes(base=["recipe=text_to_persona", "input=a", "output=runs/${x"])


@pytest.mark.parametrize(
    "path",
    [
        "a=b", "a,b", "{a}", "(a)", "[a]x", "~/a", "a b", " a ", "it's", 'say "hi"', "a'b\"c", "back\\slash", "end\\",
        "a:b", "a#b", "%41", "s3://bucket/x?y=1&z=2", "*.parquet", "part-[0-9].parquet", "12", "1e3", "true", "a\tb",
        "añ😀", "-x", "+x", "$HOME", "a;b|c",
    ],
)  # fmt: skip
def test_a_path_is_taken_as_it_stands(path: str) -> None:
    config = compose(
        ["recipe=text_to_persona", f"input={path}", f"output={path}", f"model.weights={path}", f"text_column={path}"]
    )
    assert {config["input"], config["output"], config["model"]["weights"], config["text_column"]} == {path}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda t: "$" not in t))
@examples(max_examples=20, deadline=None)
def test_any_text_is_a_path(path: str) -> None:
    quoted_or_special = path[0] == path[-1] and path[0] in "'\"" and len(path) > 1
    if quoted_or_special or path.lower() in ("null", "???"):
        return
    assert compose(["recipe=text_to_persona", "input=a", f"output={path}"])["output"] == path


def test_a_model_of_ones_own_is_a_yaml_of_a_few_lines(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("name: mine\nweights: /models/mine\ncontext: 4096\nparameters: 3\n")
    own = f"hydra.searchpath=[file://{tmp_path}]"
    assert compose([*RUN, own, "model=mine"])["model"]["weights"] == "/models/mine"
    assert "did you mean mine?" in mistakes(own, "model=mne")
    (tmp_path / "model" / "mine.yaml").write_text("name: mine\nweigths: /models/mine\n")
    assert "weigths" in mistakes(own, "model=mine")


def test_several_inputs_are_a_list_and_null_is_null() -> None:
    config = compose(["recipe=text_to_persona", "input=[a.parquet,'b,c.parquet']", "output=x", "id_column=null"])
    assert config["input"] == ["a.parquet", "b,c.parquet"]
    assert config["id_column"] is None


def test_a_value_that_is_quoted_already_is_left_so() -> None:
    assert compose(["recipe=text_to_persona", "input='a,b'", "output=x"])["input"] == "a,b"


def test_the_configuration_is_found_in_a_wheel_and_in_a_checkout(tmp_path: Path) -> None:
    """In the wheel conf/ lies inside the package; here the same layout is made of links."""
    root = Path(__file__).resolve().parents[1]
    package = tmp_path / "pipelines"
    package.mkdir()
    for entry in (root / "pipelines").iterdir():
        (package / entry.name).symlink_to(entry)
    (package / "face").unlink()
    (package / "face").mkdir()
    for entry in (root / "pipelines" / "face").glob("*.py"):
        (package / "face" / entry.name).write_text(entry.read_text())
    (package / "conf").symlink_to(root / "conf")
    code = "from pipelines.face.groups import conf_dir, options; print(conf_dir(), len(options('model')))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.split()[0] == str(package / "conf")


TABLE = "{region: {Africa: 18, Asia: 59}, age: {child: 1, adult: 3}}"


@pytest.mark.parametrize("recipe", ["text_to_persona", "persona_to_persona", "persona_hub"])
def test_a_table_of_weights_becomes_columns_and_a_stage_that_keeps_to_it(recipe: str, tmp_path: Path) -> None:
    base = [f"recipe={recipe}", "input=a", "output=b"]
    assert "population" not in enabled(compose(base)["recipe"])
    config = compose([*base, f"recipe.quotas={TABLE}"])
    nodes = enabled(config["recipe"])
    flows = [node for node in nodes.values() if "flow" in node]
    assert all({"region", "age"} <= set(node["columns"]) for node in flows)
    populations = [node for name, node in nodes.items() if name.endswith("population")]
    assert {len(node["select"]["quotas"]["region"]) for node in populations} == {2}
    (tmp_path / "table.yaml").write_text(TABLE)
    assert compose([*base, f"recipe.quotas={tmp_path / 'table.yaml'}"])["recipe"] == config["recipe"]


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("{region: {Africa: -1, Asia: 2}}", "the weight of Africa is -1.0; it must be a number above 0"),
        ("{persona: {a: 1, b: 2}}", "persona cannot be a column of its own"),
        ("{parents: {a: 1, b: 2}}", "parents cannot be a column of its own"),
        ("{age: {young: 1e300, old: 2}}", "must be a number above 0, up to"),
        ("{region: {Africa: 1}}", "needs two values or more"),
        ("[1, 2]", "is no table"),
        ("nowhere.yaml", "cannot be read"),
        ("{region: {Asia: 1, Asia: 2}}", "Asia is written twice in one table, line 1; leave one"),
        ("{region: {Asia: 1", "is not YAML"),
    ],
)
def test_a_table_that_is_none_is_refused_by_name(table: str, says: str) -> None:
    assert says.replace("-1.0", "-1") in mistakes(f"recipe.quotas={table}")


@pytest.mark.parametrize(
    ("table", "values"),
    [
        ("{year: {1990: 1, 2000: 3}}", ["1990", "2000"]),
        ("{land: {Österreich: 1, Côte d'Ivoire: 2}}", ["Österreich", "Côte d'Ivoire"]),
        ("{größe: {klein: 1, groß: 2}}", ["klein", "groß"]),
        ("{code: {no: 1, 0017: 2}}", ["no", "0017"]),
        ("{age:{child:25,adult:75}}", ["child", "adult"]),
        ("'{age: {0-17: 1, 18+: 2}}'", ["0-17", "18+"]),
    ],
)
def test_values_of_a_table_have_the_names_that_are_typed(table: str, values: list[str]) -> None:
    [weights] = compose(["recipe=text_to_persona", "input=a", "output=b", f"recipe.quotas={table}"])["recipe"][
        "quotas"
    ].values()
    assert list(weights) == values


def test_a_key_that_a_file_has_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    table = tmp_path / "table.yaml"
    table.write_text("region:\n  Africa: 1\n  Asia: 2\n  Africa: 3\n")
    assert f"{table}: Africa is written twice in one table, lines 2 and 4" in mistakes(f"recipe.quotas={table}")
    (tmp_path / "prompt").mkdir()
    wording = tmp_path / "prompt" / "mine.yaml"
    wording.write_text("name: mine\ntemplates:\n  persona: one\n  persona: two\n")
    with pytest.raises(UserError, match=rf"{wording}, line 4: found duplicate key persona"):
        compose(
            ["recipe=text_to_persona", "input=a", "output=b", f"hydra.searchpath=[file://{tmp_path}]", "prompt=mine"]
        )


def demonstrations_of(tmp_path: Path, *lines: str) -> str:
    (tmp_path / "shown.jsonl").write_text("\n".join(lines))
    return f"recipe.demonstrations={tmp_path / 'shown.jsonl'}"


SYNTHESIS = ["recipe=persona_synthesis", "input=a", "output=b"]


def test_demonstrations_from_a_file_stand_in_the_configuration(tmp_path: Path) -> None:
    given = demonstrations_of(tmp_path, '{"text": "How far?"}', '{"text": "How deep?", "persona": "A diver"}')
    config = compose([*SYNTHESIS, "recipe.mode=few_shot", given])
    wanted = [{"text": "How far?"}, {"text": "How deep?", "persona": "A diver"}]
    assert enabled(config["recipe"])["demonstrations"]["rows"]["given"] == wanted


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (['{"persona": "A diver"}'], "demonstration 1 has no text; it has persona"),
        (['{"text": "a"}', '{"text": "b", "persona": 3}'], "demonstration 2: its persona is 3, which is no text"),
        (["no json"], "is not JSON lines"),
        ([], "holds no demonstration"),
    ],
)
def test_demonstrations_that_lack_something_are_refused_by_number(lines: list[str], says: str, tmp_path: Path) -> None:
    given = demonstrations_of(tmp_path, *lines)
    assert says in mistakes("recipe.mode=few_shot", given, base=SYNTHESIS)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("recipe.variant=spatial", "recipe.variant=spatial: only recipe.task=reasoning heeds it, and this is math"),
        ("recipe.code=true", "only recipe.task=tool heeds it"),
        ("recipe.turns=2", "only recipe.task=instruction heeds it"),
    ],
)
def test_a_knob_that_the_task_does_not_heed_is_refused(given: str, says: str) -> None:
    assert says in mistakes("recipe.task=math", given, base=SYNTHESIS)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "recipe.stages.synthesis.from=seed",
            "recipe.stages.synthesis.from=seed: no stage before it; did you mean seeds",
        ),
        ("recipe.stages.synthesis.uses.demonstrations=[show]", "uses.demonstrations=show: no stage before it"),
        ("recipe.stages.synthesis.from=quality", "from=quality: no stage before it"),
    ],
)
def test_a_name_of_no_stage_before_is_refused(given: str, says: str) -> None:
    assert says in mistakes(given, base=SYNTHESIS)


def test_problems_with_answers_are_of_two_tasks() -> None:
    base = ["recipe=persona_math", "input=a", "output=b"]
    assert "recipe.task=npc: must be math or reasoning" in mistakes("recipe.task=npc", base=base)
    assert compose([*base, "recipe.task=reasoning", "recipe.variant=trick"])["recipe"]["task"] == "reasoning"


def test_a_file_of_demonstrations_is_text_whatever_it_looks_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "secret")
    texts = ["Use ${oc.env:MY_API_KEY}", "costs ${2x}$", "\\${a} and \\\\${b}", "two\u2028lines"]
    given = demonstrations_of(tmp_path, *(json.dumps({"text": text}, ensure_ascii=False) for text in texts))
    found = enabled(compose([*SYNTHESIS, "recipe.mode=few_shot", given])["recipe"])["demonstrations"]["rows"]["given"]
    assert [one["text"] for one in found] == texts


def test_demonstrations_for_a_mode_that_shows_none_are_refused(tmp_path: Path) -> None:
    assert "recipe.mode=zero_shot shows none" in mistakes(demonstrations_of(tmp_path, '{"text": "a"}'), base=SYNTHESIS)


@pytest.mark.parametrize("name", ["a.b", "a/b", ""])
def test_a_stage_that_could_name_no_directory(name: str) -> None:
    config = compose(["recipe=text_to_persona", "input=a", "output=b"])
    config["recipe"]["stages"][name] = config["recipe"]["stages"]["quality"]
    assert any("a word without dots or slashes" in line for line in check.mistakes(config))
