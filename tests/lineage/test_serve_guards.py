"""Who may ask a served graph, and what happens to those who send anything at all."""

from __future__ import annotations

import base64
import contextlib
import gc
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import websocket
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from gremlin_python.driver.protocol import ConfigurationError, GremlinServerError
from gremlin_python.driver.request import RequestMessage
from gremlin_python.driver.serializer import GraphBinarySerializersV1
from gremlin_python.process.graph_traversal import __
from gremlin_python.process.traversal import Bytecode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.lineage.asking import kitchen
from tests.lineage.served import GRAPHSON, Raw, client, opened, request, served
from twingraph_nb.lineage.serve import Bounds, CannotServe, Server
from twingraph_nb.lineage.traverser import Limits

# gremlinpython ends its loop before a socket that the server has closed, or one with TLS, is gone.
# And an interruption of the watch may arrive in a callback of the garbage collector, such as
# hypothesis has one: there it is noted only, and sent again.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BINARY = b"application/vnd.graphbinary-v1.0"
BOUNDS = Bounds(query=Limits(seconds=5), frame=1 << 20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(kitchen(), writable=True, bounds=BOUNDS) as made:
        yield made


def alive(server: Server) -> bool:
    """Whether a new client gets an answer."""
    with opened(server) as raw:
        return raw.ask(request(gremlin="g.V('ann').count()"))[0] == 200


# -- who may come in ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["graphson", "graphbinary"])
def test_a_wrong_password_and_none_are_refused(server: Server, form: str) -> None:
    for password in ("wrong", server.token[:-1], server.token + "x", server.token.upper()):
        with (
            client(server, form, password=password) as asking,
            pytest.raises(GremlinServerError, match=r"401.*incorrect"),
        ):
            asking.submit("g.V()").all().result()
    with (
        client(server, form, username="", password="") as asking,
        pytest.raises(ConfigurationError, match="requires authentication"),
    ):
        asking.submit("g.V()").all().result()
    gc.collect()


def test_a_token_may_come_with_the_first_byte(server: Server) -> None:
    basic = base64.b64encode(f"any:{server.token}".encode()).decode()
    for value in (f"Bearer {server.token}", f"bearer  {server.token}", f"Basic {basic}"):
        socket = websocket.create_connection(
            server.url, header=[f"Authorization: {value}"], suppress_origin=True
        )
        with contextlib.closing(socket):
            assert Raw(socket).ask(request(gremlin="g.V().count()"))[0] == 200
    for value in ("Bearer wrong", "Basic !!!", "Digest x", f"Token {server.token}", "Bearer"):
        with pytest.raises(websocket.WebSocketBadStatusException, match="401"):
            websocket.create_connection(
                server.url, header=[f"Authorization: {value}"], suppress_origin=True
            )


def test_a_web_page_may_not_connect_even_with_the_token(server: Server) -> None:
    for origin in ("http://evil.example", "http://127.0.0.1", "null"):
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            websocket.create_connection(
                server.url, header=[f"Authorization: Bearer {server.token}"], origin=origin
            )


def test_what_was_asked_before_the_password_is_answered_after_it(server: Server) -> None:
    with opened(server, token=None) as raw:
        asked = [request(gremlin=f"g.inject({n})") for n in range(3)]
        for one in asked:
            raw.send(one)
        told = raw.answer()
        assert (told["status"]["code"], told["requestId"]) == (407, asked[0]["requestId"])
        sasl = base64.b64encode(f"\0any\0{server.token}".encode()).decode()
        raw.send(request("authentication", sasl=sasl) | {"requestId": asked[0]["requestId"]})
        answers = [raw.answer() for _ in range(3)]
        ids = {one["requestId"]: one["status"]["code"] for one in answers}
        assert ids == {one["requestId"]: 200 for one in asked}


def test_who_does_not_say_who_it_is_gets_nothing() -> None:
    bounds = Bounds(login=0.3, frame=1 << 20)
    with Server(kitchen(), bounds=bounds) as server:
        with opened(server, token=None) as raw:
            assert b"say who you are" in raw.end()
        with opened(server, token=None) as raw:
            raw.send(request(gremlin="g.V()"))
            assert raw.answer()["status"]["code"] == 407
            raw.send(request(gremlin="g.V() " + " " * (1 << 19)))
            raw.send(request(gremlin="g.V() " + " " * (1 << 19)))
            assert b"say who you are" in raw.end()
        for sasl in ("", "AAAA", 5, None, base64.b64encode(b"\0a\0b\0c").decode()):
            with opened(server, token=None) as raw:
                assert raw.ask(request("authentication", sasl=sasl))[0] == 401
                raw.end()


def test_it_does_not_listen_beyond_this_machine_without_a_certificate() -> None:
    for host in ("0.0.0.0", "192.0.2.1", "::", "example.org"):
        with pytest.raises(CannotServe, match="reads the token"):
            Server(kitchen(), host=host)
    for host in ("localhost", "127.0.0.2", "::1"):
        Server(kitchen(), host=host)
    with pytest.raises(CannotServe, match="at least 16"):
        Server(kitchen(), token="short")
    with pytest.raises(CannotServe, match="no certificate"):
        Server(kitchen(), certificate=(__file__, None))
    with Server(kitchen()) as server, pytest.raises(CannotServe, match="cannot listen"):
        Server(kitchen(), port=server.port).start()


def certificate(folder: Path) -> tuple[Path, Path]:
    """PEM files of a certificate for this machine, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.now(UTC), timedelta(days=1)
    here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([here]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(Encoding.PEM))
    form = PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    return chain, secret


def test_with_a_certificate_it_speaks_tls(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path)
    with Server(kitchen(), host="127.0.0.1", certificate=(chain, key)) as server:
        assert server.url.startswith("wss://")
        trusted = ssl.create_default_context(cafile=chain)
        with served(server, ssl_options=trusted) as g:
            assert g.V().count().next() == 6
    gc.collect()
    assert Server(kitchen(), host="0.0.0.0", certificate=(chain, key)).url.startswith("wss://")


def test_connections_are_counted() -> None:
    with Server(kitchen(), bounds=Bounds(connections=2)) as server:
        full = pytest.raises(websocket.WebSocketBadStatusException, match="503")
        with opened(server), opened(server), full, opened(server):
            pass
        # the two are let go of by the server's loop, in its own time
        for _ in range(100):
            with contextlib.suppress(websocket.WebSocketBadStatusException), opened(server) as raw:
                assert raw.ask(request(gremlin="g.V().count()"))[0] == 200
                break
        else:
            pytest.fail("places are not given back")


# -- what is sent ---------------------------------------------------------------------------------


def framed(body: bytes, mime: bytes = BINARY) -> bytes:
    return bytes((len(mime),)) + mime + body


def whole(gremlin: Bytecode | str) -> bytes:
    """A real request in GraphBinary, without its format's name."""
    text = isinstance(gremlin, str)
    args = {"gremlin": gremlin, "aliases": {"g": "g"}, "bindings": {"x": [1, {"a": None}]}}
    message = RequestMessage("" if text else "traversal", "eval" if text else "bytecode", args)
    made: bytes = GraphBinarySerializersV1().serialize_message(str(uuid.uuid4()), message)
    return made[1 + len(BINARY) :]


def traversal() -> Bytecode:
    made: Bytecode = __.V().has("age", 3).repeat(__.out("taught")).times(2).by("name").bytecode
    return made


def answered(server: Server, frames: list[bytes | str]) -> set[int]:
    """The codes of the answers to frames that may be anything; what is not answered is closed."""
    codes = set()
    gone = contextlib.suppress(websocket.WebSocketException, ConnectionError)
    with opened(server) as raw, gone:
        for frame in frames:
            raw.send(frame)
            told = raw.socket.recv()
            codes.add(code_of(told))
    return codes


def code_of(told: bytes | str) -> int:
    if isinstance(told, str):
        return int(json.loads(told)["status"]["code"])
    return int.from_bytes(told[18:22], "big") if told else 0


CODES = {0, 200, 204, 206, 401, 498, 499, 500, 595, 597, 598, 599}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=200) | st.text(max_size=200), min_size=1, max_size=4))
def test_any_bytes_are_answered_or_end_the_connection(
    server: Server, frames: list[bytes | str]
) -> None:
    assert answered(server, frames) <= {0, 498}
    assert alive(server)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([whole(traversal()), whole("g.V(x).out()")]),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_a_request_in_binary_may_be_damaged_and_cut_anywhere(
    server: Server, body: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(body)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    assert answered(server, [framed(bytes(damaged)), framed(bytes(damaged)[:end])]) <= CODES


KINDS = [
    "g:Map", "g:Bytecode", "g:P", "g:T", "g:Lambda", "g:Set", "g:Class", "g:SubgraphStrategy",
    "gx:BigDecimal", "g:UUID", "g:Int32", "gx:Duration", "g:Double", "g:List", "x",
]  # fmt: skip
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.fixed_dictionaries({"@type": st.sampled_from(KINDS), "@value": inner})
    ),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON)
