"""Skills as files: the shipped ones are whole, and a mistake in one is named before anything starts."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.face.groups import conf_dir, options
from pipelines.face.taxonomy import taxonomy
from pipelines.flows.agent_instruct.skill import Skill

PROMPT = yaml.safe_load((conf_dir() / "prompt" / "agent_instruct.yaml").read_text())
OWN = """
name: haiku
takes: text
content: hidden
transformers:
  identity: {source: ours, copy: true}
types:
  season: {source: ours, ask: requests for a haiku on a season}
templates:
  question: "{{ instruction }} Keep to 5, 7 and 5 syllables."
"""


def test_all_seventeen_skills_are_shipped() -> None:
    found, wrong = taxonomy("all", PROMPT)
    assert wrong == [] and len(found) == 17


def test_the_published_counts() -> None:
    found, _ = taxonomy("all", PROMPT)
    reading, modification, tools = found["reading_comprehension"], found["text_modification"], found["tool_use"]
    assert len(reading["transformers"]) == 9 and len(reading["types"]) == 43
    assert sum(kind["source"] == "published" for kind in reading["types"].values()) == 14
    assert len(modification["types"]) == 18 and len(tools["types"]) == 7
    assert {name for names in reading["router"].values() for name in names} == set(reading["types"])


def test_the_released_splits_are_all_there() -> None:
    found, _ = taxonomy("all", PROMPT)
    splits = [skill["split"] for skill in found.values() if skill["split"]]
    assert sorted(splits) == sorted(
        "creative_content text_modification struct2text_flow rc rag text_extraction mcq follow_up analytical_reasoning "
        "fermi fs_cot_flow code_ brain_teaser text_classification open_domain_qa".split()
    )


def composed(*skills: object) -> dict:
    return compose(["recipe=agent_instruct", f"recipe.skill={','.join(map(str, skills))}", "input=a", "output=b"])


def test_a_skill_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "haiku.yaml"
    path.write_text(OWN)
    config = composed(path)
    assert list(config["recipe"]["taxonomy"]) == ["haiku"]
    assert config["prompt"]["templates"]["haiku.question"].endswith("syllables.")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("season:", "season: {source: ours, ask: again}\n  season:", "season stands twice"),
        ("source: ours, ask", "sauce: ours, ask", "sauce: no such key; did you mean source?"),
        ("takes: text", "takes: prose", "takes: 'prose' must be text or code"),
        ("name: haiku", "name: 3 lines", "must be a word"),
        ("types:", "router: {identity: [saison]}\ntypes:", "no type saison; did you mean season?"),
        ("types:", "router: {copy: [season]}\ntypes:", "router.copy: no such transformer"),
        ("ask: req", "constraints: [upper_cas], ask: req", "no constraint upper_cas; did you mean upper_case"),
        ("{{ instruction }}", "{{ instrucktion }}", "uses 'instrucktion', which is not given there"),
        ("question:", "questions:", "templates.questions: no such template; did you mean question"),
        ("takes: text", "takes: text\nsteps: no.such.module", "steps: no.such.module cannot be imported"),
        ("ask: requests for a haiku on a season", "ask: ' '", "ask is missing"),
        (OWN, "[]", "is no skill"),
        (OWN, "a: [", "expected"),
        (OWN, "name: haiku", "transformers is missing; it must be a table of entries by name"),
        ("season:", "yes:", "yes is read as no text; write the name in quotes"),
        ("season:", "2024:", "2024 is read as no text"),
        ("season:", '" ":', "its name is empty"),
        ("season:", "? [season]\n  :", "a list or a table is no name"),
        ("name: haiku", "name: 2024-01-01", "must be a word"),
        ("name: haiku", "name: 2024-99-99", "must be a word"),
        ("name: haiku", "name: &a [*a]", "holds itself"),
        ("takes: text", "takes: text\nsplit: a/b", "split: 'a/b' must be a word of letters, digits and _, or null"),
        ("takes: text", "takes: text\nsplit: true", "split: True must be a word"),
        ("content: hidden", "content: [hidden]", "content: ['hidden'] must be shown or hidden"),
        ("content: hidden", "several_turns: 1", "several_turns: 1 must be true or false"),
        ("copy: true", "copy: 1", "copy: 1 must be true or false"),
        ("ask: req", "options: 1, ask: req", "options: 1 must be true, false or a number from 2 to 8"),
        ("ask: req", "options: 9, ask: req", "options: 9 must be true, false or a number from 2 to 8"),
        ("ask: req", "copy: true, ask: req", "types.season: copy: no such key"),
        ("ask: req", "constraints: 5, ask: req", "constraints: 5 must be a list"),
        ("ask: req", "constraints: [5], ask: req", "constraints: no constraint 5"),
        ("ask: req", "constraints: [bold, bold], ask: req", "constraints: bold stands twice"),
        ("ask: requests for a haiku on a season", "ask: 5", "ask: 5 must be a text"),
        ("{source: ours, ask: requests for a haiku on a season}", "", "must be a table with source, ask, options"),
        ("types:", "router: [season]\ntypes:", "router: ['season'] must be a table"),
        ("types:", "router: {identity: season}\ntypes:", "router.identity: must be a list of types"),
        ("types:", "router: {identity: [season, season]}\ntypes:", "router.identity: season stands twice"),
        ("transformers:\n  identity: {source: ours, copy: true}", "router: {a: [b]}", "transformers is missing"),
        ("transformers:\n  identity: {source: ours, copy: true}", "transformers: 3", "transformers: 3 must be a table"),
        (OWN[OWN.index("templates") :], "templates: null", "templates: None must be a table"),
        (OWN[OWN.index("templates") :], "templates: {question: null}", "templates.question: None must be a text"),
        ("question:", "turn:", "templates.turn: no such template; this skill asks by instruct, question, follow_up"),
        ("question:", "judge:", "templates.judge: no such template"),
        ("question:", "describe_apis:", "templates.describe_apis: no such template"),
        ("question:", "suggest:", "templates.suggest: no such template; this skill asks by"),
        ("{{ instruction }}", "{{ instruction", "templates.question: "),
        ("{{ instruction }}", "{{ instruction | loudly }}", "No filter named 'loudly'"),
        ("{{ instruction }}", "{{ instruction.words }}", "has no attribute 'words'"),
        ("{{ instruction }}", "{{ 1 / 0 }}", "templates.question: division by zero"),
        ("takes: text", "takes: text\nsteps: 5", "steps: 5 must be a Python module, or null"),
        ("takes: text", "takes: text\nsteps: ''", "steps:  cannot be imported"),
        ("takes: text", "takes: text\nsteps: .a", "steps: .a cannot be imported"),
        ("takes: text", "takes: text\nsteps: json", "steps: json has no transform, instruct or respond"),
        (
            "takes: text",
            "takes: text\nsteps: pipelines.flows.agent_instruct.tool_use",
            "types: no type of pipelines.flows.agent_instruct.tool_use season; there are t1_all_given",
        ),
        ("takes: text", "takes: text\nrespond: [a]", "respond: ['a'] must be a JSON schema, or null"),
        ("takes: text", "takes: text\nrespond: {type: objekt}", "respond: is no JSON schema: $.type"),
        ("takes: text", "takes: text\nrespond: {type: string}", "respond: type: 'string' must be object"),
        ("takes: text", "takes: text\nrespond: {type: object, properties: {a: {pattern: (}}}", "'(' is not a 'regex'"),
        ("takes: text", "takes: text\nrespond: {type: object, $ref: '#/a'}", "$ref: #/a leads nowhere"),
        ("takes: text", "takes: text\nrespond: {type: object, maximum: .nan}", "respond: maximum: nan is no text"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "haiku.yaml"
    path.write_text(OWN.replace(old, new, 1))
    found, wrong = taxonomy(str(path), PROMPT)
    assert not found and all(line.startswith(f"{path}: ") for line in wrong)
    assert any(says in line for line in wrong), wrong


def test_mistakes_in_files_are_said_when_the_configuration_is_composed(tmp_path: Path) -> None:
    path = tmp_path / "haiku.yaml"
    path.write_text(OWN.replace("takes: text", "takes: prose").replace("source", "sauce"))
    with pytest.raises(UserError, match=r"haiku\.yaml: takes: 'prose' must be text or code") as caught:
        composed(path)
    assert "haiku.yaml: types.season: sauce: no such key; did you mean source?" in str(caught.value)


def test_a_module_that_does_not_even_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_steps.py").write_text("def transform(:\n")
    (tmp_path / "leaving_steps.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "haiku.yaml"
    for module, says in (("broken_steps", "SyntaxError"), ("leaving_steps", "SystemExit: 3")):
        path.write_text(f"{OWN}steps: {module}\n")
        [line] = taxonomy(str(path), PROMPT)[1]
        assert f"steps: {module} cannot be imported: {says}" in line


#: What may stand where something else should.
JUNK = st.recursive(
    st.sampled_from(
        [None, True, 0, 4, -1.5, float("nan"), "", " ", "text", "identity", "a/b", "{{ x", "#", b"x", date.min]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["source", "ask", "copy", "type", "$ref", "a", "", 5, True]), inner, max_size=3
        )
    ),
    max_leaves=4,
)


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in a skill."""
    yield at
    for key, one in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(one, (*at, key))


