"""Dask as a kernel uses it: blocking calls, made in a thread of `dask_link`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future as Future_
from importlib.resources import files
from typing import Any

import distributed
from distributed import Client, Future
from distributed.diagnostics.plugin import WorkerPlugin

from twingraph_nb.errors import Unreachable
from twingraph_nb.executors.dask_local import LocalDask
from twingraph_nb.executors.kit import bootstrap, kit_bytes, kit_sources
from twingraph_nb.remote_dask import Held, cancel, run, stashed

__all__ = ["Cluster", "Held"]

_PLUGIN = "twingraph"
_MORE = ("remote_turns", "remote_dask")
_PATIENCE = 5.0  # seconds to connect
_ANSWER = 30.0  # seconds for an answer to what is small

_LONG = 600.0  # seconds for what may be large
_ENDS = (OSError, TimeoutError, KeyError, ValueError, RuntimeError)
"""What a client may raise that is closed when its scheduler is gone."""

Heard = Callable[[bytes], object]


class _Client(Client):  # type: ignore[misc]
    """A client that lets go of its loop when it cannot start: Dask's would try so at exit."""

    def start(self, **kwargs: Any) -> None:
        try:
            super().start(**kwargs)
        except BaseException:
            with contextlib.suppress(*_ENDS):
                self.close(timeout=2)
            raise


