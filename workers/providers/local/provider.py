"""The provider `local`: small real models that run inside the worker, off its event loop."""

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from core.embedding import Embedder, shared_embedder
from policies.catalog import Deployment
from workers.providers.local.chat import KEY_POINTS, SUMMARIZE, Answer, chat_body, invalid, read_chat, write_answer
from workers.providers.local.classify import classify, read_classify
from workers.providers.local.embeddings import read_embeddings, write_embeddings
from workers.providers.local.moderation import read_moderation, shared_moderator, write_moderation
from workers.providers.local.rerank import read_rerank, write_rerank
from workers.providers.protocol import Call, Delta, ProviderError, Reply, UpstreamTiming, Usage, WarmReport

T = TypeVar("T")
Checkpoint = Callable[[], None]

CHAT = "/v1/chat/completions"
EMBEDDINGS = "/v1/embeddings"
MODERATIONS = "/v1/moderations"
RERANKING = "/v1/rerank"
EMBED = "embed"
CLASSIFY = "classify"
RERANK = "rerank"
_SERVED = {
    (CHAT, SUMMARIZE), (CHAT, KEY_POINTS), (CHAT, CLASSIFY), (EMBEDDINGS, EMBED), (MODERATIONS, CLASSIFY), (RERANKING, RERANK),
}  # fmt: skip
_NAMESPACE = "local/"
# A streamed piece holds about so many characters: some words, as hosted models send them.
_STREAM_CHARS = 48


class _AbandonedError(Exception):
    """Raised inside a computation whose caller has gone away."""


class LocalProvider:
    """Runs `local/embed`, `summarize`, `keypoints`, `classify` and `rerank` on a pool of one thread a core.

    The heavy parts (tokenizer, linear algebra) release the interpreter lock; the rest runs in short steps. Create it on any
    thread, call it from one event loop.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="local-model")
        self._warm = 0  # 1: the embedder is loaded, 2: the moderation's patterns too

    async def warm(self, deployment: Deployment | None = None) -> WarmReport:
        """Load the model now (about 0.2 s on a pool thread) instead of during the first call; `connect_ms` is that time."""
        moderates = deployment is not None and deployment.serves(MODERATIONS)
        if self._warm >= (wanted := 2 if moderates else 1):
            return WarmReport()
        began = time.perf_counter()
        try:
            await self._run(_embedder)
            if moderates:
                await self._run(lambda _: shared_moderator())
        except (OSError, RuntimeError) as error:  # the weights are not there; the pool is shut already
            return WarmReport(error=f"the local model can't be loaded: {type(error).__name__}")
        self._warm = wanted
        return WarmReport(connect_ms=_ms_since(began))

    async def call(self, call: Call, on_delta: Callable[[Delta], None] | None) -> Reply:
        """Run one call. Cancelling the task stops the computation at its next step. Raises ProviderError."""
        name = (call.deployment.upstream_model or call.deployment.model).removeprefix(_NAMESPACE)
        if (call.endpoint, name) not in _SERVED:
            raise invalid(f"the local model {name!r} does not serve {call.endpoint}")
        try:
            async with asyncio.timeout(call.timeout_s):
                if call.endpoint == CHAT:
                    return await self._chat(call, name, on_delta if call.stream else None)
                return await self._list(call)
        except TimeoutError:
            raise ProviderError("timeout", "the local model did not finish in time", retryable=True) from None

    async def aclose(self) -> None:
        """Stop taking calls; computations under way end with their tasks."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _list(self, call: Call) -> Reply:
        """An endpoint that takes a list and gives one: embeddings, moderations, reranking."""
        began = time.perf_counter()
        body, usage = await self._run(_list_work(call))
        return Reply(body, usage, UpstreamTiming(upstream_ms=_ms_since(began)))

    async def _chat(self, call: Call, name: str, on_delta: Callable[[Delta], None] | None) -> Reply:
        began = time.perf_counter()
        answer = await self._run(_chat_work(call, name))
        timing = UpstreamTiming(connect_ms=0.0)
        if on_delta is not None:
            await _stream(answer, on_delta, timing, began)
        timing.upstream_ms = _ms_since(began)
        if answer.usage.output_tokens:
            timing.tokens_per_s = round(answer.usage.output_tokens / max(1e-3, timing.upstream_ms / 1000), 1)
        body = chat_body(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), _model(call), answer)
        return Reply(body, answer.usage, timing)

    async def _run(self, work: Callable[[Checkpoint], T]) -> T:
        """Run `work` on the pool; if this task is cancelled, `work` meets an exception at its next checkpoint."""
        abandoned = threading.Event()

        def checkpoint() -> None:
            if abandoned.is_set():
                raise _AbandonedError

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, checkpoint)
        finally:
            abandoned.set()


def _chat_work(call: Call, name: str) -> Callable[[Checkpoint], Answer]:
    """What to do off the loop; the request is validated at once."""
    if name == CLASSIFY:
        labelled = read_classify(call.body)
        return lambda checkpoint: classify(labelled, _embedder(checkpoint), checkpoint)
    request = read_chat(name, call.body)
    return lambda checkpoint: write_answer(request, _embedder(checkpoint), checkpoint)


def _list_work(call: Call) -> Callable[[Checkpoint], tuple[dict[str, Any], Usage]]:
    model = _model(call)
    if call.endpoint == EMBEDDINGS:
        texts = read_embeddings(call.body)
        return lambda checkpoint: write_embeddings(model, texts, _embedder(checkpoint), checkpoint)
    if call.endpoint == MODERATIONS:
        inputs = read_moderation(call.body)
        identity = f"modr-{uuid.uuid4().hex}"
        return lambda checkpoint: write_moderation(model, identity, inputs, shared_moderator(), checkpoint)
    ranked = read_rerank(call.body)
    identity = f"rerank-{uuid.uuid4().hex}"
    return lambda checkpoint: write_rerank(model, identity, ranked, _embedder(checkpoint), checkpoint)


async def _stream(answer: Answer, on_delta: Callable[[Delta], None], timing: UpstreamTiming, began: float) -> None:
    """Send the answer in groups of words. The loop gets its turn between two groups, so that others aren't held up."""
    groups = [group for piece in answer.extract.pieces for group in _word_groups(piece)]
    started = time.perf_counter()
    for number, group in enumerate(groups):
        on_delta(Delta(group, None))
        if number == 0:
            timing.ttft_ms = _ms_since(began)
            started = time.perf_counter()
        await asyncio.sleep(0)
    if len(groups) > 1:
        timing.itl_ms = _ms_since(started) / (len(groups) - 1)
    on_delta(Delta("", {"index": 0, "delta": {}, "finish_reason": answer.finish_reason}))


def _word_groups(piece: str) -> list[str]:
    """Cut at spaces; joined, the groups are the piece again."""
    groups: list[str] = []
    start = 0
    while len(piece) - start > _STREAM_CHARS:
        cut = piece.find(" ", start + _STREAM_CHARS)
        if cut < 0:
            break
        groups.append(piece[start:cut])
        start = cut
    return [*groups, piece[start:]]


def _embedder(checkpoint: Checkpoint) -> Embedder:
    checkpoint()
    return shared_embedder()


def _model(call: Call) -> str:
    return call.deployment.upstream_model or call.deployment.model


def _ms_since(moment: float) -> float:
    return (time.perf_counter() - moment) * 1000
