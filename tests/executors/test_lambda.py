"""Platform `lambda`: real containers with Amazon's runtime client behind an emulated AWS.

What it shares with all platforms is in tests/conformance/test_lambda.py, which has a bucket; most
of what is here goes without one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import os
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
from botocore.exceptions import ClientError

from tests.executors.aws_running import Told, client, job, objects, opened, value
from tests.services import base
from tests.services.aws import environment
from twingraph_nb.context import ctx
from twingraph_nb.errors import (
    ExecutorError,
    PortabilityError,
    ResultError,
    TaskTimeout,
    Unreachable,
    WorkerDied,
)
from twingraph_nb.executors import aws_function
from twingraph_nb.executors.aws_clients import Services, Where, asking
from twingraph_nb.executors.aws_function import Functions, accident
from twingraph_nb.executors.aws_lambda import LambdaExecutor
from twingraph_nb.executors.aws_package import MIB, UNZIPPED, archive, check_size, setup_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
NAMED = ("bulky", "shared", "narrow", "mine", "networked", "theirs", "passing", "garbage")
NAMED += ("contested",)


@pytest.fixture(scope="module", autouse=True)
def service(aws: Mapping[str, str]) -> Iterator[None]:
    """The emulator as AWS, and at the end no function of ours by name."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in environment(aws).items():
            patch.setenv(name, text)
        patch.delenv("AWS_PROFILE", raising=False)
        yield
        for name in NAMED:
            with contextlib.suppress(ClientError):  # a part of the tests makes a part of them
                client(aws, "lambda").delete_function(FunctionName=name)


