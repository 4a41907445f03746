"""How much work each benchmark does."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Sizes:
    """Amounts for a full run; `quick()` has the small ones."""

    enqueue_s: float = 12.0
    enqueue_windows: int = 5
    enqueue_baseline_s: float = 6.0
    single_posts: int = 2000
    single_posts_baseline: int = 1000
    round_trips: int = 1000
    round_trips_baseline: int = 300
    drain_jobs: dict[int, int] = field(default_factory=lambda: {512: 15_000, 2048: 20_000})
    drain_rounds: int = 3
    drain_baseline_jobs: dict[str, int] = field(default_factory=lambda: {"shared": 1800, "per_thread": 3600})
    straggler_s: float = 20.0
    straggler_steady_s: float = 10.0
    backlogs: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    claims: int = 200
    deliveries: int = 6_000
    memory_worker_jobs: int = 8_192
    memory_api_jobs: int = 100_000
    idle_s: float = 25.0
    hits_s: float = 8.0
    semantic_entries: int = 100_000
    semantic_posts: int = 1_000
    prewarm_side: int = 100
    prewarm_samples: int = 1_100
    zipf_requests: int = 8_000
    zipf_s: float = 60.0


def quick() -> Sizes:
    """Return sizes for a look of two minutes: good for comparing before and after a change, not for judging goals."""
    return Sizes(
        enqueue_s=4.0,
        enqueue_windows=3,
        enqueue_baseline_s=3.0,
        single_posts=500,
        single_posts_baseline=300,
        round_trips=200,
        round_trips_baseline=60,
        drain_jobs={512: 4_000, 2048: 6_000},
        drain_rounds=1,
        drain_baseline_jobs={"shared": 500, "per_thread": 900},
        straggler_s=5.0,
        straggler_steady_s=3.0,
        backlogs=(1_000, 100_000),
        claims=60,
        deliveries=1_500,
        memory_worker_jobs=4_096,
        memory_api_jobs=8_000,
        idle_s=8.0,
        hits_s=4.0,
        semantic_entries=10_000,
        semantic_posts=300,
        prewarm_side=40,
        prewarm_samples=200,
        zipf_requests=3_000,
        zipf_s=10.0,
    )
