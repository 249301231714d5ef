"""A Redis of our own: one free port on the loopback, a password, nothing kept on disk."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from typing import ClassVar

from tests.services.base import Place, Service, free_port

__all__ = ["Redis", "ask"]

HOST = "127.0.0.1"
UP = 20.0  # seconds


class Redis(Service):
    """Address: ``url`` ("redis://:password@127.0.0.1:port/0"), ``port``, ``password``."""

    name: ClassVar[str] = "redis"
    needs: ClassVar[Mapping[str, str]] = {"redis-server": "redis-server"}

    def start(self, place: Place) -> Mapping[str, str]:
        port, password = free_port(), secrets.token_hex(16)
        # In a file: arguments are seen by every user of the machine.
        settings = place.run / "redis.conf"
        with open(os.open(settings, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(
                f'bind {HOST}\nport {port}\nrequirepass {password}\nsave ""\n'
                f"appendonly no\ndaemonize no\ndir {place.run}\n"
                # Else it writes over its environment, by which it is known as ours.
                "set-proc-title no\n"
            )
        place.spawn("redis-server", "redis-server", str(settings))
        place.wait(lambda: _answers(port, password), seconds=UP, reason="no answer to PING")
        url = f"redis://:{password}@{HOST}:{port}/0"
        return {"url": url, "port": str(port), "password": password}


def ask(port: int, *lines: str) -> list[str]:
    """The one-line answers to commands in Redis's inline form."""
    with socket.create_connection((HOST, port), timeout=5) as wire:
        wire.sendall("".join(f"{line}\r\n" for line in lines).encode())
        with wire.makefile("r", encoding="utf-8", newline="\r\n") as answers:
            return [answers.readline().rstrip("\r\n") for _ in lines]


def _answers(port: int, password: str) -> bool:
    try:
        return ask(port, f"AUTH {password}", "PING") == ["+OK", "+PONG"]
    except OSError:
        return False
