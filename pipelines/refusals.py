"""How models say no, as regular expressions for English (papers.md 1.4)."""

from __future__ import annotations

_VERBS = (
    "provide|generate|create|determine|assist|help|fulfil|answer|comply|infer|identify|write|describe|complete|produce|"
    "give|offer|discuss|engage|continue|process|see|find|tell|do that|say|access|make"
)
#: A refusal anywhere in a text, in any case of letters.
REFUSAL = (
    rf"\bi(?: am|['’]m)? (?:sorry|apologi[sz]e|unable to|not able to|not sure (?:what|who|how)|afraid (?:i|that))\b"
    rf"|\bi (?:cannot|can ?not|can['’]t|could not|couldn['’]t|won['’]t|will not|do not feel comfortable) (?:{_VERBS})\b"
    r"|\bas an? (?:ai|artificial intelligence|(?:large )?language model|chatbot|virtual assistant)\b(?:[ ,.]|$)"
    r"|\bi(?: am|['’]m) (?:just |only )?an? (?:ai|(?:large )?language model)\b[ ,.]"
    r"|^\W*(?:sorry|unfortunately|i apologi[sz]e)\b"
    r"|^\W*(?:i (?:must|have to) decline|n/a)\b"
)
#: A refusal that a text opens with, in any case of letters.
DECLINED = (
    rf"^\W*(?:(?:sorry|unfortunately|i apologi[sz]e|i(?: am|['’]m) sorry)\W+(?:but )?)?(?:"
    rf"i (?:cannot|can ?not|can['’]t|won['’]t|will not|am unable to|am not able to) (?:{_VERBS})\b"
    r"|i(?: am|['’]m) (?:just |only )?an? (?:ai|(?:large )?language model)\b[ ,.]"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model|chatbot|virtual assistant)\b[ ,.])"
)
