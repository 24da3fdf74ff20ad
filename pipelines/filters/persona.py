"""Reject rules for persona descriptions (papers.md 1.4): refusals, meta text, and texts about nobody.

A persona looks like ``A retired lighthouse keeper who restores barometers``. The general rules of
``pipelines.filters.text`` can be named from here too, so that a persona recipe reads from one place. The rules are
for English; they read surface marks only.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.filters.text import contact, fewer_words, foreign_language, matches, more_words, question, strings
from pipelines.refusals import DECLINED, REFUSAL

__all__ = [
    "contact",
    "declined",
    "fewer_words",
    "foreign_language",
    "more_words",
    "not_a_person",
    "question",
    "refers_back",
    "refusal",
    "several",
]

#: Text about the answer or the source instead of a person.
_META = (
    r"^\W*(?:sure|certainly|of course|absolutely|okay|ok|great question|no problem)[,.!:]"
    r"|^\W*here(?: is|['’]s| are) "
    r"|^\W*based on (?:the|this|your) (?:given |provided |above |following )?(?:text|passage|article|content)\b"
    r"|^\W*(?:the|this|that) (?:given |provided |above |following )?"
    r"(?:text|passage|article|document|excerpt|paragraph|persona|prompt|description|statement)\b"
    r"|^\W*(?:possible |one possible )?personas?(?: description)? ?(?:\d+ ?)?[:=]"
    r"|^\W*(?:note|answer|output|response|title|task|step \d+) ?:"
    r"|\b(?:the|this) persona (?:is|was|would|could|should|might)\b"
    r"|\b(?:mentioned|described|discussed|provided) in the (?:text|passage|article)\b"
)

#: What stands before an item of a list.
_MARK = r"(?:\(?\d{1,2}[.)]|\d{1,2} -|[a-h]\)|[-–—*•])"
#: Lists: lines with a number or a dash before them, "1. ... 2. ..." in one line, or JSON.
_SEVERAL = (
    rf"(?:^|\n)[ \t]*{_MARK}[ \t]+\S[^\n]*\n\s*{_MARK}[ \t]+\S"
    r"|^\W*1[.)]\s(?s:.*)\s2[.)]\s"
    r"|^\W*•\s(?s:.*)\s•\s"
    r"|^\s*\[\s*[\"'{]|^\s*\{\s*[\"']"
)
#: Words about the person that the text came from: it does not stand alone.
_BACK = (
    r"\b(?:the|this|that) (?:first|other|above|given|original|previous|aforementioned|described|same) "
    r"(?:persona|person|individual|character)\b"
    r"|\b(?:the|this|that) (?:persona|person|individual|character) (?:above|described|mentioned|in question)\b"
    r"|\b(?:described|mentioned|introduced|given|listed) (?:above|earlier|before)\b"
    r"|^\W*(?:this|that) (?:person|individual|character)\b"
)

#: Words that name a person and carry no telling ending.
_PERSON_WORDS = """
    who whose whom someone somebody anyone person people individual human adult i he she man men woman women guy
    gal boy girl child children kid teen adolescent toddler baby youth lad lady gentleman mother father mom mum
    dad parent grandparent son daughter sibling brother sister twin uncle aunt aunty cousin nephew niece husband
    wife spouse widow bride groom fiance family couple friend buddy mate roommate flatmate teammate classmate
    schoolmate ally peer colleague associate fellow partner neighbour resident citizen national native local
    client recipient visionary millionaire billionaire lord grandchild grandniece tenant expat expatriate
    immigrant migrant refugee nomad dweller villager member representative rep delegate student undergraduate
    graduate postgraduate undergrad grad phd freshman sophomore senior junior alum alumna alumnus pupil
    apprentice intern trainee scholar candidate novice newbie rookie beginner veteran vet pro professional
    expert specialist authority connoisseur enthusiast fan fanatic superfan buff aficionado devotee geek nerd
    junkie hobbyist addict maven guru prodigy genius savant fanboy fangirl advocate skeptic sceptic cynic critic
    pundit proponent opponent rival patriot zealot disciple acolyte believer pilgrim convert nurse doctor
    surgeon physician medic paramedic midwife chiropractor therapist dentist vet patient victim survivor teacher
    coach tutor mentor professor principal dean postdoc academic academician lecturer faculty chef cook baker
    sommelier barista waiter host hostess steward clerk cashier receptionist secretary assistant aide pilot
    astronaut sailor captain skipper crew soldier marine cop officer guard sheriff spy agent detective judge
    attorney counsel paralegal notary official diplomat ambassador politician mayor governor president premier
    minister monarch king queen prince princess duke duchess heir noble aristocrat chief chieftain leader boss
    head executive ceo cto cfo coo founder entrepreneur tycoon mogul magnate landlord shareholder liaison
    mechanic technician craftsman artisan smith blacksmith goldsmith locksmith tradesperson handyman artist
    architect actor actress poet bard playwright novelist laureate musician pianist vocalist celebrity star idol
    diva icon athlete acrobat gymnast jockey goalie goalkeeper quarterback midfielder champion medallist hero
    heroine monk nun priest imam rabbi cleric pastor vicar bishop shaman saint atheist guide scribe scout
    recluse hermit introvert extrovert foodie polyglot polymath spokesperson salesperson chairperson layperson
    concierge shepherd peasant herdsman serf commuter retiree pensioner descendant ancestor personality
    influencer vlogger spectator onlooker witness bystander reader writer author buyer seller
