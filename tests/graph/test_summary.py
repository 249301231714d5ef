"""Short texts of values: no secret in them, and no long work for them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from twingraph_nb.graph.summary import summaries, summary


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("redis://:sesame@host:1/0", "'redis://:•••@host:1/0'"),
        ("https://me:sesame@host/x", "'https://me:•••@host/x'"),
        (["amqp://me:sesame@a", 1], "['amqp://me:•••@a', 1]"),
        ("https://host:80/path@here", "'https://host:80/path@here'"),
        (b"x" * 3, "b'xxx'"),
    ],
)
def test_passwords_in_addresses_are_masked(value: object, text: str) -> None:
    assert summary(value) == text


def test_arguments_named_like_secrets_are_masked() -> None:
    assert summaries({"token": "sesame", "n": 1}) == {"token": "•••", "n": "1"}


@dataclass
class Login:
    user: str
    api_key: str


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"password": "sesame", "port": 1}, "{'password': '•••', 'port': 1}"),
        ([{"db": {"token": "it's"}}], "[{'db': {'token': \"•••\"}}]"),
        (Login("me", "sesame"), "Login(user='me', api_key='•••')"),
        ({"Secret": "sesame" * 100}, "{'Secret': '•••'}"),
        ({"key": "a", "tokens": 3}, "{'key': 'a', 'tokens': 3}"),
    ],
)
def test_what_is_named_like_a_secret_within_a_value_is_masked(value: object, text: str) -> None:
    assert summary(value) == text


@pytest.mark.parametrize("wrap", [bytes, bytearray, lambda b: [b], lambda b: {"a": [b]}])
def test_a_long_value_is_not_written_out_first(wrap: Callable[[bytes], object]) -> None:
    value = wrap(bytes(20_000_000))
    tracemalloc.start()
    try:
        assert len(summary(value)) < 1000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
