"""Databases that are away, refuse, hang or talk nonsense: one sentence, and runs go on."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from gremlin_python.process.anonymous_traversal import traversal

import twingraph_nb
from tests.lineage.remote_running import (
    TOKEN,
    Database,
    Proxy,
    address,
    free_port,
    hanging,
    until,
)
from tests.lineage.runs import batches, story
from twingraph_nb import component
from twingraph_nb.errors import LineageError, TwingraphError
from twingraph_nb.lineage.remote import read_address, remote_source
from twingraph_nb.lineage.remote_address import BadAddress
from twingraph_nb.lineage.remote_backlog import Sources
from twingraph_nb.lineage.remote_reader import RemoteReader
from twingraph_nb.lineage.remote_wire import Strange
from twingraph_nb.lineage.remote_writer import RemoteWriter
from twingraph_nb.magics.status import COMMANDS
from twingraph_nb.session import close_session, get_session
from twingraph_nb.settings import Settings

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    close_session()
    monkeypatch.setenv("TWINGRAPH_HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    close_session()


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with Database() as made:
        yield made


def line(text: str) -> object:
    """What a `%twingraph` line shows."""
    command, *words = text.split()
    return COMMANDS[command](words)


def double() -> int:
    @component
    def doubled(x: int) -> int:
        return 2 * x

    return doubled(21).result(60)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://host/gremlin", "did you mean ws://"),
        ("https://me:hunter2@host", "did you mean wss://"),
        ("host:8182", "it does not begin with ws:// or wss://"),
        ("me:hunter2@host:8182", "it does not begin with ws:// or wss://"),
        ("ws://", "it names no host"),
        ("ws://host:port/gremlin", "its host or port is not one"),
        ("ws://host:99999", "its host or port is not one"),
        ("ws://host?sorce=g", "it has no option 'sorce' (did you mean 'source'?)"),
        ("ws://x.eu-west-1.neptune.amazonaws.com", "Amazon Neptune takes wss:// only"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadAddress) as caught:
        read_address(text)
    assert why in str(caught.value)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


def test_what_an_address_leaves_out_is_usual_and_its_secrets_stay_inside() -> None:
    read = read_address("ws://me:h%40t@db.lab?source=g2")
    assert (read.url, read.user, read.password) == ("ws://db.lab:8182/gremlin", "me", "h@t")
    assert (str(read), read.source) == ("ws://db.lab:8182/gremlin?source=g2", "g2")
    assert "h@t" not in repr(read)
    cluster = read_address("wss://x.cluster-1.eu-west-1.neptune.amazonaws.com:8182/gremlin")
    assert cluster.region == "eu-west-1"


def test_a_wrong_address_is_said_and_the_session_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TWINGRAPH_LINEAGE", f"http://me:{SECRET}@host/")
    assert double() == 42
    assert get_session().troubles == [
        "lineage cannot go to 'http://host/': did you mean ws://; "
        "write ws://HOST:8182/gremlin, or wss:// for one with TLS"
    ]


class Plain(BaseHTTPRequestHandler):
    """A web server that knows of no WebSockets."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def plain_server() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Plain)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("where", "state", "why"),
    [
        (f"ws://me:{SECRET}@127.0.0.1:{{free}}", "away", "cannot be reached: Connection refused"),
        (f"ws://me:{SECRET}@nowhere.invalid", "away", "cannot be reached: "),
        (f"ws://me:{SECRET}@127.0.0.1:{{database}}", "refused", "refuses these credentials"),
        ("ws://127.0.0.1:{database}", "refused", "asks for credentials: write USER:PASSWORD@"),
        (f"ws://me:{TOKEN}@127.0.0.1:{{database}}/x", "refused", "is no Gremlin Server (HTTP 404)"),
        (f"ws://me:{TOKEN}@127.0.0.1:{{database}}?source=h", "refused", "answers with an error"),
        ("ws://127.0.0.1:{plain}/200", "refused", "is no Gremlin Server (HTTP 200)"),
        ("ws://127.0.0.1:{plain}/403", "refused", "refuses these credentials (HTTP 403)"),
        ("ws://127.0.0.1:{plain}/503", "away", "cannot be used now (HTTP 503)"),
        ("wss://127.0.0.1:{database}", "away", "cannot be reached: "),
        (f"wss://me:{SECRET}@127.0.0.1:{{plain}}?iam=eu-west-1", "refused", "no AWS credentials"),
    ],
)
def test_a_database_that_does_not_take_it_is_said_once_and_runs_go_on(
    where: str,
    state: str,
    why: str,
    database: Database,
    plain_server: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    heard: list[str] = []
    monkeypatch.setattr("twingraph_nb.session.say", heard.append)
    url = where.format(free=free_port(), database=database.port, plain=plain_server)
    monkeypatch.setenv("TWINGRAPH_LINEAGE", url)
    assert double() == 42
    writer = get_session().remote
    assert writer is not None
    until(lambda: writer.status.why)
    assert (writer.status.state, why in writer.status.why) == (state, True), writer.status
    until(lambda: writer._beats > 2)  # it is tried again, without a word
    assert [why in one for one in heard] == [True]
    shown = str(line("status")) + str(line("lineage"))
    assert state in shown
    close_session()
    assert "sends it from the store" in heard[-1]
    said = "".join([shown, *heard, repr(writer), repr(Settings.load()), *capsys.readouterr()])
    assert SECRET not in said
    assert TOKEN not in said


@pytest.fixture
def nonsense() -> Iterator[tuple[list[bytes | str], int]]:
    """A WebSocket server that answers what is in the list, one after the other."""
    answers: list[bytes | str] = []
    loop = asyncio.new_event_loop()

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            answer = answers.pop(0)
            await (socket.send_str if isinstance(answer, str) else socket.send_bytes)(answer)
        return socket

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/gremlin", talk)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield answers, runner.addresses[0][1]
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 40,
        b"\x81" + bytes(range(200)),
        "hello",
        "{}",
        '{"requestId": null}',
        b"\xff" * 9,
    ],
)
def test_nonsense_for_an_answer_is_called_that(
    answer: bytes | str, nonsense: tuple[list[bytes | str], int]
) -> None:
    answers, port = nonsense
    answers.append(answer)
    g = remote_source(read_address(f"ws://127.0.0.1:{port}"))
    with pytest.raises(Strange, match="answers what is not Gremlin"):
        g.V().to_list()


