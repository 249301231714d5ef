"""Events on their way to the screen."""

from __future__ import annotations

import threading
from collections.abc import Callable

from twingraph_nb.events import Batch, Event, RunFinished, RunStarted, Sink, TaskAdded
from twingraph_nb.views.feed import Feed
from twingraph_nb.views.ticker import Ticker, pause_after

EVENTS: list[Event] = [
    RunStarted(0.0, "r", "etl"),
    TaskAdded(0.0, 0, "h0", "a", "a"),
    TaskAdded(0.0, 1, "h1", "b", "b"),
    RunFinished(1.0, "succeeded"),
]


class Log:
    """A source that knows the first events, and says the next when asked."""

    def __init__(self, known: int) -> None:
        self.known = known
        self.sinks: list[Sink] = []

    def add_sink(self, sink: Sink) -> Callable[[], None]:
        self.sinks.append(sink)
        return lambda: self.sinks.remove(sink)

    def history(self, run_id: str) -> list[Batch]:
        return [Batch(run_id, 0, EVENTS[: self.known])]

    def say(self, seq: int, count: int, run: str = "r") -> None:
        for sink in self.sinks:
            sink.emit([Batch(run, seq, EVENTS[seq : seq + count])])


def test_what_history_and_sink_both_told_counts_once() -> None:
    log = Log(known=3)
    feed = Feed(log, "r")
    log.say(1, 2)
    log.say(2, 2)
    assert feed.pull()
    assert list(feed.screen.tasks) == [0, 1]
    assert feed.screen.version == len(EVENTS)
    assert feed.screen.over


def test_other_runs_are_not_ours() -> None:
    log = Log(known=1)
    feed = Feed(log, "r")
    log.say(1, 2, run="other")
    feed.pull()
    assert feed.screen.tasks == {}


def test_nothing_new_is_not_a_change() -> None:
    feed = Feed(Log(known=2), "r")
    assert feed.pull()
    assert not feed.pull()


def test_a_closed_feed_takes_no_more() -> None:
    log = Log(known=1)
    Feed(log, "r").close()
    assert log.sinks == []


class Counting:
    """A view that is over after some ticks, or fails at once."""

    def __init__(self, ticks: int, *, broken: bool = False) -> None:
        self.left, self.broken, self.over = ticks, broken, threading.Event()

    def tick(self, now: float) -> bool:
        if self.broken:
            self.over.set()
            raise RuntimeError("the comm is closed")
        self.left -= 1
        if self.left <= 0:
            self.over.set()
        return self.left > 0


def test_the_thread_ends_when_all_views_are_over_and_starts_again() -> None:
    ticker = Ticker()
    for _ in range(2):
        view = Counting(2)
        ticker.add(view)
        thread = ticker._thread
        assert view.over.wait(10)
        assert thread is not None
        thread.join(10)
        assert not thread.is_alive()


def test_one_view_that_fails_does_not_stop_the_others() -> None:
    ticker = Ticker()
    broken, whole = Counting(1, broken=True), Counting(3)
    ticker.add(broken)
    ticker.add(whole)
    assert broken.over.wait(10)
    assert whole.over.wait(10)


def test_a_click_is_answered_although_nothing_moves() -> None:
    ticker = Ticker()
    view = Counting(1)
    ticker.poke(view)
    assert view.over.wait(10)


def test_a_slow_picture_moves_less_often_but_does_move() -> None:
    """One that took long once, when the page was made, must not stand still for it."""
    assert [round(pause_after(took), 2) for took in (0.0, 0.01, 0.1, 5.0)] == [0.1, 0.09, 0.67, 1.0]


def test_a_flush_returns_when_all_views_have_been_drawn() -> None:
    ticker = Ticker()
    views = [Counting(1), Counting(1)]
    for view in views:
        ticker.add(view)
    ticker.flush()
    assert all(view.over.is_set() for view in views)
    ticker.flush()  # with nothing left to draw
