"""What each line of a text is: code, prose, a comment, a mark of a written page, the edge of a quoted block.

Compiled: pyarrow cuts a column into lines and matches patterns on all of them; numpy sums by text. No line is a Python
object. A line is judged by its surface: ``count = 0;`` is code wherever it stands, ``The count is then none`` prose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: A truth value, or a number, for every line or every text.
Marks = NDArray[np.bool_]
Numbers = NDArray[np.int64]
_Value = TypeVar("_Value", bound=np.generic)

_NAME = r"[A-Za-z_][\w.$]*"
_MODIFIERS = (
    r"(?:(?:pub(?:\(\w+\))?|export|default|public|private|protected|internal|static|async|final|abstract|override|inline"
    r"|unsafe|suspend|open|sealed|data|virtual|const|partial|readonly|extern|global)\s+)*"
)
#: Whole lines that are code in some language, whatever stands around them. A comment after the code is cut off.
_CODE = (
    # definitions
    _MODIFIERS
    + r"(?:def|fn|func|fun|function|class|struct|enum|impl|interface|namespace|trait|module|object|record|type"
    r"|protocol|extension|typedef|template|mod|macro_rules!)[ <]\s*[\w$<>:,&'. \[\]*~]+(?:[({:=;].*)?",
    r"func \(.*|function ?\(.*|(?:contract|library|event|modifier|mapping)\b.*[{;(].*",
    # imports
    r"(?:from\s+[\w.]+\s+import\s+[\w(*].*|import\s+(?:static\s+|type\s+|qualified\s+)?[\w.*]+(?:\s+as\s+\w+)?"
    r"(?:\s*\(.*\))?;?|import\s+(?:.*\sfrom\s+)?['\"({].*|export\s+(?:\*|\{).*|use\s+[\w:\\]+.*;"
    r"|(?:global\s+)?using\s+[\w.= ]+;|package\s+[\w.]+;?"
    r"|(?:require|require_relative|include|include_once|require_once|library|source)\b\s*[('\"].*)",
    r"#\s*(?:include\s*[<\"]|define\s+\w+|if\s+defined|ifn?def\b|endif\b|pragma\b).*|#!.*|#!?\[.*\]|<\?(?:php|xml).*|\?>",
    # control flow: with parentheses, with braces, with a colon, with an end
    r"\}?\s*(?:if|else\s*if|elseif|elsif|for|foreach|while|switch|catch|when|until|using|lock|guard)\s*\(.*[){;]",
    r"\}?\s*(?:if|else|else if|elseif|for|while|switch|match|loop|try|catch|finally|do|unsafe|select|begin|rescue"
    r"|ensure)\b.*\{(?:\s*\|.*)?",
    r"(?:if|elif|while)\b.*(?:[=!<>]=| [<>] |\bnot\b|\bin\b|\bis\b|[(_\[]).*:|for\s+[\w, ()*]+\s+in\s+.*:"
    r"|(?:if|elif|while) \w+:|(?:async\s+)?with\s+.*[(_].*:|(?:else|try|finally):|except\b.*:",
    r"(?:elif|elsif|if|unless|while|until)\s+[@!$\w.\[\]]+(?:\s*(?:[=!<>]=|[<>%]|&&|\|\|)\s*.+|\?)(?:\s+then)?",
    r"(?:return|raise|throw|yield|assert|await|defer|delete|echo|puts|print|new|go|super|case|goto)\b"
    r".*[=()\[\]{}_;\"'$:].*|return(?:\s+[\w.-]+)?;?",
    r"(?:break|continue|pass|end|fi|done|esac|else|then|do|begin|default|nil|null|true|false|endif)[;:,)]?",
    r"(?:const|let|var|val|auto|local|my|mut|final|static|export|readonly|declare)\s+[\w$@{\[(*&<>:, ]+.*=.*",
    r">>> .*|@[A-Za-z_][\w.]*(?:\(.*\)?)?",
    # calls, and assignments of more than a number
    r"(?:await |new |!|\(|\*|&)*[$@]?[A-Za-z_][\w.$?!]*(?:(?:::|->|\.|\?\.)\w+[!?]?|\([^()]*\)|\[[^\[\]]*\])*"
    r"\s*[({].*[)({,;\[\]]|(?:\?|&)?\.\w+\(.*|(?:\$|@)\w+.*[;=)].*",
    r"[$@*&]*[A-Za-z_][\w.$>-]*(?:\[[^\]]*\])*(?:\s*:\s*[\w\[\]|., <>]+)?\s*"
    r"(?:[-+*/|&%^.?:]|<<|>>|\*\*|//|\|\||&&|\?\?)?=\s*(?:[\w.$\"'\[{(&!*@-].*[\"'()\[\]{}_.;:|&,$].*|[\[{(\"'])",
    r"(?:[\w:<>\[\]*&?]+\s+)+[*&]?\w+(?:\[.*\])*\s*=\s*[^=].*;|\w[\w.$]*\s*(?:<<?-|%>%|\|>|:=)\s*\S.*",
    r"[\w.\[\]()*&>-]+(?:\+\+|--);|[\w:<>*&,\[\]]+\s+[*&]?\w+(?:\[\w*\])*(?:,\s*[*&]?\w+)*;",
    # what lines of code end in, or are altogether
    r".*[\w)\]]\s*=>?\s*\{|.*[)\w]\s*(?:=>|->)\s*\S*[{(;,]?|[})\]][})\];, ]*|[{\[(]|.*[;}]\s*else\b.*"
    r"|.*[\w)\]\"']\s?\{",
    r".*[()\[\]\"=>_]\s*;|.*[=([{]\s*|.*(?:&&|\|\|)",
    r"[\"'][\w$/{}.#@-]+[\"']\s*(?::|=>)\s*\S.*|[\w-]+:\s*[\w-][\w .#%(),-]*;",
    r"(?:[\"'][^\"']*[\"']|-?[\d.]+|0x\w+|true|false|null)(?:,\s*(?:[\"'][^\"']*[\"']|-?[\d.]+|0x\w+|true|false|null))*,?\s*[\])}]*[,;]",
    # shell
    r".*(?:^|[\s=\"(])\$(?:[A-Za-z_{(]).*|(?:if|while|until|elif)\s+(?:\[|!|test\b).*|.*;\s*(?:then|do)"
    r"|\w[\w-]*\s*\(\)\s*\{?|[A-Z_][A-Z0-9_]*=\S.*",
    r"(?:sudo|apt-get|pip|npm|docker|git|cd|mkdir|rm|cp|mv|chmod|curl|wget|export|source|echo|grep|sed|awk|tar|exit|set)"
    r"\s+[-$\"'./~\w]\S*(?:\s+[-$\"'./~]\S*.*)?",
    # Haskell, Lisp, assembly, SQL, markup
    r"[a-z]\w*'*\s+::\s.*|(?:data|newtype|type|instance|deriving|module)\s+.*(?:=|where|\().*|where|\|\s.*=.*"
    r"|[a-z]\w*'*(?:\s+[\w:\[\]()_@]+)+\s+=\s+.*|let\s+\w+.*=.*|.*\s\$\s+(?:do|\\.*)|.*\s\$",
    r"\(+(?:'?[a-z][\w!?*<>=/+:.-]*|[-+*/=<>]+)(?:\s.*|\)*)|[^.]*\)\)+",
    r"(?:section|segment|global|globl|extern|bits)\s+[.\w]+|[._][\w.]*:"
    r"|\.(?:globl|global|text|data|section|align|byte|word|long|asciz?|string|type|size)\b.*",
    r"(?:mov|push|pop|call|ret|jmp|je|jne|jz|jnz|jg|jge|jl|jle|add|sub|lea|cmp|xor|inc|dec|int|syscall|ldr|str|bl|imul"
    r"|mul|div|test|nop|svc|li|la|lw|sw|addi)[lqwb]?(?:\s+[%$#&@\[\w][\w%$#&@\[\](),+*: .-]*(?:;.*)?)?",
    r"(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (?:TABLE|INDEX|VIEW|OR|UNIQUE|TEMP)|ALTER TABLE|DROP|FROM|WHERE"
    r"|(?:LEFT |INNER |RIGHT |OUTER |FULL |CROSS )*JOIN|GROUP BY|ORDER BY|VALUES|HAVING|UNION|LIMIT|AND|ON|SET)\b.*",
    r"(?i:select\s.*\sfrom\s\w+.*|create\s+table\s.*|insert\s+into\s.*|delete\s+from\s.*|update\s+\w+\s+set\b.*"
    r"|.*\b(?:varchar|primary key|not null|foreign key|references)\b.*)",
    r"</?[A-Za-z!][^<>]*/?>(?:.*</[A-Za-z0-9]+>)?|<[a-zA-Z][\w-]*(?:\s+[\w:-]+=.*)?|.*</[A-Za-z0-9]+>",
)
#: Whole lines that are code among code, and may be anything elsewhere.
_PERHAPS = (
    r"[A-Za-z_]\w*\s*[-+*/]?=\s*[^=\s].*",
    r"(?:- )?[\w./{}$-]+:(?:\s+(?:[\w./#'\"{}\[\]>|&*-]+|[\"'\[{>|].*))?|- [\w./$'\"{}-]+",
    r"(?:else|next|try|in|not|and|or)\b.{0,12}|\w+,|.*[\w)\]\"'],",
    r"[+*/&|<>=?:.-]{1,2}\s.*[\w)\]\"';]",
)
_KEY = (r"(?:- )?[\w./{}$\"'-]+:(?:\s.*)?|- \S.*",)
_COMMENT = r"^\s*(?:(?://|/\*|--+|;;|%+|#+'?|<!--)(?:[^\w]|$)|\s\*+(?:\s|/|$)|#\w+ \w+ )|^\*/"
_COMMENTED = r"^\s*(?:///?|--+|;+|%+|#+'?)(?:[^\w]|$)"
_BLOCK, _BLOCK_END = r"^\s*(?:/\*|\{-|#=)", r"\*/|-\}|=#$"
_WORDS = r"(?:[\p{L}’'-]+,? ){3}[\p{L}’'-]+"
_SENTENCE = r"(?:[\p{L}’'-]+[,;:]? ){7}\p{Ll}|[a-z]{3,}[.?!] [A-Z][a-z]+ [a-z]+ [a-z]"
_MATHS = (
    r"\\(?:begin|end|[dt]?frac|sqrt|boxed|text|mbox|cdot|times|left|right|sum|int|leq?|geq?|neq|pi|theta|alpha|beta|angle"
    r"|circ|[lc]dots|q?quad|pmod|binom|mathbb|mathbf|Rightarrow|implies|overline|triangle|log|sin|cos|tan|align)\b|\\\\$"
    r"|^\s*\\\[|\\\(.*\\\)|\$(?:\w|[^\s$][^$\n]{0,60}[^\s$])\$(?:[^\w{(\"'$@!#]|$)|\$\$"
)
_PAGE = (
    r"``[^`]|`_(?:\W|$)|^#{1,6} [A-Z]|\]\((?:https?:|\.?/|#)|^[*+-] [A-Z`]|\*\*[A-Za-z][\w ,.:]*\*\*|^\d+\. [A-Z`]"
    r"|(?:^|\s)`[^`]+`(?:\W|$)|^\| .* \|$|\]\[\w*\]|^(?:={3,}|\.{4,})\s*$"
)
_FRAME = r"^(?:={4,}|-{4,}|~{4,}|\^{4,}|'{4,})\s*$|^[^(){};=]*[\w)\"'`.]\s?::$|^\.\. (?:[\w-]+::|_|\[)"
_FENCE, _FENCE_BARE = r"^\s{0,3}(?:```|~~~)|\[/?asy\]", r"^\s*(?:```|~~~)\s*$|\[/asy\]"


def _whole(patterns: tuple[str, ...]) -> str:
    return rf"^\s*(?:{'|'.join(patterns)})\s*$"


@dataclass(frozen=True)
class Lines:
    """How many lines of each sort every text has.

    Attributes:
        full: lines that are not blank. Quoted blocks (Markdown's fences, drawings in MATH) count in no other.
        code: code whatever stands around it; perhaps: code among code.
        prose: four words in a row, and no code.
        comment: of them, those that are no Markdown: whole-line comments, blocks of comment, docstrings.
        page: what only written pages have: headings, bullets, links, formulas.
        frame: marks that only a page of reStructuredText has, and fences: what they hold is quoted.
        key: ``name: value`` or ``- item``; nested: an indented ``name:`` with nothing after it.
    """

    full: Numbers
    code: Numbers
    perhaps: Numbers
    prose: Numbers
    comment: Numbers
    page: Numbers
    frame: Numbers
    key: Numbers
    nested: Numbers


class Cut:
    """A column of texts as one array of lines; null has none.

    Attributes:
        lines: all lines of all texts, in order.
    """

    def __init__(self, texts: pa.Array) -> None:
        cut = pc.split_pattern(pc.fill_null(texts, ""), "\n")
        self.lines = cut.flatten()
        self._offsets = cut.offsets.to_numpy()

    def has(self, pattern: str, lines: pa.Array | None = None) -> Marks:
        """Whether each line matches somewhere."""
        matched = pc.match_substring_regex(self.lines if lines is None else lines, pattern)
        return matched.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    def per_text(self, marks: Marks) -> Numbers:
        """How many lines of each text are marked."""
        return np.diff(_run(marks)[self._offsets])

    def since_start(self, marks: Marks) -> Numbers:
        """How many lines of its text are marked, up to each line and with it."""
        run = _run(marks)
        return cast(Numbers, run[1:] - self.spread(run[self._offsets[:-1]]))

    def spread(self, values: NDArray[_Value]) -> NDArray[_Value]:
        """A value of each text, for each of its lines."""
        return np.repeat(values, np.diff(self._offsets))


def sorted_lines(cut: Cut) -> Lines:
    """The lines of every text, counted by what they are.

    A passage may begin inside a fence: where its first fence has no language and another has, or their number is odd,
    the first one closes. It may begin inside a docstring: where their edges are of odd number and the first is bare.
    """
    full = cut.has(r"\S")
    fence = cut.has(_FENCE) & ~cut.has(r"\[asy\].*\[/asy\]")
    bare = cut.has(_FENCE_BARE)
    first_closes = cut.per_text(fence & bare & (cut.since_start(fence) == 1)) > 0
    first_closes &= (cut.per_text(fence) % 2 == 1) | (cut.per_text(fence & ~bare) > 0)
    quoted = (cut.since_start(fence) + cut.spread(first_closes)) % 2 == 1
    edge = cut.has('"""') & ~cut.has('""".*"""')
    first_edge = edge & (cut.since_start(edge) == 1) & (cut.since_start(full) > 1) & cut.has(r'^\s*"""\s*$')
    begins_inside = (cut.per_text(first_edge) > 0) & (cut.per_text(edge) % 2 == 1)
    docstring = (cut.since_start(edge) + cut.spread(begins_inside)) % 2 == 1
    docstring |= edge | cut.has(r'^\s*[rRfu]?"""')
    block_begins = cut.has(_BLOCK)
    block_ends = cut.has(_BLOCK_END) & ~block_begins
    inside = cut.since_start(block_begins & ~cut.has(_BLOCK_END)) > cut.since_start(block_ends)
    block = inside | block_begins | block_ends

    own = full & ~quoted & ~fence
    comment = block | docstring | cut.has(_COMMENT)
    bared = pc.replace_substring_regex(cut.lines, r"([^\s])\s+(?://|#)\s.*$", r"\1")
    sentence, maths = cut.has(_SENTENCE, bared), cut.has(_MATHS) & ~cut.has(r"[;{]\s*$")
    code = own & ~comment & ~maths & ~sentence & cut.has(_whole(_CODE), bared)
    perhaps = own & ~comment & ~maths & ~code & cut.has(_whole(_PERHAPS), bared)
    key = own & cut.has(_whole(_KEY))
    return Lines(
        full=cut.per_text(full),
        code=cut.per_text(code),
        perhaps=cut.per_text(perhaps),
        prose=cut.per_text(own & ~comment & ~code & (sentence | cut.has(_WORDS, bared))),
        comment=cut.per_text(own & (block | docstring | cut.has(_COMMENTED))),
        page=cut.per_text(own & ~comment & (maths | cut.has(_PAGE))),
        frame=cut.per_text(full & (fence | (own & ~comment & cut.has(_FRAME)))),
        key=cut.per_text(key),
        nested=cut.per_text(key & cut.has(r"^\s+[^\s:]+:\s*$")),
    )


def _run(marks: Marks) -> Numbers:
    return np.append(0, np.cumsum(marks, dtype=np.int64))