""".split()
#: Endings of words for what people do or where they come from: teacher, sculptor, chemist, librarian, trainee.
_PERSON_ENDING = "[a-z]{2,}(?:er|or|ist|ian|ant|ee|man|men|ess|yst|crat)s?"
#: Commoner words with such an ending that name nobody; they are taken out before the endings are looked for.
_NOBODY_WORDS = """
    other another together whether rather either neither however never ever over under after later water paper
    number computer power order matter letter chapter character quarter center better greater higher lower
    larger smaller longer shorter further stronger weaker older younger newer faster deeper broader wider latter
    upper inner outer proper super cyber silver summer winter weather september october november december dinner
    offer server printer folder filter layer laser fiber tower river cancer fever disorder cover corner border
    poster consider per sensor motor minor color harbor flavor error factor sector vector tractor interior
    exterior floor door nor poor behavior tumor humor terror mirror corridor important significant relevant
    distant constant instant plant restaurant want grant giant dominant elegant brilliant pleasant reluctant
    resistant abundant assist exist consist resist list mist process access success business less unless address
    stress press progress express fitness wellness awareness happiness illness effectiveness readiness openness
    guess possess degree free see tree three fee coffee committee agree guarantee knee italian asian indian
    christian canadian russian african victorian median german roman
""".split()

_PERSON = rf"(?i)\b(?:(?:{'|'.join(sorted(set(_PERSON_WORDS)))})s?|{_PERSON_ENDING})\b"
_NOBODY = rf"(?i)\b(?:(?:an?|the) major|{'|'.join(sorted(set(_NOBODY_WORDS)))})\b"


def refusal(table: pa.Table, *, column: str) -> pa.BooleanArray:
    """Refusals ("I cannot provide ...", "As an AI ...") and text about the answer ("Here is a persona: ...")."""
    return matches(strings(table, column), f"(?i){REFUSAL}|{_META}")


def several(table: pa.Table, *, column: str) -> pa.BooleanArray:
    """Lists, where one description is asked for: numbered or dashed lines, or a JSON array."""
    return matches(strings(table, column), _SEVERAL)


def declined(table: pa.Table, *, column: str) -> pa.BooleanArray:
    """Texts that open with a refusal. Further on a text may well have one: a request for "I'm sorry" in a letter."""
    return matches(strings(table, column), f"(?i){DECLINED}")


def refers_back(table: pa.Table, *, column: str) -> pa.BooleanArray:
    """Texts that lean on the one they were made from ("the person above", "described earlier")."""
    return matches(strings(table, column), f"(?i){_BACK}")


def not_a_person(table: pa.Table, *, column: str, within: int = 100) -> pa.BooleanArray:
    """Texts whose first ``within`` characters name no person: no "who", no person noun, no word such as "luthier".

    A sentence about things that mentions people early ("Recycling helps farmers") passes; an unusual noun without a
    telling ending may be rejected. Texts mostly in another script than Latin are not judged.
    """
    opening = pc.utf8_slice_codeunits(strings(table, column), 0, within)
    judged = matches(opening, r"[A-Za-z]{2}")
    named = matches(pc.replace_substring_regex(opening, _NOBODY, ""), _PERSON)
    return pc.and_(judged, pc.invert(named))
