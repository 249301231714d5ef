"""Large frames between two processes: shared once, sealed, and gone when nobody holds them."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from twingraph_nb.segments import LARGE, SHARED, Arrivals, Segments, has_large
from twingraph_nb.wire import Message, WireError, frame

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def descriptors() -> list[str]:
    """The shared frames that this process holds by a descriptor."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.append(os.readlink(each))
        except FileNotFoundError:  # the one that lists the folder
            continue
    return [name for name in found if "twingraph-frame" in name]


def sent(sock: socket.socket, frames: list[object], *, kind: int = 7, tag: int = 3) -> None:
    segments = Segments(frames, kind=kind, tag=tag)
    sock.sendall(b"".join([segments.send(sock), *segments.rest]))  # type: ignore[arg-type]


def received(arrivals: Arrivals) -> list[Message]:
    found: list[Message] = []
    while not found:
        found += arrivals.receive() or ()
    return found


def test_frames_arrive_in_their_places_large_and_small(pair: Pair) -> None:
    here, there = pair
    frames: list[object] = [b"a", b"b" * LARGE, b"", bytearray(b"c" * (LARGE + 1)), b"d"]
    assert has_large(frames)
    sent(here, frames)
    here.sendall(b"".join(frame([b"next"], kind=8)))
    arrivals, found = Arrivals(there), list[Message]()
    while len(found) < 2:
        found += received(arrivals)
    first, second = found
    assert (first.kind, first.tag) == (7, 3)
    assert [bytes(memoryview(one)) for one in first.frames] == [bytes(one) for one in frames]
    assert (second.kind, second.frames) == (8, [b"next"])


def test_small_frames_are_not_shared() -> None:
    assert not has_large([b"x" * (LARGE - 1)] * 5)


def test_the_receiver_may_write_and_the_sender_does_not_see_it(pair: Pair) -> None:
    here, there = pair
    original = bytearray(b"x" * LARGE)
    sent(here, [original])
    (message,) = received(Arrivals(there))
    message.frames[0][:1] = b"y"
    assert original[:1] == b"x"
    original[1:2] = b"z"
    assert message.frames[0][:3] == b"yxx"


def test_no_descriptor_is_left_once_the_memory_is_given_up(pair: Pair) -> None:
    here, there = pair
    sent(here, [b"x" * LARGE])
    assert received(Arrivals(there))
    assert descriptors() == []


def test_what_came_for_a_message_that_did_not_is_given_up(pair: Pair) -> None:
    here, there = pair
    Segments([b"x" * LARGE], kind=1, tag=1).send(here)
    arrivals = Arrivals(there)
    assert arrivals.receive() == []
    arrivals.close()
    del arrivals
    assert descriptors() == []


def test_what_is_never_sent_is_given_up() -> None:
    Segments([b"x" * LARGE], kind=1, tag=1).close()
    assert descriptors() == []


def test_many_frames_that_stay_do_not_take_all_descriptors(pair: Pair) -> None:
    here, there = pair
    arrivals, kept = Arrivals(there), []
    for at in range(300):
        sent(here, [bytes([at % 256]) * LARGE])
        kept += received(arrivals)
    assert len(kept) == 300
    assert all(message.frames[0][-1] == at % 256 for at, message in enumerate(kept))
    assert len(descriptors()) <= 128


def test_memory_that_could_be_cut_off_is_refused(pair: Pair) -> None:
    here, there = pair
    fd = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.truncate(fd, LARGE)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    here.sendmsg([b"".join(frame([b"\0\0\0\0"], kind=SHARED))], rights)
    os.close(fd)
    with pytest.raises(WireError, match="not sealed"):
        Arrivals(there).receive()


def test_an_announced_frame_that_does_not_come_is_an_error(pair: Pair) -> None:
    here, there = pair
    here.sendall(b"".join(frame([b"\0\0\0\0"], kind=SHARED)))
    with pytest.raises(WireError, match="did not come"):
        Arrivals(there).receive()
