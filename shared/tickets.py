"""Tickets: the Celery side of handing an attempt to a device.

Celery carries one message per attempt to the queue of one worker. It is a hint: the record decides, the claim in
Redis guards, and the scheduler sends again what nobody claimed. So there are no results, no late acknowledgements, no
retries, and JSON only.
"""

from __future__ import annotations

from typing import Final

from celery import Celery

from shared.jobs import Ticket

RUN_TASK: Final = "spectrain.run"
CANARY_TASK: Final = "spectrain.canary"
_CANARY_TTL_S: Final = 60


def device_queue(worker: str) -> str:
    """The Celery queue that only `worker` reads."""
    return f"device.{worker}"


def make_celery(redis_url: str) -> Celery:
    """The Celery application that both sides share; it connects at first use."""
    app = Celery("spectrain", broker=redis_url, set_as_current=False)
    app.conf.update(
        task_acks_late=False,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis whose disk is full refuses to hand out tickets: the consumer waits for space instead of ending.
        broker_channel_error_retry=True,
        broker_transport_options={
            "visibility_timeout": 300,
            "unacked_restore_interval": 5,
            "socket_timeout": 10,
            "health_check_interval": 10,
            "socket_keepalive": True,
        },
    )
    return app


def send_ticket(app: Celery, worker: str, ticket: Ticket) -> None:
    """Send `ticket` to the queue of `worker`; raises kombu.exceptions.OperationalError while Redis is away."""
    app.send_task(RUN_TASK, kwargs=ticket.model_dump(), queue=device_queue(worker), ignore_result=True, retry=False)


def send_canary(app: Celery, worker: str) -> None:
    """Send a message that says nothing to the queue of `worker`; raises kombu.exceptions.OperationalError."""
    app.send_task(CANARY_TASK, queue=device_queue(worker), ignore_result=True, retry=False, expires=_CANARY_TTL_S)