def test_a_database_that_hangs_holds_up_neither_a_run_nor_the_exit(home: Path) -> None:
    for port in hanging():
        text = (
            "from twingraph_nb import component\n"
            "@component\n"
            "def double(x: int) -> int:\n"
            "    return 2 * x\n"
            "print(double(21).result())\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", text],
            env={
                "TWINGRAPH_HOME": str(home),
                "TWINGRAPH_LINEAGE": f"ws://me:{SECRET}@127.0.0.1:{port}/gremlin",
                "PYTHONPATH": str(Path(twingraph_nb.__file__).parents[1]),
            },
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert (done.stdout, done.returncode) == ("42\n", 0)
    left = re.fullmatch(
        r"twingraph: lineage: (\S+) lacks the last (\d+) events?; .*\n", done.stderr
    )
    assert left is not None, done.stderr
    assert (left[1], int(left[2]) > 0) == (f"ws://127.0.0.1:{port}/gremlin", True)


KEYS = {"first": "secret of the first", "second": "secret of the second"}


def signed_with(head: bytes) -> str:
    """The name of the key that a request was signed with; "" if the signature is wrong."""
    lines = head.decode().split("\r\n")
    method, path, _ = lines[0].split()
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines[1:])}
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(\w+)/\d{8}/eu-west-1/neptune-db/aws4_request, "
        r"SignedHeaders=([\w;-]+), Signature=(\w+)",
        headers.get("authorization", ""),
    )
    if found is None or found[1] not in KEYS:
        return ""
    token = headers.get("x-amz-security-token")
    auth = SigV4Auth(Credentials(found[1], KEYS[found[1]], token), "neptune-db", "eu-west-1")
    request = AWSRequest(method, f"https://{headers['host']}{path}")
    for name in found[2].split(";"):
        request.headers[name] = headers[name]
    request.context["timestamp"] = headers["x-amz-date"]
    canonical = auth.canonical_request(request)
    signature = auth.signature(auth.string_to_sign(request, canonical), request)
    return found[1] if signature == found[3] else ""


