"""Each recipe's own knobs, typed: the keys under ``recipe.`` that only it has.

A recipe file names its class in its defaults (``/schema/recipe/text_to_persona@recipe``) and gives the values; a
recipe without knobs of its own names ``/schema/recipe/plain@recipe``. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.face.retrieval_knobs import Evaluate, InPars, Promptagator, Retrieval, TrainRetriever
from pipelines.settings import Recipe
from pipelines.settings.keys import NOT_EMPTY, SHARE, SHARE_ABOVE_ZERO, Rule, at_least, between, key


class Granularity(StrEnum):
    """How narrowly a persona is described; changes the instruction only."""

    coarse = "coarse"
    medium = "medium"
    fine = "fine"


@dataclass
class Personas(Recipe):
    """What recipes that make personas share."""

    languages: list[str] = key("two-letter codes; other personas are rejected as foreign_language", rule=NOT_EMPTY)
    quotas: Any = key(
        "weights of values by attribute, {region: {Africa: 18, Asia: 59}, age: {child: 25, adult: 75}}, or a YAML file "
        "of them: personas are asked for by these shares, and what is kept has them",
        None,
    )
    quota_tolerance: float = key(
        "how far a value's share of the kept personas may be from its weight's", 0.01, SHARE_ABOVE_ZERO
    )


@dataclass
class People(Personas):
    """What recipes share that ask for the people around personas."""

    fan_out: int = key("people asked for around each persona, a model call each", rule=between(1, 1000))
    relation_types: list[str] = key("what people may be to a persona; fan_out of them are drawn", rule=NOT_EMPTY)
    max_new_per_hop: int | None = key("most personas that a hop adds; null is no limit", rule=at_least(1))


@dataclass
class TextToPersona(Personas):
    """Recipe ``text_to_persona``: from a text to the kind of person who relates to it."""

    relations: list[str] = key("what the person would do with the text; one is drawn for each seed", rule=NOT_EMPTY)
    granularity: Granularity = key("coarse (a role), medium (role and interest) or fine (as specific as possible)")
    personas_per_text: int = key("personas asked for from one text; several come as one JSON list", rule=at_least(1))


_HOPS = "how often the newest personas are asked for the people around them"


@dataclass
class PersonaToPersona(People):
    """Recipe ``persona_to_persona``: from given personas to the people around them, hop after hop."""

    hops: int = key(_HOPS, rule=between(1, 100))


@dataclass
class PersonaHub(TextToPersona, People):
    """Recipe ``persona_hub``: from texts to personas, then from those to the people around them."""

    hops: int = key(_HOPS, rule=between(0, 100))


class Task(StrEnum):
    """What a persona is asked for."""

    math = "math"
    reasoning = "reasoning"
    instruction = "instruction"
    knowledge = "knowledge"
    npc = "npc"
    tool = "tool"


class Mode(StrEnum):
    """What a prompt shows before the persona."""

    zero_shot = "zero_shot"
    few_shot = "few_shot"
    persona_few_shot = "persona_few_shot"


class Variant(StrEnum):
    """Kinds of reasoning problems."""

    plain = "plain"
    spatial = "spatial"
    trick = "trick"


@dataclass
class PersonaSynthesis(Recipe):
    """Recipe ``persona_synthesis``: what each persona would ask, write, need or be."""

    task: Task = key("math, reasoning, instruction, knowledge, npc or tool")
    mode: Mode = key("zero_shot, few_shot (demonstrations), persona_few_shot (demonstrations with their personas)")
    variant: Variant = key("of reasoning problems: plain, spatial or trick")
    topic: str | None = key("what all texts are to be about; null leaves it open", literal=True)
    difficulty: str | None = key("how hard, in words (Olympiad level); null leaves it open", literal=True)
    language: str | None = key("language to write in, by its name; null leaves it open", literal=True)
    demonstrations: Any = key(
        "a JSON lines file of {text, persona} instead of the shipped demonstrations; without persona one is inferred",
        literal=True,
    )
    code: bool = key("tool only: ask for code of each interface in a second call; it is stored, never run")
    turns: int = key("instruction only: user turns of a simulated conversation; 0 for none", rule=at_least(0))


@dataclass
class PersonaMath(PersonaSynthesis):
    """Recipe ``persona_math``: math problems by personas, with answers that several solutions agree on."""

    task: Task = key(
        "kind of problem: math or reasoning", rule=Rule("math or reasoning", lambda task: task in ("math", "reasoning"))
    )
    solutions: int = key("solutions sampled of each problem", rule=at_least(1))
    agreement: int = key("solutions that must come to the same answer", rule=at_least(1))
    test_share: float = key("share of the problems that are held out as the test split", rule=SHARE)
    agreement_in_train: bool = key(
        "ask for agreement in the train split, too; the paper does so in the test split only"
    )


@dataclass
class SimilarityStudy(Recipe):
    """Recipe ``similarity_study``: problems by pairs of personas that are more and less alike."""

    levels: list[float] = key("cosines of two personas that pairs are picked at", rule=NOT_EMPTY)
    pairs_per_level: int = key("pairs at each of these, at most; no persona is in two", rule=at_least(1))
    sample: int = key("personas that pairs are looked for in, drawn by lot; all of them are encoded", rule=at_least(2))


@dataclass
class AgentInstruct(Recipe):
    """Recipe ``agent_instruct``: from texts and code to instructions with responses, skill by skill."""

    skill: Any = key("all, a skill's name, a YAML file of one, or a list of these", rule=NOT_EMPTY)
    scale: str = key(
        "paper, or small (one transformer, few instructions, 96 tokens a call, under 1,000 a seed and skill)",
        rule=Rule("paper or small", lambda scale: scale in ("paper", "small")),
    )
    scales: dict[str, Any] = key("what the keys below are at each scale", {})
    skills_per_seed: int | None = key("skills that take up a seed, by lot; null: all that take its kind", None)
    types: int = key("types of instruction asked for, of those that suit the text", rule=at_least(1))
    instructions: int = key("instructions asked for of each type, at most", rule=at_least(1))
    tries: int = key("transformers tried, at most, where one declines", rule=at_least(1))
    rounds: int = key("rounds of refinement", rule=at_least(0))
    goals: int = key("goals of refinement in a round", rule=at_least(0))
    suggestions: int = key("suggestions for each goal; each is followed by an edit", rule=at_least(1))
    votes: int = key("votes on a question with options; more than half must agree", rule=at_least(1))
    turns: int = key("user turns of a conversation, in skills that are one", rule=at_least(1))
    follow_ups: int = key("user turns after the response, in other skills", rule=at_least(0))
    max_tokens: int = key("longest answer of a call, in tokens; sampling.max_tokens takes it", rule=at_least(16))
    tokens: int | None = key(
        "tokens that a seed may generate in a skill; answers beyond are cut, their items rejected; null: no bound",
        None,
        rule=at_least(1),
    )
    calls: int = key("calls that a seed makes, about: shards have as many times fewer rows", rule=at_least(1))
    temperatures: dict[str, float] = key("by step: transform, instruct, suggest, edit, respond, judge", {})
    decontaminate: Any = key(
        "evaluation sets (files, or a list): rows that share a run of words with one are rejected", None, literal=True
    )
    decontaminate_ngram: int = key("words of such a run", rule=at_least(1))
    judge_at_least: int | None = key(
        "score from 1 to 10 that a judge must give a finished row; null asks no judge", None, rule=between(1, 10)
    )
    taxonomy: Any = key("the skills as read from their files; recipe.skill names them", None)


#: Schemas of the group ``recipe``, by the name that a recipe file's defaults use.
RECIPES: dict[str, type] = {
    "plain": Recipe,
    "text_to_persona": TextToPersona,
    "persona_to_persona": PersonaToPersona,
    "persona_hub": PersonaHub,
    "persona_synthesis": PersonaSynthesis,
    "persona_math": PersonaMath,
    "similarity_study": SimilarityStudy,
    "agent_instruct": AgentInstruct,
    "retrieval": Retrieval,
    "evaluate": Evaluate,
    "train_retriever": TrainRetriever,
    "inpars": InPars,
    "promptagator": Promptagator,
}