@pytest.mark.parametrize("name", ["web_agent", "tool_use", "reading_comprehension", "text_extraction"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_junk_in_a_file_is_named_or_can_be_used(
    name: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    skill = yaml.safe_load((conf_dir() / "taxonomy" / f"{name}.yaml").read_text())
    *above, last = ("skill", *data.draw(st.sampled_from(list(places(skill)))))
    whole = {"skill": skill}
    node: Any = whole
    for key in above:
        node = node[key]
    node[last] = data.draw(JUNK)
    path = tmp_path_factory.mktemp("skill") / "own.yaml"
    path.write_text(yaml.safe_dump(whole["skill"], allow_unicode=True))
    found, wrong = taxonomy(str(path), PROMPT)
    assert found or wrong
    assert all(line.startswith(f"{path}: ") for line in wrong)
    for plain in found.values():
        read = Skill.read(plain)
        assert all(read.types_for(transformer) for transformer in read.transformers)
        assert read.asks_by()


def test_names_that_are_not_known() -> None:
    with pytest.raises(UserError, match="recipe.skill=fermy: no such skill; did you mean fermi"):
        composed("fermy")
    with pytest.raises(UserError, match="cannot be read"):
        composed("nowhere.yaml")
    for path in ("a\0.yaml", "~nobody-here/own.yaml"):
        [line] = taxonomy(path, PROMPT)[1]
        assert line.startswith(f"recipe.skill={path}: cannot be read: ")


def test_a_list_of_skills() -> None:
    config = compose(["recipe=agent_instruct", "recipe.skill=[fermi,coding]", "input=a", "output=b"])
    assert list(config["recipe"]["taxonomy"]) == ["fermi", "coding"]
    assert len(options("taxonomy")) == 17
