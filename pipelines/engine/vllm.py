"""In-process vLLM: one ``AsyncLLM`` on this machine's GPUs or CPU, behind the ``Engine`` protocol.

The only file that imports vLLM. Prompts reach it as token ids (engine/chat.py), so data is never read as markup; it is
asked for final outputs only. Errors at start name the setting to change. Refuses to download anything when
``HF_HUB_OFFLINE`` says so, and sends no usage statistics.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pipelines import settings
from pipelines.engine.chat import ChatTokenizer, load
from pipelines.engine.environment import environment
from pipelines.engine.llm import Request
from pipelines.engine.resources import CPU_BLOCK, GIB, gpus_per_copy, kv_cache_bytes, memory_problem
from pipelines.engine.weights import resolve
from pipelines.errors import CallFailed, EngineDead, UserError
from pipelines.prompts import Rendered
from pipelines.rows import Answer

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams
    from vllm.v1.engine.async_llm import AsyncLLM

#: Seconds that vLLM's processes get to end by themselves before they are killed.
_SHUTDOWN_S = 15.0


class VllmEngine:
    """One copy of a model in vLLM; used from one event loop.

    ``logprobs`` are the model's own (before temperature, top-p and penalties), of the sampled tokens alone.
    """

    def __init__(self, model: settings.Model, engine: settings.VllmEngine, seed: int) -> None:
        self._model = model
        self._settings = engine
        self._seed = seed
        self._llm: AsyncLLM | None = None
        self._chat: ChatTokenizer | None = None
        self._sequences = 0
        self._tokens = 0
        # vLLM never deletes the sockets that its processes speak over.
        self._sockets: TemporaryDirectory[str] | None = None

    async def start(self) -> None:
        """Load the model; minutes for a large one.

        Raises:
            UserError: with the setting to change.
        """
        await asyncio.to_thread(self._load)

    async def generate(self, request: Request) -> list[Answer]:
        """``request.n`` answers, in order of ``n_index``.

        Raises:
            PromptTooLong: the prompt does not fit and may not be trimmed.
            CallFailed: vLLM refused the request, or it took longer than ``engine.request_timeout_s``.
            EngineDead: vLLM's processes are gone.
        """
        llm, chat = self._llm, self._chat
        if llm is None or chat is None or llm.errored:
            raise EngineDead("vLLM is not running")
        ids, prompt, trimmed = await chat.fit_beside(request, self._model.context)
        self._sequences += request.n
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                output = await _final(llm, ids, request)
        except TimeoutError:
            raise CallFailed(
                f"no answer within engine.request_timeout_s={self._settings.request_timeout_s}; raise it, or lower "
                "sampling.max_tokens or engine.max_num_seqs"
            ) from None
        finally:
            self._sequences -= request.n
        shortened, cached = prompt if trimmed else None, output.num_cached_tokens or 0
        answers = [_answer(request, len(ids), cached, shortened, sample) for sample in output.outputs]
        self._tokens += sum(answer.completion_tokens for answer in answers)
        return answers

    async def stop(self) -> None:
        """End vLLM's processes and let go of the device; requests in flight end with EngineDead."""
        llm, self._llm, self._chat = self._llm, None, None
        if llm is not None:
            from vllm.v1.engine.exceptions import EngineDeadError

            # A shutdown that succeeds tells nobody, and their calls would wait out their time.
            llm.output_processor.propagate_error(EngineDeadError())
            await asyncio.to_thread(llm.shutdown, _SHUTDOWN_S)
            del llm
            gc.collect()
        if self._sockets is not None:
            os.environ.pop("VLLM_RPC_BASE_PATH", None)
            self._sockets.cleanup()
            self._sockets = None

    def alive(self) -> bool:
        """Whether requests can be answered."""
        return self._llm is not None and not self._llm.errored

    def gauges(self) -> dict[str, int]:
        """Sequences in flight (up to ``max_num_seqs`` run, the others wait), and tokens of those that finished."""
        running = min(self._sequences, self._settings.max_num_seqs)
        return {"running": running, "waiting": self._sequences - running, "tokens": self._tokens}

    def _load(self) -> None:
        where = resolve(self._model.weights, self._model.revision)
        environment(self._settings)
        if "VLLM_RPC_BASE_PATH" not in os.environ:
            self._sockets = TemporaryDirectory(prefix="nightmill-", ignore_cleanup_errors=True)
            os.environ["VLLM_RPC_BASE_PATH"] = self._sockets.name
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        _check_device(self._settings)
        try:
            arguments = AsyncEngineArgs(**self._arguments(where))
            self._chat = load(self._model)
            self._llm = AsyncLLM.from_engine_args(arguments)
        except UserError:
            raise
        except Exception as error:
            raise UserError(self._why(error)) from error

    def _arguments(self, where: str) -> dict[str, Any]:
        """AsyncEngineArgs of this engine; ``engine.engine_kwargs`` has the last word."""
        model, engine = self._model, self._settings
        arguments: dict[str, Any] = {
            "model": where,
            "tokenizer": model.tokenizer,
            "revision": model.revision,
            "max_model_len": model.context,
            "dtype": "float32" if engine.device == "cpu" and model.dtype == "auto" else str(model.dtype),
            "trust_remote_code": model.trust_remote_code,
            "seed": self._seed,
            "max_num_seqs": engine.max_num_seqs,
            "enforce_eager": engine.enforce_eager,
            "enable_prefix_caching": True,
            # A row's next call goes before those of rows that began later: what it shares with the last is still held.
            "scheduling_policy": "priority",
            "disable_log_stats": True,
            # A small model asked for JSON pads it with newlines up to max_tokens where it may.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            "worker_extension_cls": "pipelines.engine.orphan.WorkerExtension",
        }
        if engine.device == "cpu":
            arguments |= {"kv_cache_memory_bytes": self._kv_cache(where), "block_size": CPU_BLOCK}
            # Where a prompt is prefilled in pieces, vLLM 0.32 rolls back a seeded request's generator, which a CPU
            # generator cannot: the engine dies ("CPU Generator does not use offset"). So prompts are prefilled whole.
            arguments["enable_chunked_prefill"] = False
            arguments["max_num_batched_tokens"] = max(model.context, 2048)
        else:
            arguments["gpu_memory_utilization"] = engine.gpu_memory_utilization
            arguments["tensor_parallel_size"] = model.tensor_parallel_size
            arguments["distributed_executor_backend"] = _executor(model, engine)
        return {**arguments, **engine.engine_kwargs}

    def _kv_cache(self, where: str) -> int:
        from vllm.utils.cpu_resource_utils import get_allowed_cpu_list, get_memory_node_info

        # vLLM takes all of its memory from the first CPU's NUMA node.
        free = get_memory_node_info(get_allowed_cpu_list()[0].numa_node).available_memory
        return kv_cache_bytes(self._model, self._settings, _kv_bytes_per_token(where, self._model), free)

    def _why(self, error: Exception) -> str:
        """A failed start in the user's words; vLLM's own log has the rest."""
        model, engine, text = self._model, self._settings, str(error).strip() or repr(error)
        if found := re.search(r"greater than the derived max_model_len \(\w+=([\d.]+)", text):
            return f"model.context={model.context}: {model.weights} was made for at most {found[1]} tokens; lower it"
        if isinstance(error, OSError) and ("is not a local folder" in text or "offline" in text or "connect" in text):
            return f"model.weights={model.weights}: not on this machine and not on the hub ({text.splitlines()[0]})"
        if "Timed out waiting for engine core" in text:
            return f"engine.start_timeout_s={engine.start_timeout_s}: vLLM was not ready in that time; raise it"
        if engine.device == "gpu":
            from vllm.platforms import current_platform

            gib = current_platform.get_device_total_memory() / GIB
            if problem := memory_problem(model, engine, gib):
                return problem
            return (
                f"vLLM could not load model.weights={model.weights} ({text}); its log above says why. Where memory ran "
                f"out, lower model.context={model.context} or engine.max_num_seqs={engine.max_num_seqs}, or raise "
                f"model.tensor_parallel_size={model.tensor_parallel_size} or engine.gpu_memory_utilization="
                f"{engine.gpu_memory_utilization}"
            )
        return (
            f"vLLM could not load model.weights={model.weights} ({text}); its log above says why. Where memory ran "
            f"out, lower engine.kv_cache_gib={engine.kv_cache_gib} or model.context={model.context}"
        )


