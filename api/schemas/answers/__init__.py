"""The shapes of answers, for `/openapi.json`. Rendering itself is `core.render`'s; a test holds the two together."""

from api.schemas.answers.events import GroupCompleted, JobEnded
from api.schemas.answers.health import Alive, Home, Ready
from api.schemas.answers.jobs import (
    Attempt,
    AttemptPage,
    CacheState,
    Counts,
    Group,
    Job,
    JobError,
    JobPage,
    Saved,
    Timing,
    Usage,
)
from api.schemas.answers.models import Deployment, DeploymentPage, Latency, Model, ModelPage, Percentiles
from api.schemas.answers.problems import OpenAIError, Problem, ProblemFault
from api.schemas.answers.usage import UsageReport, UsageRow

__all__ = [
    "Alive",
    "Attempt",
    "AttemptPage",
    "CacheState",
    "Counts",
    "Deployment",
    "DeploymentPage",
    "Group",
    "GroupCompleted",
    "Home",
    "Job",
    "JobEnded",
    "JobError",
    "JobPage",
    "Latency",
    "Model",
    "ModelPage",
    "OpenAIError",
    "Percentiles",
    "Problem",
    "ProblemFault",
    "Ready",
    "Saved",
    "Timing",
    "Usage",
    "UsageReport",
    "UsageRow",
]