@pytest.fixture(scope="module")
def options(aws: Mapping[str, str]) -> dict[str, object]:
    return {"role": aws["role"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def functional(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LambdaExecutor]:
    async with opened(LambdaExecutor, tmp_path_factory.mktemp("home")) as made:
        yield made


# -- what comes back ------------------------------------------------------------------------------


async def test_components_of_equal_settings_share_one_function(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    def one(x: int) -> int:
        return x + 1

    def two(x: int) -> int:
        return x * 10

    named = {**options, "function_name": "shared"}
    assert await value(functional, job("lambda", one, (1,), **named)) == 2
    before = client(aws, "lambda").get_function_configuration(FunctionName="shared")
    assert await value(functional, job("lambda", two, (2,), **named)) == 20
    after = client(aws, "lambda").get_function_configuration(FunctionName="shared")
    assert after["LastModified"] == before["LastModified"]
    names = {setup_of(job("lambda", each, (1,), **options)).name for each in (one, two)}
    assert len(names) == 1
    assert names.pop().startswith("twingraph-")


async def test_logs_progress_and_chunks_come_with_the_answer(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    def step() -> Iterator[int]:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        os.system("echo from a program")
        ctx.progress(0.5, "half")
        yield from range(3)

    told = Told()
    assert await value(functional, job("lambda", step, **options), told) == [0, 1, 2]
    assert told.text() == "to stdout\nfrom a program\n"
    assert told.text("stderr") == "to stderr\n"
    assert told.progressed == [(0.5, "half")]
    assert told.chunks == [0, 1, 2]


async def test_without_a_bucket_large_values_are_errors_that_name_it(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    def step(x: bytes) -> bytes:
        return x * 2

    with pytest.raises(PortabilityError, match=r"its inputs have 4.8 MiB.*bucket='my-bucket'"):
        await value(functional, job("lambda", step, (bytes(5_000_000),), **options))
    with pytest.raises(ResultError, match=r"a result of 5.7 MiB.*bucket='my-bucket'"):
        await value(functional, job("lambda", step, (os.urandom(3_000_000),), **options))


async def test_code_that_is_too_large_for_a_call_goes_by_the_bucket(
    functional: LambdaExecutor,
    options: dict[str, object],
    aws: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aws_function, "ZIPPED", 1000)
    named = {**options, "function_name": "bulky"}
    said = await refused(functional, **named)
    assert "Lambda takes up to" in said
    assert "name a bucket for it, bucket='my-bucket'" in said
    named["bucket"] = aws["bucket"]
    assert await value(functional, job("lambda", nothing, **named)) is None
    assert [key for key in objects(aws, aws["bucket"]) if "/code/" in key]


async def test_packages_are_in_the_function(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    def step() -> str:
        import iniconfig

        return str(iniconfig.__name__)

    asked = job("lambda", step, packages=["iniconfig>=2"], **options)
    assert await value(functional, asked) == "iniconfig"


# -- how calls end --------------------------------------------------------------------------------


async def test_an_exit_code_becomes_a_sentence_and_the_last_lines_are_kept(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    def step() -> None:
        print("before", flush=True)
        os._exit(3)

    told = Told()
    with pytest.raises(WorkerDied, match="Lambda function that ran step ended with exit code 3"):
        await value(functional, job("lambda", step, **options), told)
    assert told.text() == "before\n"


async def test_lambdas_own_time_limit_is_a_timeout(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    def step() -> None:
        time.sleep(60)

    with pytest.raises(TaskTimeout, match="within 6 s"):
        await value(functional, job("lambda", step, timeout=1, **options))


async def test_a_call_waits_while_lambda_is_busy(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    def step(x: int) -> int:
        time.sleep(0.3)
        return x

    options = {**options, "function_name": "narrow"}
    assert await value(functional, job("lambda", step, (9,), **options)) == 9
    api = client(aws, "lambda")
    api.put_function_concurrency(FunctionName="narrow", ReservedConcurrentExecutions=1)
    tolds = [Told() for _ in range(3)]
    found = await asyncio.gather(
        *(value(functional, job("lambda", step, (x,), **options), tolds[x]) for x in range(3))
    )
    assert found == [0, 1, 2]
    assert "Lambda is busy" in "".join(told.text("system") for told in tolds)


# -- whose function it is -------------------------------------------------------------------------


async def test_a_named_function_is_made_and_brought_up_to_date(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    def step() -> int:
        return 1

    named = {**options, "function_name": "mine"}
    api = client(aws, "lambda")
    assert await value(functional, job("lambda", step, **named)) == 1
    assert api.get_function_configuration(FunctionName="mine")["MemorySize"] == 512
    assert await value(functional, job("lambda", step, memory="1g", **named)) == 1
    assert api.get_function_configuration(FunctionName="mine")["MemorySize"] == 1024


async def test_kernels_that_change_a_named_function_at_once_take_turns(
    options: dict[str, object], aws: Mapping[str, str], tmp_path: Path
) -> None:
    named = {**options, "function_name": "contested"}
    async with opened(LambdaExecutor, tmp_path / "a") as one:
        await value(one, job("lambda", nothing, **named))
    kernels = [Functions(Services(), tmp_path) for _ in range(4)]
    wanted = [
        setup_of(job("lambda", nothing, memory=f"{n}g", trust=n == 2, **named))
        for n in (1, 2, 1, 2)
    ]
    tasks = zip(kernels, wanted, strict=True)
    await asyncio.gather(*[asyncio.to_thread(k.ensure, setup, None) for k, setup in tasks])
    found = client(aws, "lambda").get_function_configuration(FunctionName="contested")
    last = {setup.memory: setup for setup in wanted}[found["MemorySize"]]
    assert found["Description"] == last.configuration()["Description"]
    code = hashlib.sha256(archive(last, tmp_path)).digest()
    assert found["CodeSha256"] == base64.b64encode(code).decode()


async def test_a_function_has_the_layers_and_the_network_it_asks_for(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    ec2, api = client(aws, "ec2"), client(aws, "lambda")
    vpc = {
        "SubnetIds": [ec2.describe_subnets()["Subnets"][0]["SubnetId"]],
        "SecurityGroupIds": [ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]],
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("python/laid_down.py", "WORD = 'from the layer'")
    layer = api.publish_layer_version(LayerName="laid", Content={"ZipFile": packed.getvalue()})

    def step() -> str:
        import laid_down

        return str(laid_down.WORD)

    asked = {"function_name": "networked", "layers": [layer["LayerVersionArn"]], "vpc": vpc}
    assert await value(functional, job("lambda", step, **options, **asked)) == "from the layer"
    found = api.get_function_configuration(FunctionName="networked")
    assert [one["Arn"] for one in found["Layers"]] == asked["layers"]
    assert {key: found["VpcConfig"][key] for key in vpc} == vpc


async def test_a_function_that_was_removed_is_made_again(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    def step() -> int:
        return 1

    named = {**options, "function_name": "passing"}
    assert await value(functional, job("lambda", step, **named)) == 1
    client(aws, "lambda").delete_function(FunctionName="passing")
    assert await value(functional, job("lambda", step, **named)) == 1


async def test_somebody_elses_function_is_left_as_it_is(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): pass")
    client(aws, "lambda").create_function(
        FunctionName="theirs",
        Runtime="python3.11",
        Role=aws["role"],
        Handler="app.handler",
        Code={"ZipFile": body.getvalue()},
    )
    said = await refused(functional, **options, function_name="theirs")
    assert "'theirs' is there and was not made by twingraph" in said
    found = client(aws, "lambda").get_function_configuration(FunctionName="theirs")
    assert found["Handler"] == "app.handler"


# -- what is wrong with the request ---------------------------------------------------------------


def nothing() -> None: ...


async def refused(functional: LambdaExecutor, **options: object) -> str:
    with pytest.raises((ExecutorError, PortabilityError)) as caught:
        await value(functional, job("lambda", nothing, **options))
    return str(caught.value)


async def test_limits_are_told_before_anything_is_sent(functional: LambdaExecutor) -> None:
    said = await refused(functional, memory="64g", timeout="1h")
    assert "65,536 MiB of memory, and a function has 128 to 10,240: change memory=" in said
    assert "may run 15 minutes (900 s): set a shorter timeout=" in said
    setup = setup_of(job("lambda", nothing, packages=["big"]))
    check_size(setup, UNZIPPED)
    with pytest.raises(PortabilityError, match=r"\(big\) have 300 MiB.*room for 250 MiB"):
        check_size(setup, 300 * MIB)


async def test_missing_things_are_named_with_their_cure(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    assert "a role is needed: role=" in await refused(functional, memory="130m")
    said = await refused(functional, role="no-such-role", memory="131m")
    assert "there is no role 'no-such-role': create it, or name another with role=" in said
    said = await refused(functional, **options, bucket="twingraph-nowhere")
    assert "there is no bucket of that name" in said
    said = await refused(functional, **options, packages=["twingraph-no-such-package"])
    assert "cannot install twingraph-no-such-package" in said


async def test_nobody_at_the_address(
    functional: LambdaExecutor, options: dict[str, object]
) -> None:
    url = f"http://127.0.0.1:{base.free_port()}"
    with pytest.raises(Unreachable) as caught:
        await value(functional, job("lambda", nothing, endpoint_url=url, **options))
    assert url in str(caught.value)


async def test_no_credentials_and_no_region_say_how_to_get_some(
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    async with opened(LambdaExecutor, tmp_path_factory.mktemp("home")) as made:
        with pytest.raises(Unreachable, match=r"no region is set. Name one: region="):
            await value(made, job("lambda", nothing, **options))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        with pytest.raises(Unreachable, match=r"no usable credentials were found.*aws configure"):
            await value(made, job("lambda", nothing, region="eu-central-1", **options))


async def test_a_probe_tells_the_account(functional: LambdaExecutor) -> None:
    assert "account 123456789012" in await functional.probe()


# -- what AWS says, in sentences ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        ("AccessDeniedException", ExecutorError, "give them the permission lambda:Invoke"),
        ("ExpiredTokenException", Unreachable, "the credentials are not valid, or no longer"),
        ("UnrecognizedClientException", Unreachable, "aws sso login"),
        ("Special", ExecutorError, "cannot call it: do this"),
        ("Unheard", ExecutorError, "cannot call it: Unheard: because"),
    ],
)
async def test_each_refusal_has_its_sentence(code: str, kind: type[Exception], text: str) -> None:
    said = ClientError({"Error": {"Code": code, "Message": "because."}}, "Invoke")
    with (
        pytest.raises(kind) as caught,
        asking("lambda", "call it", Where("r"), "lambda", {"Special": "do this"}),
    ):
        raise said
    assert type(caught.value) is kind
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        (
            ("Runtime.ExitError", "Error: Runtime exited with error: signal: killed"),
            WorkerDied,
            "memory=",
        ),
        (("Runtime.OutOfMemory", ""), WorkerDied, "ran out of memory"),
        (
            ("Runtime.ExitError", "Runtime exited with error: signal: segmentation fault"),
            WorkerDied,
            "segmentation",
        ),
        (("Runtime.ImportModuleError", "no app"), ExecutorError, "cannot be loaded"),
        (("URLError", "timed out"), ExecutorError, "in a VPC it needs an endpoint for S3"),
        (("Odd", "what"), ExecutorError, "failed: Odd: what"),
    ],
)
async def test_each_accident_has_its_sentence(
    said: tuple[str, str], kind: type[Exception], text: str
) -> None:
    asked = job("lambda", nothing)
    error = accident(
        asked, setup_of(asked), dict(zip(("errorType", "errorMessage"), said, strict=True))
    )
    assert type(error) is kind
    assert text in str(error)


async def test_a_function_that_answers_garbage_is_a_sentence(
    functional: LambdaExecutor, options: dict[str, object], aws: Mapping[str, str]
) -> None:
    named = {**options, "function_name": "garbage"}
    assert await value(functional, job("lambda", nothing, **named)) is None
    answers = ({"body": "AAAA"}, {"body": ""}, "text", {"body": "=?"})
    code = f"left = iter({answers!r})\ndef handler(event, context): return next(left)"
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("twingraph_function.py", code)
    client(aws, "lambda").update_function_code(FunctionName="garbage", ZipFile=body.getvalue())
    for _ in answers:
        with pytest.raises(ExecutorError, match=r"answer of nothing|answer of ours|failed"):
            await value(functional, job("lambda", nothing, **named))
