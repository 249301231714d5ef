"""`twingraph worker ...`: a process that runs tasks which kernels send."""

from __future__ import annotations

import argparse
import os

from twingraph_nb.errors import ExecutorMissing
from twingraph_nb.policy import seconds_of
from twingraph_nb.settings import Settings

__all__ = ["add_arguments"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the kinds of workers and their arguments."""
    kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
    celery = kinds.add_parser("celery", help="for platform celery")
    celery.add_argument(
        "--broker", required=True, metavar="URL", help="the Redis that jobs come from"
    )
    celery.add_argument(
        "--backend", metavar="URL", help="the Redis for answers (default: the broker)"
    )
    celery.add_argument("--queue", default="twingraph", metavar="NAME", help="(twingraph)")
    celery.add_argument(
        "--concurrency", type=int, metavar="N", help="processes (default: one for each core)"
    )
    celery.add_argument(
        "--secret-env",
        default="TWINGRAPH_SECRET",
        metavar="NAME",
        help="environment variable with the secret that kernels share (TWINGRAPH_SECRET); "
        "else the file 'secret' in the store's folder counts",
    )
    celery.add_argument(
        "--lease",
        type=seconds_of,
        default=30.0,
        metavar="TIME",
        help="without a sign of life for that long, other workers take its jobs (30s)",
    )
    celery.add_argument("--log", choices=_LEVELS, default="WARNING", help="(WARNING)")
    celery.set_defaults(act=_celery)


def _celery(namespace: argparse.Namespace) -> int:
    try:
        from twingraph_nb.executors import celery_protocol, celery_worker
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("twingraph_nb"):
            raise
        raise ExecutorMissing("celery", "celery") from exc
    secret = celery_protocol.secret_of(Settings.load().home, variable=namespace.secret_env)
    os.environ.pop(namespace.secret_env, None)  # the tasks need not see it
    return celery_worker.serve(
        namespace.broker,
        namespace.backend or namespace.broker,
        secret,
        queue=namespace.queue,
        concurrency=namespace.concurrency,
        lease=namespace.lease,
        log=namespace.log,
    )
