"""What a scale costs: calls and tokens of a seed that every skill makes the most of."""

import asyncio
import json
from functools import cache

import pytest
import yaml

from pipelines.face.groups import conf_dir
from pipelines.flows.agent_instruct.flow import taught
from pipelines.flows.agent_instruct.tool_use import CASES
from pipelines.rows import Answer

from .conftest import GOOD, PROMPTS, SKILLS, TEXT, Scripted

RECIPE = yaml.safe_load((conf_dir() / "recipe" / "agent_instruct.yaml").read_text())["recipe"]
SEEDS = 12


def api(name, *parameters):
    described = [{"name": one, "type": "string", "required": True, "description": one} for one in parameters]
    return {"name": name, "description": f"Gives the {name}.", "parameters": described, "returns": "a text"}


APIS = [api(f"{name}_table", f"{name}_name") for name in ("tide", "yarn", "boat", "lamp")]


def dialogue(prompt):
    """What an assistant says that knows its case, which the request names; with as many calls as a turn may have."""
    seen = [one for one in APIS if one["name"] in prompt.fields.get("content", "")] or APIS
    case = next((case for case in CASES if case in prompt.fields.get("instruction", "")), "t1_all_given")
    _, absent, unsaid = CASES[case]
    if unsaid or absent:
        text = "Tide, yarn, boat or lamp: which name do you mean, or which table?"
        return {"action": "ask" if unsaid else "decline", "text": text, "calls": []}
    return calls(seen)


def calls(apis):
    made = [{"name": one["name"], "arguments": {one["parameters"][0]["name"]: "x"}} for one in apis]
    return {"action": "call", "text": "", "calls": (4 * made)[:4] if len(made) < 4 else made}


class Lavish(Scripted):
    """Makes the most of every prompt: each list is as long as it may be, and each answer takes all its tokens."""

    def __init__(self, skill, longest):
        action = {"reason": "It is there.", "action": "click", "element": 3, "text": ""}
        page = skill["name"] == "web_agent"
        tools = skill["name"] == "tool_use"
        super().__init__(
            {
                **GOOD,
                "instruct": lambda prompt: {"instructions": self.several(GOOD["instruct"](prompt)["instructions"])},
                "suggest": lambda prompt: {"suggestions": self.several(GOOD["suggest"]["suggestions"])},
                "edit_content": lambda prompt: {"edits": [{"sentence": 1, "replacement": f"So {next(self.numbers)}."}]},
                "edit_instruction": lambda prompt: (
                    GOOD["edit_instruction"](prompt)
                    | {"instruction": f"{prompt.fields['instruction'].split(' And ')[0]} And {next(self.numbers)}?"}
                ),
                "question": action if page else dialogue if tools else GOOD["question"],
                "turn": lambda prompt: calls(APIS) if self.schema is not None else GOOD["turn"],
                "describe_apis": {"apis": APIS[:1]},
                "sibling_apis": lambda prompt: {"apis": [self.unseen(prompt)]},
                "request": lambda prompt: {"request": f"I would like to know it ({prompt.fields['ask']})."},
                "tool_result": {"result": "4 m"},
            }
        )
        self.longest = longest
        self.numbers = iter(range(10_000))
        self.schema = None
        self.count = 1
        self.tokens = 0

    def several(self, some):
        return some * self.count

    def unseen(self, prompt):
        return next(one for one in APIS if one["name"] not in prompt.fields["content"])

    async def sample(self, prompt, n, *, schema=None, max_tokens=None, **how):
        self.schema, self.count = schema, prompt.fields.get("count", 1)
        most = min(max_tokens or self.longest, bounded(schema) or self.longest)
        answers = await super().sample(prompt, n, schema=schema, **how)
        self.tokens += n * most
        # An answer that was to be longer than the purse allows is cut.
        reason = "length" if max_tokens and most == max_tokens else "stop"
        return [Answer("" if reason == "length" else one.text, reason, 1, most) for one in answers]


def bounded(schema):
    """Tokens of the longest answer of a schema that has no free text: at most one for each character."""
    if schema is None:
        return None
    if "enum" in schema:
        return max(len(json.dumps(one)) for one in schema["enum"])
    if all(one == {"type": "boolean"} for one in schema["properties"].values()):
        return len(json.dumps(dict.fromkeys(schema["properties"], False)))
    return None


@cache
def lavish(skill, size):
    """The model and the items of some seeds that a skill takes up."""
    plain = SKILLS[skill]
    if skill == "tool_use":  # a request shows its case, so that the model knows what to do
        plain = {**plain, "types": {name: {**kind, "ask": name} for name, kind in plain["types"].items()}}
    scale = RECIPE["scales"][size] | {"follow_ups": 0, "temperatures": RECIPE["temperatures"]}
    del scale["calls"]
    found = []
    for seed in range(SEEDS):
        llm = Lavish(plain, RECIPE["scales"][size]["max_tokens"])
        row = {"id": str(seed), "skill": skill, "text": TEXT, "kind": plain["takes"], "language": None}
        library = [{"text": f"{TEXT} {one['name']}", "kind": "code"} for one in APIS]
        flow = taught(row, llm, PROMPTS, text_column="text", taxonomy={skill: plain}, scale=scale, library=library)
        found.append((llm, asyncio.run(flow)))
    return found


@pytest.mark.parametrize("skill", SKILLS)
def test_small_is_under_a_thousand_tokens_a_seed(skill):
    assert max(llm.tokens for llm, _ in lavish(skill, "small")) < 1000


@pytest.mark.parametrize("skill", SKILLS)
def test_small_leaves_tokens_for_all_that_skills_without_dialogues_make(skill):
    cut = [sum(item.reason == "cut_by_max_tokens" for item in items) for _, items in lavish(skill, "small")]
    assert any(cut) == (skill in ("conversation", "tool_use"))


def test_small_has_a_conversation_of_each_seed_even_so():
    for _, items in lavish("conversation", "small"):
        assert 2 in [item.columns["turns"] for item in items if item.reason is None]


@pytest.mark.parametrize("size", ["small", "paper"])
def test_the_calls_that_shards_are_sized_by_are_those_of_the_skill_that_makes_most(size):
    means = [sum(len(llm.asked) for llm, _ in lavish(skill, size)) / SEEDS for skill in SKILLS]
    assert max(means) <= RECIPE["scales"][size]["calls"] <= 1.25 * max(means)
