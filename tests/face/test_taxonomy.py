"""Skills as files: the shipped ones are whole, and a mistake in one is named before anything starts."""

from pathlib import Path

import pytest
import yaml

from pipelines.compose import compose
from pipelines.errors import UserError
from pipelines.face.groups import conf_dir, options
from pipelines.face.taxonomy import taxonomy

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
        ("takes: text", "takes: prose", "takes: 'prose' is none of text, code"),
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
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "haiku.yaml"
    path.write_text(OWN.replace(old, new, 1))
    with pytest.raises(UserError, match=r"haiku\.yaml") as caught:
        composed(path)
    assert says in str(caught.value)


def test_names_that_are_not_known() -> None:
    with pytest.raises(UserError, match="recipe.skill=fermy: no such skill; did you mean fermi"):
        composed("fermy")
    with pytest.raises(UserError, match="cannot be read"):
        composed("nowhere.yaml")


def test_a_list_of_skills() -> None:
    config = compose(["recipe=agent_instruct", "recipe.skill=[fermi,coding]", "input=a", "output=b"])
    assert list(config["recipe"]["taxonomy"]) == ["fermi", "coding"]
    assert len(options("taxonomy")) == 17