def test_arguments_in_json_may_be_anything(server: Server, value: Any) -> None:
    for made in (
        request(gremlin=value),
        request(gremlin="g.inject(x)", bindings={"x": value}),
        request("bytecode", "traversal", gremlin={"@type": "g:Bytecode", "@value": value}),
        request(gremlin="g.V()") | {"args": value},
        request(gremlin="g.V()", evaluationTimeout=value, batchSize=value),
    ):
        text = json.dumps(made).encode()
        assert answered(server, [framed(text, GRAPHSON)]) <= CODES


def long_lists() -> dict[str, bytes]:
    """Requests that announce more than they hold, or hold what takes much to hold."""
    head = b"\x81" + bytes(16) + b"\x00\x00\x00\x04eval" + b"\x00\x00\x00\x00"
    named = head + b"\x00\x00\x00\x01" + b"\x03\x00\x00\x00\x00\x01x"
    deep = b"\x09\x00\x00\x00\x00\x01" * 100_000
    return {
        "a huge map": head + b"\x7f\xff\xff\xff",
        "a huge list": named + b"\x09\x00\x7f\xff\xff\xff",
        "a huge text": named + b"\x03\x00\x7f\xff\xff\xff",
        "a negative length": named + b"\x03\x00\xff\xff\xff\xff",
        "a huge number": named + b"\x23\x00\x00\x08\x00\x00" + b"\x7f" * 0x80000,
        "a huge decimal": named + b"\x22\x00\x7f\xff\xff\xff\x00\x00\x00\x01\x05",
        "lists in lists": named + deep + b"\xfe\x01",
        "a bulk set": named + b"\x2a\x00\x00\x00\x00\x01\xfe\x01\x7f" + b"\xff" * 7,
        "another version": b"\x82" + head[1:],
        "more behind it": whole("g.V()") + b"\x00",
    }


