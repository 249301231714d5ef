"""What the code prints to stdout and stderr is told apart on the one stream there is for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from twingraph_nb.executors.native_prints import Prints


def framed(text: bytes) -> bytes:
    """As a worker frames it."""
    parts = {0: b"\x10@", 10: b"\x10J", 16: b"\x10P"}
    return b"\0>" + b"".join(parts.get(one, bytes([one])) for one in text) + b"\0"


SOME = st.text(max_size=20).map(str.encode)
PIECES = st.one_of(
    st.tuples(st.just("stdout"), SOME),
    st.tuples(st.just("stderr"), SOME.map(lambda text: text.replace(b"\0", b""))),
    st.tuples(st.just("mark"), st.integers(0, 2**32).map(lambda tag: b"%d" % tag)),
)
FORMS = {
    "stdout": framed,
    "stderr": bytes,
    "mark": lambda tag: b"\0" + tag + b"\0",
}


@given(st.lists(PIECES), st.integers(1, 7))
def test_pieces_come_out_as_they_went_in_however_they_are_cut(
    pieces: list[tuple[str, bytes]], size: int
) -> None:
    heard: list[tuple[str, str]] = []
    prints = Prints(
        lambda stream, text: heard.append((stream, text)),
        lambda tag: heard.append(("mark", tag)),
    )
    sent = b"".join(FORMS[kind](text) for kind, text in pieces)  # type: ignore[operator]
    for at in range(0, len(sent), size):
        prints.feed(sent[at : at + size])
    for kind in ("stdout", "stderr", "mark"):
        said = b"".join(text for one, text in pieces if one == kind)
        assert "".join(text for one, text in heard if one == kind) == said.decode()
    order = [text for kind, text in pieces if kind == "mark"]
    assert [tag.encode() for kind, tag in heard if kind == "mark"] == order


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_are_only_printed(parts: list[bytes]) -> None:
    prints = Prints(lambda stream, text: None, lambda tag: None)
    for part in parts:
        prints.feed(part)
