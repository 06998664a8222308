"""Redis users of workers that joined: each reaches its own keys, and what every worker shares, and nothing else.

The keeper is the Redis user that may make and remove users, and nothing more; it has no keys. A joined worker's user is
`joined-<hash of its name>`, so that whoever knows the name can remove it. Its password is made on the worker's own
machine; only its SHA-256 comes here.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, cast

from shared.event_bus import EVENT_CHANNEL, WORKER_CHANNEL, WORKER_KEY
from shared.lease import offer_channel
from shared.redis_client import KEY_PREFIX, connect
from shared.tickets import device_queue

USER_PREFIX: Final = "joined-"

_JOB_KEYS: Final = ("lease", "control", "numbers", "events")
"""What there is of each job, under `spectrain:job:<id>:`."""
_PRIORITIES: Final = "\x06\x16?"
"""kombu reads a queue and three more of that name with a priority behind this separator."""
_BINDINGS: Final = ("_kombu.binding", "_kombu.binding_permanent")
"""Where kombu notes which queue belongs to which exchange."""
_COMMANDS: Final = (
    *("+@all", "-@admin", "-@dangerous", "-function", "-script|flush", "-script|kill", "-swapdb", "-debug"),
    *("-scan", "-randomkey", "-dbsize", "-pubsub", "-acl"),
    *("+client|setname", "+client|setinfo", "+client|id", "+info"),
)


def user_name(worker: str) -> str:
    """The Redis user of the worker of that name."""
    return USER_PREFIX + hashlib.sha256(worker.encode()).hexdigest()[:24]


def user_rules(worker: str) -> list[str]:
    """What that user may do, in the language of Redis' access control lists."""
    name = escaped(worker)
    queue = escaped(device_queue(worker))
    node = escaped(f"spectrain@{worker}")
    keys = (
        f"{KEY_PREFIX}for:{name}:attempt:*",
        f"{WORKER_KEY}{name}",
        *(f"{KEY_PREFIX}job:*:{part}" for part in _JOB_KEYS),
        f"{KEY_PREFIX}streams",
        # Celery's and kombu's: the one queue, its binding, messages taken but not acknowledged, remote control.
        queue,
        f"{queue}{_PRIORITIES}",
        *(f"{bindings}.{queue}" for bindings in _BINDINGS),
        *(f"{bindings}.*celery.pidbox" for bindings in _BINDINGS),
        "_kombu.binding_deadlines",
        "unacked",
        "unacked_index",
        "unacked_mutex",
        f"{node}.celery.pidbox",
        f"{node}.celery.pidbox{_PRIORITIES}",
        "*.reply.celery.pidbox",
    )
    channels = (
        escaped(offer_channel(worker)),
        f"{EVENT_CHANNEL}*",
        WORKER_CHANNEL,
        "/0.celery.pidbox",
        "/0.celeryev/worker.*",
    )
    return ["resetchannels", *(f"~{key}" for key in keys), *(f"&{channel}" for channel in channels), *_COMMANDS]


def escaped(name: str) -> str:
    """`name` as a pattern that fits itself alone."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", name)


class RedisUsers:
    """The users of joined workers, as the keeper at `keeper_url` sees them.

    Every method raises redis.RedisError while Redis is away.
    """

    def __init__(self, keeper_url: str) -> None:
        self._redis = connect(keeper_url)

    def admit(self, worker: str, password_sha256: str) -> None:
        """Have a user for `worker`; one that has this password already keeps its connections."""
        user = user_name(worker)
        if self._passwords(user) not in ([], [password_sha256]):
            self._redis.execute_command("ACL", "DELUSER", user)
        rules = ["reset", "on", f"#{password_sha256}", *user_rules(worker)]
        self._redis.execute_command("ACL", "SETUSER", user, *rules)

    def remove(self, user: str) -> None:
        """Forget `user` and cut its connections; one that is not there is no error."""
        self._redis.execute_command("ACL", "DELUSER", user)

    def names(self) -> set[str]:
        """Users of joined workers that there are."""
        users = cast(list[str], self._redis.execute_command("ACL", "USERS"))
        return {user for user in users if user.startswith(USER_PREFIX)}

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _passwords(self, user: str) -> list[str]:
        """SHA-256 of the passwords of `user`; none where there is no such user."""
        answer = cast("list[object] | dict[str, object] | None", self._redis.execute_command("ACL", "GETUSER", user))
        if answer is None:
            return []
        fields = answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
        return [str(password) for password in cast(list[object], fields["passwords"])]