def _check_device(engine: settings.VllmEngine) -> None:
    from vllm.platforms import current_platform

    if engine.device == "gpu" and (current_platform.is_cpu() or current_platform.is_unspecified()):
        raise UserError(
            "engine.device=gpu: vLLM sees no GPU here, or is built for CPUs; use engine=vllm_cpu, or install the gpu "
            "extra and see to the driver"
        )
    if engine.device == "cpu" and not current_platform.is_cpu():
        raise UserError("engine.device=cpu: the vLLM that is installed is not built for CPUs; use engine=vllm_gpu")


def _executor(model: settings.Model, engine: settings.VllmEngine) -> str:
    """Worker processes where this process sees all of the copy's GPUs, else Ray, within the actor's placement group."""
    from vllm.platforms import current_platform

    needed = gpus_per_copy(model, engine)
    return "uni" if needed == 1 else "mp" if current_platform.device_count() >= needed else "ray"


def _kv_bytes_per_token(where: str, model: settings.Model) -> int:
    """Bytes of keys and values that one token takes in every layer together."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        where, revision=model.revision, trust_remote_code=model.trust_remote_code
    ).get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * (4 if model.dtype in ("auto", "float32") else 2))


async def _final(llm: AsyncLLM, ids: list[int], request: Request) -> RequestOutput:
    from vllm.exceptions import VLLMError
    from vllm.inputs.engine import tokens_input
    from vllm.v1.engine.exceptions import EngineDeadError

    output = None
    how = {"request_id": request.request_id, "priority": request.rank}
    try:
        async for each in llm.generate(tokens_input(ids), _sampling(request), **how):
            output = each
    except EngineDeadError as error:
        raise EngineDead("vLLM's engine core died; its log says why") from error
    except (VLLMError, ValueError) as error:
        if llm.errored:
            raise EngineDead(f"vLLM died: {error}") from error
        raise CallFailed(f"vLLM refused the request: {error.__cause__ or error}") from error
    if output is None or any(sample.finish_reason not in ("stop", "length") for sample in output.outputs):
        raise EngineDead("vLLM is shutting down") if llm.errored else CallFailed("vLLM gave up the request")
    return output


def _sampling(request: Request) -> SamplingParams:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    asked = request.sampling
    return SamplingParams(
        n=request.n,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        repetition_penalty=asked.repetition_penalty,
        max_tokens=asked.max_tokens,
        stop=list(asked.stop),
        seed=request.seed,
        logprobs=0 if asked.logprobs else None,
        structured_outputs=StructuredOutputsParams(json=dict(request.schema)) if request.schema is not None else None,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _answer(request: Request, prompt_tokens: int, cached: int, shortened: Rendered | None, sample: Any) -> Answer:
    asked = request.sampling
    drawn = [at[token] for token, at in zip(sample.token_ids, sample.logprobs, strict=True)] if asked.logprobs else None
    return Answer(
        text=sample.text,
        finish_reason=sample.finish_reason,
        prompt_tokens=prompt_tokens,
        cached_tokens=cached,
        completion_tokens=len(sample.token_ids),
        seed=request.seed,
        n_index=sample.index,
        logprobs=tuple(one.logprob for one in drawn) if drawn is not None else None,
        pieces=tuple(one.decoded_token or "" for one in drawn) if drawn is not None else None,
        prompt_id=request.prompt.prompt_id,
        prompt_hash=request.prompt.prompt_hash,
        trimmed=shortened is not None,
        sent=shortened.messages if shortened is not None else None,
        sampling=asked.recorded(),
    )
