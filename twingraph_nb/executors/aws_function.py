"""Lambda functions: made, brought up to date and called. What is here blocks."""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from twingraph_nb.errors import ExecutorError, PortabilityError, TaskTimeout, WorkerDied
from twingraph_nb.executors.aws_bucket import Bucket
from twingraph_nb.executors.aws_clients import Services, asking
from twingraph_nb.executors.aws_package import LONGEST, MIB, ZIPPED, FunctionSetup, archive
from twingraph_nb.executors.base import Job

__all__ = ["Busy", "Functions", "Gone", "accident", "printed"]

_OURS = "twingraph "
"""How the description of a function of ours begins; its digest follows."""
_BUSY = frozenset(
    [
        "TooManyRequestsException",
        "EC2ThrottledException",
        "ENILimitReachedException",
        "ResourceConflictException",
        "ResourceNotReadyException",
        "ServiceException",
        "Throttling",
        "ThrottlingException",
    ]
)
_SYSTEM = re.compile(r"(START|END|REPORT|INIT_START|INIT_REPORT) ")


_ANOTHERS = ("ResourceConflictException", "PreconditionFailedException")
_TURNS = 20  # to change a function that others change


class _Taken(Exception):
    """Somebody else changes the function."""


class Busy(Exception):
    """Lambda wants to be asked later."""


class Gone(ExecutorError):
    """The function was there and is not any more."""


class Functions:
    """The functions of one session."""

    def __init__(self, services: Services, folder: Path) -> None:
        self._services, self._folder = services, folder

    def ensure(self, setup: FunctionSetup, bucket: Bucket | None) -> None:
        """See to it that the function is there and is what the setup says.

        Raises:
            ExecutorError: AWS refuses it, or a function of that name is somebody else's.
            PortabilityError: it is larger than Lambda takes.
        """
        for _ in range(_TURNS):
            done = self._brought_about(setup, bucket)
            self._wait(setup, "function_active_v2")
            self._wait(setup, "function_updated_v2")
            if done:
                return
        raise ExecutorError(
            f"platform 'lambda': others change the function {setup.name!r} all the time: give "
            "each configuration a function_name= of its own"
        )

    def _brought_about(self, setup: FunctionSetup, bucket: Bucket | None) -> bool:
        """Make it or bring it up to date; False if somebody else was quicker with a change."""
        with self._asking(setup, f"look up the function {setup.name!r}"):
            found = self._found(setup)
        try:
            if found is None:
                self._create(setup, bucket)
            elif found.get("Description") != f"{_OURS}{setup.digest}":
                self._update(setup, found, bucket)
        except _Taken:
            return False
        return True

    def invoke(self, setup: FunctionSetup, event: dict[str, object]) -> dict[str, Any]:
        """Call the function and wait for its answer.

        Returns:
            "FunctionError" (if there was one), "LogResult", and "Payload" as read from JSON.
        Raises:
            Busy: too much is going on.
            Gone: somebody has removed it.
            ExecutorError: AWS refuses it.
        """
        client = self._services.client("lambda", setup.where, patience=LONGEST + 60.0)
        with self._asking(setup, f"call the function {setup.name!r}"):
            try:
                answer = client.invoke(
                    FunctionName=setup.name, LogType="Tail", Payload=json.dumps(event).encode()
                )
                body = answer.pop("Payload").read()
            except ClientError as exc:
                code = str(exc.response.get("Error", {}).get("Code"))
                if code in _BUSY:
                    raise Busy(code) from exc
                if code == "ResourceNotFoundException":
                    said = f"the function {setup.name!r} is not there any more"
                    raise Gone(f"platform 'lambda': {said}") from exc
                raise
        try:
            return {**answer, "Payload": json.loads(body)}
        except ValueError as exc:
            said = f"the function {setup.name!r} gave {body[:100]!r}, which is no answer of ours"
            raise ExecutorError(f"platform 'lambda': {said}") from exc

    def _found(self, setup: FunctionSetup) -> dict[str, Any] | None:
        client = self._client(setup)
        try:
            found: dict[str, Any] = client.get_function_configuration(FunctionName=setup.name)
            return found
        except client.exceptions.ResourceNotFoundException:
            return None

    def _create(self, setup: FunctionSetup, bucket: Bucket | None) -> None:
        if not setup.role:
            raise ExecutorError(
                f"platform 'lambda': there is no function {setup.name!r} yet, and to make it a "
                "role is needed: role='arn:aws:iam::...:role/...' on the component, a role that "
                "Lambda may assume and that has the policy AWSLambdaBasicExecutionRole"
            )
        code = self._code(setup, bucket)
        client = self._client(setup)
        wanted = {**setup.configuration(), "Role": self._role(setup)}
        with self._changing(setup, f"make the function {setup.name!r}"):
            client.create_function(Code=code, **wanted)

    def _update(self, setup: FunctionSetup, found: dict[str, Any], bucket: Bucket | None) -> None:
        if not str(found.get("Description", "")).startswith(_OURS):
            raise ExecutorError(
                f"platform 'lambda': the function {setup.name!r} is there and was not made by "
                "twingraph, so it is left as it is: choose another function_name="
            )
        code = self._code(setup, bucket)
        client = self._client(setup)
        wanted = setup.configuration()
        wanted.pop("Role")
        if setup.role:
            wanted["Role"] = self._role(setup)
        doing = f"bring the function {setup.name!r} up to date"
        with self._changing(setup, doing):
            made = client.update_function_code(FunctionName=setup.name, **_revision(found), **code)
        self._wait(setup, "function_updated_v2")
        with self._changing(setup, doing):
            now = client.get_function_configuration(FunctionName=setup.name)
            if now["CodeSha256"] != made["CodeSha256"]:
                raise _Taken
            client.update_function_configuration(**_revision(now), **wanted)

    @contextlib.contextmanager
    def _changing(self, setup: FunctionSetup, doing: str) -> Iterator[None]:
        """Ask AWS for a change; `_Taken` if somebody else is at it, or was since we have looked."""
        with self._asking(setup, doing):
            try:
                yield
            except ClientError as exc:
                if exc.response.get("Error", {}).get("Code") in _ANOTHERS:
                    raise _Taken from exc
                raise

    def _code(self, setup: FunctionSetup, bucket: Bucket | None) -> dict[str, Any]:
        made = archive(setup, self._folder)
        if len(made) <= ZIPPED:
            return {"ZipFile": made}
        if bucket is None:
            raise PortabilityError(
                setup.name,
                "lambda",
                [
                    f"its archive has {len(made) / MIB:,.0f} MiB, and Lambda takes up to "
                    f"{ZIPPED // MIB} MiB directly: name a bucket for it, bucket='my-bucket'"
                ],
            )
        key = f"code/{setup.digest}"
        bucket.put(key, [made])
        return {"S3Bucket": bucket.name, "S3Key": bucket.root + key}

    def _role(self, setup: FunctionSetup) -> str:
        """The ARN of a role that may be given by its name."""
        if setup.role.startswith("arn:"):
            return setup.role
        cure = f"there is no role {setup.role!r}: create it, or name another with role="
        cures = {"NoSuchEntity": cure, "NoSuchEntityException": cure}
        with asking("lambda", f"look up the role {setup.role!r}", setup.where, "iam", cures):
            found = self._services.client("iam", setup.where).get_role(RoleName=setup.role)
            return str(found["Role"]["Arn"])

    def _wait(self, setup: FunctionSetup, waiter: str) -> None:
        with self._asking(setup, f"wait for the function {setup.name!r}"):
            try:
                self._client(setup).get_waiter(waiter).wait(FunctionName=setup.name)
            except WaiterError as exc:
                said = exc.last_response.get("Configuration", exc.last_response)
                why = said.get("StateReason") or said.get("LastUpdateStatusReason") or str(exc)
                text = f"platform 'lambda': the function {setup.name!r} does not get ready: {why}"
                raise ExecutorError(text) from exc

    def _client(self, setup: FunctionSetup) -> Any:
        return self._services.client("lambda", setup.where)

    def _asking(self, setup: FunctionSetup, doing: str) -> Any:
        cures = {
            "CodeStorageExceededException": "the account has no room for more functions: delete "
            "those you do not need (ours are called twingraph-...)",
            "RequestEntityTooLargeException": "the inputs are too large: bucket= names a bucket "
            "for them",
        }
        return asking("lambda", doing, setup.where, "lambda", cures)


