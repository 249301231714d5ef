"""A job that outlives its kernel is found again by its ticket, and not started twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.executors import clusters
from tests.executors.aws_running import client, objects
from tests.services.aws import environment
from twingraph_nb.store import Store

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the tests, long enough"
SCRIPT = """
import json, os, sys
from twingraph_nb import component, pipeline
from twingraph_nb.session import get_session

@component(platform=sys.argv[1], options=json.loads(os.environ["OPTIONS"]))
def slow(number: int) -> list:
    import os, time, uuid
    me = uuid.uuid4().hex
    print("began", me, flush=True)
    time.sleep(number)
    return [me, number]

@pipeline()
def work(number: int):
    return slow(number)

if __name__ == "__main__":
    run = get_session().resume(sys.argv[2]) if len(sys.argv) > 2 else work(int(os.environ["LONG"]))
    print("result", *run.result())
""".replace('options=json.loads(os.environ["OPTIONS"])', '**json.loads(os.environ["OPTIONS"])')


class Kernel:
    """Runs the script, kills it once its job says that it has begun, runs it again."""

    def __init__(self, folder: Path, home: Path, platform: str, **environ: str) -> None:
        self.script = folder / "slow.py"
        self.script.write_text(SCRIPT)
        self.home, self.platform = home, platform
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ}

    def die(self) -> str:
        """Start a run and kill the process; gives the mark of the job that goes on."""
        process = subprocess.Popen(
            [sys.executable, str(self.script), self.platform], env=self.environ
        )
        try:
            end = time.monotonic() + 90
            while not (mark := self._mark()):
                assert process.poll() is None, "it ended before its job began"
                assert time.monotonic() < end, "its job did not begin"
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return mark

    def resume(self) -> list[str]:
        """Resume the newest run; gives the words of its result."""
        done = subprocess.run(
            [sys.executable, str(self.script), self.platform, "last"],
            env=self.environ, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split("result ")[-1].split()

    def _mark(self) -> str:
        if not Store.exists(self.home):
            return ""
        store = Store.open(self.home, readonly=True)
        try:
            runs = store.runs()
            events = [e for b in store.events(runs[0].id) for e in b.events] if runs else []
        finally:
            store.close()
        text = "".join(e.text for e in events if type(e).__name__ == "TaskLogged")
        return text.split("began ")[-1].split()[0] if "began " in text else ""


@pytest.fixture
def worker(redis_url: str) -> Iterator[str]:
    url = urlsplit(redis_url)._replace(path="/13").geturl()
    with redis.Redis.from_url(url) as there:
        there.flushdb()
        words = ("-m", "twingraph_nb.runs.cli", "worker", "celery", "--broker", url)
        process = clusters.started(*words, "--concurrency", "1", TWINGRAPH_SECRET=SECRET)
        try:
            yield url
        finally:
            clusters.ended(process)
            there.flushdb()


def test_celery_answers_the_kernel_that_comes_after(
    worker: str, tmp_path: Path, home: Path
) -> None:
    kernel = Kernel(
        tmp_path, home, "celery",
        OPTIONS="{}", LONG="8", TWINGRAPH_CELERY_BROKER=worker, TWINGRAPH_SECRET=SECRET,
    )  # fmt: skip
    mark = kernel.die()
    assert kernel.resume() == [mark, "8"]


def test_batch_answers_the_kernel_that_comes_after(
    aws: Mapping[str, str], tmp_path: Path, home: Path
) -> None:
    import json

    bucket = "twingraph-reattach"
    client(aws, "s3").create_bucket(Bucket=bucket)
    options = {key: aws[key] for key in ("role", "queue", "image")}
    kernel = Kernel(
        tmp_path, home, "batch",
        OPTIONS=json.dumps({**options, "bucket": bucket}), LONG="12", **environment(aws),
    )  # fmt: skip
    mark = kernel.die()
    assert kernel.resume() == [mark, "12"]
    assert not objects(aws, bucket)
