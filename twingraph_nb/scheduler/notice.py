"""Telling people elsewhere that a task asks something: a webhook."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Mapping

__all__ = ["checked_address", "notify"]

_PATIENCE = 10.0
"""Seconds that the other side has to answer."""


def checked_address(address: str) -> str:
    """Give the address back.

    Raises:
        ValueError: it is not one of the web; the text does not repeat it, for it may hold secrets.
    """
    if not address.startswith(("https://", "http://")):
        raise ValueError("notify wants a web address, https://...")
    return address


async def notify(address: str, facts: Mapping[str, object]) -> str:
    """Post facts as JSON; gives "" or why it could not be done, without the address."""
    return await asyncio.to_thread(_post, checked_address(address), dict(facts))


def _post(address: str, facts: dict[str, object]) -> str:
    request = importlib.import_module("urllib.request")  # only for who wants to be told
    try:
        body = json.dumps(facts).encode()
        asked = request.Request(address, body, {"Content-Type": "application/json"})
        with request.urlopen(asked, timeout=_PATIENCE):
            return ""
    except Exception as exc:  # of sockets, TLS, HTTP: their texts may hold the address
        code = getattr(exc, "code", None)
        return f"status {code}" if isinstance(code, int) else type(exc).__name__