def _revision(found: dict[str, Any]) -> dict[str, Any]:
    """What has a change refused if there was another since; not every emulator has it."""
    return {"RevisionId": found["RevisionId"]} if "RevisionId" in found else {}


def printed(answer: dict[str, Any]) -> str:
    """Give what the function printed last, without what Lambda itself says."""
    text = base64.b64decode(answer.get("LogResult") or "").decode("utf-8", "replace")
    return "".join(x for x in text.splitlines(keepends=True) if not _SYSTEM.match(x))


def accident(job: Job, setup: FunctionSetup, said: dict[str, Any]) -> BaseException:
    """Give the error for a call that ended without an answer of ours.

    Args:
        said: "errorType" and "errorMessage" as Lambda has them.
    """
    kind, text = str(said.get("errorType", "")), str(said.get("errorMessage", ""))
    late = re.search(r"Task timed out after ([\d.]+) seconds", text)
    if late:
        return TaskTimeout(job.name, float(late[1]))
    if "signal: killed" in text or "OutOfMemory" in kind:
        cause = (
            f"was killed, most likely because it ran out of memory: it has {setup.memory} MiB; "
            "ask for more with memory="
        )
        return WorkerDied(job.name, cause, "Lambda function")
    status = re.search(r"exit status (\d+)", text)
    if status:
        return WorkerDied(job.name, f"ended with exit code {status[1]}", "Lambda function")
    if "signal" in text:
        cause = f"was killed by a signal ({text[text.index('signal') :]})"
        return WorkerDied(job.name, cause, "Lambda function")
    if kind in ("URLError", "HTTPError", "TimeoutError"):
        return ExecutorError(
            f"platform 'lambda': the function {setup.name!r} cannot reach the bucket "
            f"{setup.bucket!r} ({text}): in a VPC it needs an endpoint for S3"
        )
    for word, why in _UNUSABLE.items():
        if word in kind:
            return ExecutorError(f"platform 'lambda': the function {setup.name!r} {why}: {text}")
    return ExecutorError(f"platform 'lambda': the function {setup.name!r} failed: {kind}: {text}")


_UNUSABLE: dict[str, str] = {
    "ImportModuleError": "cannot be loaded; was it changed by hand? Choose another function_name=",
    "HandlerNotFound": "is not one of ours; choose another function_name=",
    "UserCodeSyntaxError": "cannot be loaded; its runtime= must be python3.9 or later",
}