class Cluster:
    """A connection of our own to a Dask scheduler. Raises only ExecutorError."""

    def __init__(self, address: str, security: object = None, workers: int | None = None) -> None:
        """Without an address it starts a cluster on this machine."""
        self._topics: dict[str, Heard] = {}
        self._hears = threading.Event()
        self._scheduler = ""
        self._own = None if address else LocalDask(workers)
        self.address = address or self._own.address  # type: ignore[union-attr]
        try:
            options = {} if security is None else {"security": security}
            self.client = _connected(self.address, options)
        except (OSError, TimeoutError, ValueError) as exc:
            self._close_own()
            raise _unreachable(self.address, exc) from exc
        try:
            self._prepare()
        except BaseException:
            self.close("")
            raise

    @property
    def versions(self) -> str:
        """Versions of client and service, and how many workers there are."""
        with _told(self.address):
            found = self._at_scheduler(_version_there())
            count = len(self.client.scheduler_info(n_workers=-1)["workers"])
        return (
            f"client {distributed.__version__}, scheduler {found}, "
            f"{count} worker{'' if count == 1 else 's'}"
        )

    @property
    def connected(self) -> bool:
        """False once the scheduler is gone."""
        return self.client.status in ("running", "connecting")

    @property
    def own_pid(self) -> int:
        """The process of a cluster of this machine; 0 if it is somebody else's."""
        return self._own.pid if self._own is not None else 0

    def places(self) -> int:
        """Give how many tasks can run at once; a scheduler that is new is prepared first."""
        with _told(self.address):
            who, places = self._at_scheduler(_looks())
        if who != self._scheduler:  # it was started again, and the client has found it
            self._prepare()
            for topic, heard in self._topics.items():
                self.listen(topic, heard)
        return max(1, int(places))

    def greet(self) -> None:
        """See that the scheduler answers, and that what workers say gets here.

        Raises:
            Unreachable: it does not.
        """
        self._hears.clear()
        with _told(self.address):
            for topic in self._topics:
                self._at_scheduler(_echoes(topic))
            if self._topics and not self._hears.wait(_ANSWER):
                raise TimeoutError("nothing is heard of it any more")

    def abandon(self) -> None:
        """Let go of a scheduler that is silent: what waits for it ends with an error."""
        with contextlib.suppress(*_ENDS):
            self.client.close(timeout=2)

    def listen(self, topic: str, heard: Heard) -> None:
        """Have what workers say about a topic told, on a thread of the client."""
        self._topics[topic] = heard

        def told(event: Any) -> None:
            self._hears.set()
            heard(event[1])

        self.client.subscribe_topic(topic, told)

    def hear(self, topic: str, heard: Callable[[tuple[float, bytes]], object]) -> None:
        """Have the same told with the scheduler's time."""
        self.client.subscribe_topic(topic, lambda event: heard((event[0], event[1])))

    def expect(self, key: str, over: Callable[[], object]) -> Future:
        """Give what stands for a task that another client has sent; `over` is called at its end."""
        made = Future(key, self.client)
        made.add_done_callback(lambda _: over())
        return made

    def ask(self, call: Callable[..., Any], *args: Any) -> Any:
        """Have a function called at the scheduler."""
        with _told(self.address):
            return self._at_scheduler(call, *args)

    def submit(
        self,
        orders: Sequence[bytes],
        keys: Sequence[str],
        options: Mapping[str, Any],
    ) -> list[Future]:
        """Have messages worked on; gives the futures of what stays there."""
        with _told(self.address):
            return list(
                self.client.map(run, orders, key=list(keys), pure=False, retries=0, **options)
            )

    def submit_with(
        self, order: bytes, key: str, held: Sequence[Future], options: Mapping[str, Any]
    ) -> Future:
        """Have one message worked on that needs what is held there."""
        with _told(self.address):
            return self.client.submit(run, order, *held, key=key, pure=False, retries=0, **options)

    def hold(self, blob: bytes) -> Future:
        """Put bytes onto the cluster."""
        with _told(self.address):
            return self.client.scatter(Held(blob), hash=False)

    def gather(self, futures: Sequence[Future]) -> list[Any]:
        """Bring what futures stand for."""
        with _told(self.address):
            return list(self.client.gather(list(futures)))

    def fetch(self, worker: str, number: int) -> bytes | None:
        """Bring a message that was too large for an event."""
        with _told(self.address):
            found = self.client.run(stashed, number, workers=[worker], callback_timeout=_LONG)
        return found.get(worker)  # type: ignore[no-any-return]

    def cancel(self, futures: Sequence[Future], tags: Iterable[int], topic: str) -> None:
        """End jobs wherever they are; they are gone when it returns."""
        with _told(self.address):
            if futures:
                self.client.cancel(list(futures), force=True)
            self.client.run(cancel, list(tags), topic, on_error="ignore", callback_timeout=_ANSWER)

    def close(self, topic: str) -> None:
        """Leave the cluster; one of our own is ended."""
        with contextlib.suppress(*_ENDS):
            if topic and self.connected:
                # Not by `unsubscribe_topic`, which comes later than this and leaves the topic.
                self._at_scheduler(_forgets(topic))
            self.client.close(timeout=2)
        self._close_own()

    def _at_scheduler(self, call: Callable[..., Any], *args: Any) -> Any:
        return self.client.run_on_scheduler(call, *args, callback_timeout=_ANSWER)

    def _close_own(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def _prepare(self) -> None:
        """Give scheduler and workers, now and later, what is not installed there."""
        sources, install = _sources(), _installer()
        with _told(self.address):
            self._scheduler, _ = self._at_scheduler(_looks())
            self._at_scheduler(install, sources)
            plugin = _plugin(install, sources, bootstrap(plain=False), kit_bytes())
            self.client.register_plugin(plugin, name=_PLUGIN)


def _connected(address: str, options: Mapping[str, Any]) -> Client:
    """Give a client. Its own limit of time does not hold where a network swallows what is sent.

    Raises:
        OSError, TimeoutError, ValueError: nobody answers there.
    """
    made: Future_[Client] = Future_()

    def make() -> None:
        try:
            client = _Client(
                address, timeout=_PATIENCE, set_as_default=False, name="twingraph", **options
            )
        except BaseException as exc:  # passed on to who waits
            if made.set_running_or_notify_cancel():
                made.set_exception(exc)
            return
        if made.set_running_or_notify_cancel():
            made.set_result(client)
        else:  # too late
            client.close(timeout=2)

    # Not one of a pool's threads: the interpreter would wait for it at exit.
    threading.Thread(target=make, name="twingraph-dask-connects", daemon=True).start()
    try:
        return made.result(_ANSWER)
    except TimeoutError:
        made.cancel()
        raise


def _sources() -> dict[str, str]:
    """The modules that a worker without this package needs."""
    found = dict(kit_sources())
    for name in _MORE:
        text = files("twingraph_nb").joinpath(f"{name}.py").read_text("utf-8")
        found[f"twingraph_nb.{name}"] = text
    return found


def _installer() -> Callable[[dict[str, str]], str]:
    """A function that is sent by its code, since this package may not be there."""

    def install(sources: dict[str, str]) -> str:
        import importlib
        import importlib.abc
        import importlib.util
        import sys

        try:
            return str(importlib.import_module("twingraph_nb").__version__)
        except ModuleNotFoundError:
            pass

        class Kit(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
            def find_spec(self, name, path=None, target=None):  # type: ignore[no-untyped-def]
                if name not in sources:
                    return None
                origin = "<twingraph>/{}.py".format(name.replace(".", "/"))
                spec = importlib.util.spec_from_loader(name, self, origin=origin)
                assert spec is not None
                spec.has_location = True
                return spec

            def is_package(self, name):  # type: ignore[no-untyped-def]
                return name == "twingraph_nb"

            def get_source(self, name):  # type: ignore[no-untyped-def]
                return sources[name]

        sys.meta_path.append(Kit())
        return str(importlib.import_module("twingraph_nb").__version__)

    return install


def _plugin(
    install: Callable[[dict[str, str]], str], sources: dict[str, str], boot: str, kit: bytes
) -> WorkerPlugin:
    """What each worker does first, also one that comes later; sent by its code."""

    class Prepare(WorkerPlugin):  # type: ignore[misc]
        name = "twingraph"

        def setup(self, worker):  # type: ignore[no-untyped-def]
            import importlib

            install(sources)
            importlib.import_module("twingraph_nb.remote_dask").prepare(boot, kit)

        def teardown(self, worker):  # type: ignore[no-untyped-def]
            import importlib

            importlib.import_module("twingraph_nb.remote_dask").release()

    return Prepare()


def _version_there() -> Callable[[], str]:
    def version() -> str:
        import distributed

        return str(distributed.__version__)

    return version


def _looks() -> Callable[..., tuple[str, int]]:
    def look(dask_scheduler: Any = None) -> tuple[str, int]:
        places = sum(worker.nthreads for worker in dask_scheduler.workers.values())
        return str(dask_scheduler.id), places

    return look


def _echoes(topic: str) -> Callable[..., None]:
    """Has the scheduler say nothing, by the way that all words of the workers take."""

    def echo(dask_scheduler: Any = None) -> None:
        dask_scheduler.log_event(topic, b"")

    return echo


def _forgets(topic: str) -> Callable[..., None]:
    def forget(dask_scheduler: Any = None) -> None:
        kept = dask_scheduler.clients.get(f"twingraph-kept-{topic}")
        if kept is not None:
            keys = [one.key for one in kept.wants_what]
            dask_scheduler.client_releases_keys(keys, kept.client_key)
            dask_scheduler.clients.pop(kept.client_key)
        dask_scheduler._broker._topics.pop(topic, None)

    return forget


@contextlib.contextmanager
def _told(address: str) -> Any:
    try:
        yield
    except (OSError, TimeoutError) as exc:
        raise _unreachable(address, exc) from exc


def _unreachable(address: str, exc: BaseException) -> Unreachable:
    cure = (
        "Start one with `dask scheduler` and `dask worker ADDRESS`, or leave the option address "
        "out for a cluster on this machine"
    )
    why = str(exc).rstrip(".") or type(exc).__name__
    return Unreachable("dask", address, why, cure)
