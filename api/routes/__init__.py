"""The HTTP API by resource. A route turns a request into a call and its result into a view, and nothing else."""

from api.routes.artifacts import artifacts
from api.routes.datasets import datasets
from api.routes.deletion import deletion
from api.routes.disk import disk
from api.routes.health import health
from api.routes.history import history
from api.routes.jobs import jobs
from api.routes.join import bootstrap, join
from api.routes.metrics import metrics
from api.routes.models import models
from api.routes.notifications import notifications
from api.routes.presets import presets
from api.routes.queue import queue
from api.routes.session import login, session
from api.routes.store import store
from api.routes.tokens import tokens
from api.routes.workers import workers

BLUEPRINTS = (
    jobs,
    history,
    queue,
    artifacts,
    models,
    datasets,
    deletion,
    disk,
    presets,
    workers,
    tokens,
    notifications,
    session,
    login,
    join,
    bootstrap,
    store,
    health,
    metrics,
)

__all__ = ["BLUEPRINTS"]
