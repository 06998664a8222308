"""How often: wrong tokens, submitted jobs, uploads; and that no answer about it repeats a secret."""

from __future__ import annotations

import pytest
from werkzeug.test import TestResponse

from api.access.door import FAILURES_PER_MINUTE, address_of
from api.access.limits import Limit
from api.access.roles import Role
from shared.errors import TooManyError
from tests.unit.api.network import Network


class TestHowOften:
    def test_wrong_tokens_are_tried_ten_times_a_minute(self, network: Network) -> None:
        good = network.token(Role.VIEWER)
        client = network.app.test_client()
        for _ in range(FAILURES_PER_MINUTE):
            assert network.log_in("spt_guess", client).status_code == 401
        refused = network.log_in(good, client)
        assert refused.status_code == 429, "also the right one, until the minute is over"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert "wait" in refused.text
        answer = network.ask("GET", "/api/v1/jobs", token="spt_guess")
        assert (answer.status_code, "Retry-After" in answer.headers) == (429, True)
        assert network.ask("GET", "/api/v1/jobs", token=good).status_code == 200, "a machine at work is not kept out"
        assert network.ask("GET", "/readyz", token="spt_guess").status_code == 200
        elsewhere = network.app.test_client()
        elsewhere.environ_base["REMOTE_ADDR"] = "192.0.2.99"
        assert network.log_in(good, elsewhere).status_code == 303

    def test_no_answer_repeats_a_secret(self, network: Network) -> None:
        client = network.app.test_client()
        assert "spt_guess" not in network.log_in("spt_guess", client).text
        assert "spt_guess" not in network.ask("GET", "/api/v1/jobs", token="spt_guess").text

    @pytest.mark.usefixtures("record_url")
    def test_submissions_and_uploads_are_counted_by_token(self, network: Network) -> None:
        one, other = network.token(Role.MEMBER), network.token(Role.MEMBER)

        def submit(token: str) -> TestResponse:
            return network.ask("POST", "/api/v1/jobs", token=token, json={"kind": "train", "dataset": "none"})

        assert [submit(one).status_code for _ in range(4)] == [404, 404, 404, 429]
        refused = submit(one)
        assert refused.json["error"].startswith("Too many jobs are submitted: wait ")
        assert int(refused.headers["Retry-After"]) >= 1
        assert submit(other).status_code == 404
        assert network.ask("POST", "/api/v1/jobs/1/cancel", token=one).status_code == 404

    def test_what_is_left_comes_back(self) -> None:
        now = [0.0]
        limit = Limit("Too many", 2, now=lambda: now[0])
        limit.take("a")
        limit.take("a")
        with pytest.raises(TooManyError) as refused:
            limit.take("a")
        assert refused.value.retry_after_s == 30
        limit.take("b")
        now[0] = 30.0
        limit.take("a")
        with pytest.raises(TooManyError):
            limit.check("a")

    @pytest.mark.parametrize(
        ("environ", "counted"),
        [
            ({"REMOTE_ADDR": "192.0.2.1", "HTTP_X_FORWARDED_FOR": "192.0.2.9"}, "192.0.2.1"),
            ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "10.0.0.1, 192.0.2.9"}, "192.0.2.9"),
            ({"REMOTE_ADDR": "127.0.0.1"}, "127.0.0.1"),
            ({"REMOTE_ADDR": "2001:db8::1"}, "2001:db8::/64"),
            ({"REMOTE_ADDR": "2001:db8::ffff:1"}, "2001:db8::/64"),
            ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "nonsense"}, "unknown"),
        ],
    )
    def test_who_is_counted(self, environ: dict[str, str], counted: str) -> None:
        assert address_of(environ) == counted