@pytest.mark.parametrize("name", long_lists())
def test_lengths_are_not_believed(server: Server, name: str) -> None:
    assert answered(server, [framed(long_lists()[name])]) == {498}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 100_000,
        "1" * 500_000,
        '{"requestId":' + '"a"' * 9,
        "NaN",
        '"\\ud800"',
    ],
)
def test_json_may_be_deep_long_or_none(server: Server, text: str) -> None:
    assert answered(server, [framed(text.encode(), GRAPHSON), text]) == {498}


def test_a_decimal_that_is_written_short_and_is_long_is_refused(server: Server) -> None:
    for value in ("1e999999999", "-1e-999999999", "NaN", "x"):
        bound = {"x": {"@type": "gx:BigDecimal", "@value": value}}
        asked = request(gremlin="g.inject(x).asNumber(GType.INT)", bindings=bound)
        assert answered(server, [framed(json.dumps(asked).encode(), GRAPHSON)]) == {498}


def test_what_is_no_websocket_is_told_so(server: Server) -> None:
    for path, code in (("/gremlin", 426), ("/", 404)):
        with pytest.raises(urllib.error.HTTPError, match=str(code)) as caught:
            urllib.request.urlopen(server.url.replace("ws", "http").replace("/gremlin", path))
        caught.value.close()


def test_the_format_of_a_request_must_be_one_that_is_spoken(server: Server) -> None:
    with opened(server) as raw:
        for mime in (b"application/vnd.gremlin-v1.0+json", b"text/html", b"", b"\xff\xfe"):
            code, why = raw.ask(framed(b"{}", mime))
            assert code == 498
            assert "is not spoken here" in why