def test_connections_to_neptune_are_signed_each_with_the_credentials_of_its_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = ["first"]

    def let_in(head: bytes) -> bool:
        return signed_with(head) in valid

    def become(key: str, secret: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        monkeypatch.setenv("AWS_SESSION_TOKEN", f"token of {key}")

    with Proxy(database.port, let_in) as proxy:
        url = f"{address(proxy.port)}?iam=eu-west-1"
        become("first", KEYS["first"])
        writer = RemoteWriter(read_address(url), Sources(), home=None)
        writer.emit(batches(story("aaaa000000000005"), "aaaa000000000005"))
        assert writer.settle(100), writer.status
        valid[0] = "second"
        become("second", "not the right one")
        proxy.cut()
        writer.emit(batches(story("aaaa000000000006"), "aaaa000000000006"))
        until(lambda: writer.status.state == "refused")
        assert "refuses these credentials (HTTP 403)" in str(writer.status)
        become("second", KEYS["second"])
        assert writer.settle(100), writer.status
        writer.close()
        assert [signed_with(head) for head in proxy.heads].count("second") == 1
    assert database.g.V().has_label("Run").has("run", "aaaa000000000006").count().next() == 1


def unmasked(stream: bytes) -> Iterator[bytes]:
    """What is in the frames of a WebSocket client (RFC 6455, 5.2)."""
    while stream:
        size, at = stream[1] & 127, 2
        if size > 125:
            at = 4 if size == 126 else 10
            size = int.from_bytes(stream[2:at], "big")
        mask, data = stream[at : at + 4], stream[at + 4 : at + 4 + size]
        yield bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
        stream = stream[at + 4 + size :]


def test_no_step_goes_out_that_older_servers_do_not_know(database: Database) -> None:
    with Proxy(database.port) as proxy:
        get_session().send_lineage(address(proxy.port))
        assert double() == 42
        get_session().driver.flush()
        writer = get_session().remote
        assert writer is not None
        assert writer.settle(100), writer.status
        g = twingraph_nb.lineage(remote=True)
        g.V().has_label("Nothing").iterate()
        told = b"".join(unmasked(bytes(proxy.sent)))
        assert told.count(b"mergeV") > 3
        assert told.count(b"hasLabel") == 1
        assert [word for word in (b"discard", b"none") if word in told] == []


def test_the_database_is_asked_only_when_somebody_says_so(database: Database) -> None:
    with pytest.raises(LineageError, match="this session writes to no graph database"):
        twingraph_nb.lineage(remote=True)
    get_session().send_lineage(database.url)
    assert double() == 42
    here = twingraph_nb.lineage().V().has("Name", "doubled").values("Output")
    assert here.to_list() == ["42"]
    get_session().driver.flush()
    writer = get_session().remote
    assert writer is not None
    assert writer.settle(100)
    run = get_session().loose.id
    for g in (twingraph_nb.lineage(remote=True), twingraph_nb.lineage(database.url)):
        there = g.V(f"run:{run}").in_("in_run").values("Output")
        assert there.to_list() == ["42"]


def test_who_asks_again_after_the_connection_has_ended_is_answered(database: Database) -> None:
    with Proxy(database.port) as way:
        reader = RemoteReader(read_address(address(way.port)))
        g = traversal().with_(reader)
        for _ in range(2):
            assert g.V("nothing").to_list() == []
            way.cut()
            until(lambda: reader._wire.is_lost)
        assert g.V("nothing").to_list() == []


async def test_it_can_be_asked_inside_a_running_loop(database: Database) -> None:
    assert remote_source(read_address(database.url)).V("nothing").to_list() == []


def test_the_line_magic_starts_shows_and_ends_the_writing(database: Database) -> None:
    assert "kept here only" in str(line("lineage"))
    told = str(line(f"lineage {database.url} --all"))
    assert f"ws://127.0.0.1:{database.port}/gremlin" in told
    assert TOKEN not in told
    until(lambda: "connected" in str(line("lineage")))
    assert "kept here only" in str(line("lineage off"))
    with pytest.raises(TwingraphError, match="takes a URL"):
        line("lineage one two")
