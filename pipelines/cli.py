"""The command line: ``nightmill VERB [key=value ...] [--json]``. Finds the verb, composes, calls, prints; no more.

Nothing heavy is imported until a verb needs it, so ``nightmill --help`` appears at once. Flags, ``-m`` and positionals
may stand anywhere. Exit codes: 0 finished, 1 stopped before its end or a defect found, 2 the user's mistake.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from typing import Any, NoReturn, TextIO

from pipelines.errors import RunStopped, UserError
from pipelines.face.verbs import VERBS, Verb


def command(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code: what the shell calls.

    Threads of Arrow, vLLM or torch may still let go of Python objects while the interpreter takes itself down, which
    aborts a command that had done its work; so the process ends right after its exit handlers.
    """
    _open_streams()
    # What a command imports and composes stays; looking through all of it for garbage takes a tenth of its start.
    gc.set_threshold(50_000, 20, 50)
    code = main(argv)
    atexit._run_exitfuncs()
    logging.shutdown()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _open_streams() -> None:
    """Stdin, stdout and stderr that the shell closed lead nowhere: what is opened next would take their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("pipelines").setLevel(logging.INFO)
    as_json = "--json" in arguments
    with _stdout() as out:
        try:
            return _command(arguments, as_json, out)
        except (UserError, RunStopped) as error:
            code, message = (2 if isinstance(error, UserError) else 1), str(error)
        except KeyboardInterrupt:
            code, message = 1, "stopped by Ctrl-C; the same command goes on from what is committed"
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # The reader has seen enough; nothing more is written.
            return 0
        except OSError as error:
            code, message = 1, str(error)
        except Exception as error:
            traceback.print_exc()
            code, message = 1, f"{type(error).__name__}: {error}"
        print(f"nightmill: {message}", file=sys.stderr)
        if as_json:
            print(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False), file=out)
        return code


def _command(arguments: list[str], as_json: bool, out: TextIO) -> int:
    name, rest = _verb(arguments)
    if name is None:
        if "--version" in rest:
            from pipelines import __version__

            print(f"nightmill {__version__}", file=out)
            return 0
        from pipelines.face.usage import general

        asked = not rest or "-h" in rest or "--help" in rest
        if not asked:
            raise UserError(f"no verb in {' '.join(rest)!r}; put one first: nightmill {' | '.join(VERBS)}")
        print(general(VERBS), end="", file=out if rest else sys.stderr)
        return 0 if rest else 2
    verb = VERBS[name]
    if "-h" in rest or "--help" in rest:
        from pipelines.face.usage import of_verb

        print(of_verb(verb, _shown_values(rest) if verb.composes else None), end="", file=out)
        return 0
    given = _parsed(name, verb, rest)
    with _imported(verb.within)() if verb.within else nullcontext():
        result, render = _done(name, verb, given)
    if as_json:
        print(json.dumps(result, ensure_ascii=False, default=str), file=out)
    else:
        from rich.console import Console

        Console(file=out, width=None if out.isatty() else 160).print(render(result))
    out.flush()
    return 0 if result.get("ok", True) else 1


def _done(name: str, verb: Verb, given: dict[str, Any]) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """Do the verb: its result, and what renders it."""
    if not verb.composes:
        return _imported(verb.function)(**given), _imported(verb.render)
    overrides, multirun = given["overrides"], given.get("multirun", False)
    if multirun:
        from pipelines import sweep

        return sweep.sweep(overrides, _imported(verb.function)), sweep.render
    from pipelines.compose import compose

    return _imported(verb.function)(compose(overrides, needs=verb.needs)), _imported(verb.render)


def _shown_values(arguments: Sequence[str]) -> dict[str, Any]:
    """The configuration whose values a page of help shows: with the overrides beside it, where they compose."""
    from pipelines.compose import compose

    taken: list[str] = []
    chosen = compose(taken, needs=())
    for word in arguments:
        with suppress(UserError):  # a page of help refuses nothing
            if "=" in word and not word.startswith("-"):
                chosen = compose([*taken, word], needs=())
                taken.append(word)
    return chosen


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _verb(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The verb and the arguments without it; None when there is none. The verb need not come first."""
    valued = {option.name for verb in VERBS.values() for option in verb.options if option.takes}
    for place, word in enumerate(arguments):
        after_option = place > 0 and arguments[place - 1] in valued
        if word.startswith(("-", "~")) or "=" in word or after_option:
            continue
        if word not in VERBS:
            from pipelines.face.overrides import did_you_mean, nearest

            near = did_you_mean(nearest(word, VERBS), f"verbs are {', '.join(VERBS)}")
            raise UserError(f"{word}: no such verb; {near}")
        return word, [*arguments[:place], *arguments[place + 1 :]]
    return None, list(arguments)


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that --json can report a mistake too."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}\n{self.format_usage().strip()}")


def _parsed(name: str, verb: Verb, arguments: list[str]) -> dict[str, Any]:
    """Positionals and options of a verb by the names of its function's parameters."""
    parser = _Parser(prog=f"nightmill {name}", add_help=False, allow_abbrev=False)
    parser.add_argument("--json", action="store_true")
    for option in verb.options:
        flags = [flag for flag in (option.short, option.name) if flag]
        if option.takes:
            parser.add_argument(*flags, choices=option.choices or None, metavar=option.takes, default=argparse.SUPPRESS)
        else:
            parser.add_argument(*flags, action="store_true")
    if verb.composes:
        parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    for positional in verb.positionals:
        parser.add_argument(positional.lower(), metavar=positional)
    given, unknown = parser.parse_known_intermixed_args(arguments)
    if unknown:
        from pipelines.face.overrides import did_you_mean, nearest

        legal = ["--json", "--help", *(option.name for option in verb.options)]
        near = did_you_mean(nearest(unknown[0], legal), f"{name} takes {', '.join(legal)}")
        raise UserError(f"{' '.join(unknown)}: not an option of {name}; {near}\n{parser.format_usage().strip()}")
    return {key: value for key, value in vars(given).items() if key != "json"}


@contextmanager
def _stdout() -> Iterator[TextIO]:
    """Where the result goes, and nothing else: what anyone writes to stdout, children included, goes to stderr."""
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # A file name may hold bytes that are no text.
    out.flush()
    try:
        real = out.fileno() == 1
    except (OSError, ValueError):
        real = False  # Someone has replaced stdout; its place is all there is to keep clean.
    if not real:
        with redirect_stdout(sys.stderr):
            yield out
        return
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with (
            redirect_stdout(sys.stderr),
            os.fdopen(os.dup(kept), "w", encoding="utf-8", errors="backslashreplace") as result,
        ):
            yield result
    finally:
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == "__main__":
    command()