def test_a_frame_that_is_too_large_ends_the_connection(server: Server) -> None:
    with opened(server) as raw:
        raw.send(request(gremlin="g.V() " + " " * (1 << 20)))
        with contextlib.suppress(ConnectionError):  # it has not read all of it
            assert raw.end()[:2] == (1009).to_bytes(2, "big")
    assert alive(server)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "g.__class__.__mro__",
        "g.V().getClass().forName('java.lang.Runtime')",
        "g.V().map{Runtime.getRuntime().exec('id')}",
        "System.exit(0)",
        "g.V().has('a', __.__globals__)",
        "g.io('/etc/passwd').read().iterate()",
        "g.io('/tmp/x.json').write().iterate()",
        "g.V().program(x)",
        "g.call('--list')",
        "def f(){}; g.V()",
        "g.V(); g.V().drop()",
        "g.tx().commit()",
        "graph.close()",
        "g.getGraph().close()",
        "open('/etc/passwd')",
        "g.V().math('__import__(1)')",
        "g.V().format('%{__class__}')",
    ],
)
def test_hostile_text_is_refused_and_nothing_is_run(server: Server, text: str) -> None:
    with opened(server) as raw:
        code, _ = raw.ask(request(gremlin=text, bindings={"x": 1}))
        assert code in (204, 499, 597)
        assert raw.ask(request(gremlin="g.V().count()"))[0] == 200


def test_a_lambda_from_a_client_is_refused(server: Server) -> None:
    with served(server) as g, pytest.raises(GremlinServerError, match="lambdas are code"):
        g.V().map(lambda: ("it.get()", "gremlin-groovy")).to_list()


BOMBS = {
    "texts": "g.inject('aaaaaaaa').repeat(concat(identity())).times(60)",
    "replaced": "g.inject('aaaaaaaa').repeat(replace('a', 'aaaaaaaa')).times(60)",
    "lists": "g.inject([1, 2]).repeat(combine(identity())).times(60)",
    "products": "g.inject([1, 2]).repeat(product(identity())).times(12)",
    "formats": "g.inject('ab').repeat(format('%{_}%{_}').by()).times(60)",
    "numbers": "g.withSack(9999999999999999999n).inject(1).repeat(sack(mult).by(sack())).times(60)",
    "decimals": "g.inject(1e999999999m).asNumber(GType.INT)",
    "holes": "g.inject(1).format('" + "%{" * 400_000 + "')",
    "endless": "g.V().repeat(both()).emit().path().count()",
    "aggregated": "g.V().repeat(both().aggregate('x')).times(40).cap('x')",
    "written": "g.addV('x').constant(1).repeat(project('a', 'b').by().by()).times(60)",
    "nested": "g.inject(1).repeat(project('a', 'b').by().by()).times(60)",
}
"""Small queries with answers that no memory holds, or that no time is enough for."""


@pytest.fixture(scope="module")
def small() -> Iterator[Server]:
    limits = Limits(seconds=1, results=20_000, held=100_000, made=1_000_000)
    bounds = Bounds(query=limits, memory=256 << 20)
    with Server(kitchen(), writable=True, bounds=bounds) as made:
        yield made


@pytest.mark.parametrize("name", BOMBS)
def test_a_query_that_would_fill_the_memory_is_stopped(small: Server, name: str) -> None:
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss
    with opened(small) as raw:
        raw.send(request(gremlin=BOMBS[name]))
        code = 206
        while code == 206:
            code = code_of(raw.socket.recv())
        assert code in (500, 597, 598)
        assert process.memory_info().rss - before < 1 << 30
        raw.send(request(gremlin="g.V().count()"))
        assert raw.answer()["result"]["data"]["@value"][0]["@value"] == 6


def test_a_client_that_takes_no_answers_is_let_go_of() -> None:
    graph = kitchen()
    graph.add_vertex("text", "t", {"text": "x" * 900_000})
    with Server(graph, bounds=Bounds(send=0.5, query=Limits(seconds=60))) as server:
        with opened(server) as deaf, opened(server) as other:
            deaf.send(request(gremlin="g.V('t').repeat(identity()).emit()", batchSize=1))
            assert deaf.answer()["status"]["code"] == 206
            # not one more is read: the server's buffers fill up, and it gives this client up
            while server.connected > 1:
                assert other.ask(request(gremlin="g.V().count()"))[0] == 200
        assert alive(server)


PROFILED = """
import cProfile
from twingraph_nb.lineage.serve_watch import Overdue, Watch

def forever():
    while True:
        pass

def profiled():
    watch = Watch(None)
    answers = [watch.over(60.0, str)]
    try:
        watch.over(0.0, forever)
    except Overdue:
        answers.append("late")
    return [*answers, watch.over(60.0, str)]

print(cProfile.Profile().runcall(profiled))
"""


def test_who_serves_a_graph_can_be_profiled_and_debugged() -> None:
    words = [sys.executable, "-c", PROFILED]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("['', 'late', '']\n", "")
