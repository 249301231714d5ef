"""What platforms on AWS share: clients, errors as sentences, and S3 as the place for values."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore
from botocore import exceptions as trouble
from botocore.config import Config

from twingraph_nb.component import Component
from twingraph_nb.errors import ExecutorError, PortabilityError, Unreachable
from twingraph_nb.executors.base import Job
from twingraph_nb.executors.payloads import Held
from twingraph_nb.executors.travel import Hearing, environ_of
from twingraph_nb.remote import FAILED, LOG, RESULT, STAYS, TURNED
from twingraph_nb.remote_payloads import messages
from twingraph_nb.remote_post import letter
from twingraph_nb.source.bundle import Bundle
from twingraph_nb.wire import Buffer, Message, WireError

__all__ = [
    "Ear",
    "Services",
    "Where",
    "asking",
    "bucket_of",
    "component_letter",
    "job_letter",
    "refused",
    "where_of",
]

_CONNECTIONS = 64
_KEPT = 1 << 20  # characters
_INVALID = re.compile(
    "ExpiredToken|ExpiredTokenException|InvalidClientTokenId|UnrecognizedClientException|"
    "SignatureDoesNotMatch|InvalidAccessKeyId|InvalidSignatureException|AuthFailure|InvalidToken"
)
_FORBIDDEN = re.compile(
    "AccessDenied|AccessDeniedException|UnauthorizedOperation|AllAccessDisabled|403|Forbidden"
)
_UNHEARD = (
    trouble.EndpointConnectionError,
    trouble.ConnectTimeoutError,
    trouble.ReadTimeoutError,
    trouble.ConnectionClosedError,
    trouble.ProxyConnectionError,
    trouble.SSLError,
)
_NO_CREDENTIALS = (
    trouble.NoCredentialsError,
    trouble.PartialCredentialsError,
    trouble.CredentialRetrievalError,
    trouble.ProfileNotFound,
    trouble.UnauthorizedSSOTokenError,
    trouble.SSOTokenLoadError,
    trouble.TokenRetrievalError,
)
_SIGN_IN = (
    "Run `aws configure` or `aws sso login`, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY"
)


@dataclass(frozen=True)
class Where:
    """Which AWS: "" leaves a part to the environment and the user's profile."""

    region: str = ""
    endpoint_url: str = ""

    def __str__(self) -> str:
        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        url = self.endpoint_url or os.environ.get("AWS_ENDPOINT_URL", "")
        return " ".join(filter(None, [f"AWS, region {region or 'of the profile'}", url]))


def where_of(component: Component) -> Where:
    """Give where a component wants to run."""
    options = component.options
    return Where(str(options.get("region", "")), str(options.get("endpoint_url", "")))


def bucket_of(component: Component, default: str = "") -> str:
    """Give the bucket that a component names, "" for none: bucket=, or that of payloads=.

    Args:
        default: what payloads= is where the component does not say.
    Raises:
        PortabilityError: payloads= of the component is no bucket.
    """
    options = component.options
    if options.get("bucket"):
        return str(options["bucket"])
    asked = str(options.get("payloads") or "")
    if asked and not asked.startswith("s3://") and asked != "off":
        said = f"payloads={asked!r} is no bucket of S3, and AWS sees no other place: s3://my-bucket"
        raise PortabilityError(component.name, component.platform, [said])
    found = asked or default
    return found.removeprefix("s3://").strip("/") if found.startswith("s3://") else ""


class Services:
    """Clients of AWS services, one of each kind for all threads.

    Clients are safe to share between threads; making them is not.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[str, Where, float], Any] = {}
        self._making = threading.Lock()

    def client(self, service: str, where: Where, *, patience: float = 60.0) -> Any:
        """Give the client of a service.

        Args:
            patience: seconds for an answer. Above 60 the question is not put again when it
                fails, since it may have been heard.
        """
        key = (service, where, patience)
        with self._making:
            if key not in self._made:
                attempts = 5 if patience <= 60 else 1
                config = Config(
                    connect_timeout=10,
                    read_timeout=patience,
                    max_pool_connections=_CONNECTIONS,
                    retries={"mode": "standard", "total_max_attempts": attempts},
                    signature_version="s3v4" if service == "s3" else None,
                    tcp_keepalive=True,
                )
                session = boto3.session.Session(region_name=where.region or None)
                self._made[key] = session.client(
                    service, endpoint_url=where.endpoint_url or None, config=config
                )
            return self._made[key]

    def close(self) -> None:
        """Close all connections."""
        with self._making:
            for client in self._made.values():
                client.close()
            self._made.clear()

    def versions(self, platform: str) -> str:
        """Give the version of the client library, and which account answers.

        Raises:
            Unreachable: no account does.
        """
        where = Where()
        with asking(platform, "who is asking", where, "sts"):
            said = self.client("sts", where).get_caller_identity()
        return f"client boto3 {boto3.__version__}, account {said['Account']}"


@contextlib.contextmanager
def asking(
    platform: str,
    doing: str,
    where: Where,
    service: str,
    cures: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Turn what AWS refuses into a sentence.

    Args:
        doing: what was asked for. cures: what to say instead, by AWS's code of the error.
    Raises:
        Unreachable: no region, no credentials, or nobody answers.
        ExecutorError: AWS refuses it.
    """
    try:
        yield
    except trouble.NoRegionError as exc:
        cure = "Name one: region='eu-central-1' on the component, or AWS_DEFAULT_REGION"
        raise Unreachable(platform, "AWS", "no region is set", cure) from exc
    except _NO_CREDENTIALS as exc:
        why = f"no usable credentials were found ({str(exc).rstrip('.')})"
        raise Unreachable(platform, str(where), why, _SIGN_IN) from exc
    except _UNHEARD as exc:
        cure = "Check the network, and the component's options region= and endpoint_url="
        raise Unreachable(platform, str(where), str(exc).rstrip("."), cure) from exc
    except trouble.ClientError as exc:
        raise refused(platform, doing, where, service, exc, cures or {}) from exc
    except (trouble.BotoCoreError, ValueError) as exc:
        raise ExecutorError(f"platform {platform!r}: cannot {doing}: {exc}") from exc


def refused(
    platform: str,
    doing: str,
    where: Where,
    service: str,
    exc: botocore.exceptions.ClientError,
    cures: Mapping[str, str],
) -> ExecutorError:
    """Give the error for an answer of AWS that says no."""
    code = str(exc.response.get("Error", {}).get("Code", ""))
    said = str(exc.response.get("Error", {}).get("Message", "")).rstrip(".")
    if _INVALID.fullmatch(code):
        why = f"the credentials are not valid, or no longer ({code}: {said})"
        return Unreachable(platform, str(where), why, _SIGN_IN)
    if code in cures:
        return ExecutorError(f"platform {platform!r}: cannot {doing}: {cures[code]}")
    if _FORBIDDEN.fullmatch(code):
        action = f"{service}:{exc.operation_name}"
        return ExecutorError(
            f"platform {platform!r}: these credentials may not {doing} ({said or code}): "
            f"give them the permission {action}"
        )
    return ExecutorError(f"platform {platform!r}: cannot {doing}: {code}: {said}")


def component_letter(sent: Bundle) -> list[Buffer]:
    """Give a component as it is handed over."""
    return letter([(1, sent.frames)])


def job_letter(job: Job, held: Held) -> list[Buffer]:
    """Give a job as it is handed over, its secrets in it.

    Raises:
        PortabilityError: a secret it asks for is not there.
    """
    meta = (job.hash, job.name, job.attempt, "", environ_of(job), held.parts)
    return letter([(1, [pickle.dumps(meta, 5), *held.rest])])


class Ear:
    """Hears the letters of one job.

    last: kind and frames of its last message, None until that came. text: what it printed, as
    far as is kept to compare it with its log elsewhere. turned: it has said that it runs.
    """

    def __init__(self, job: Job, hearing: Hearing) -> None:
        self._job, self.hearing = job, hearing
        self.last: tuple[int, list[Any]] | None = None
        self.text = ""
        self.turned = False

    def hear(self, data: Any) -> None:
        """Take a letter.

        Raises:
            ExecutorError: it is malformed, which the far side's code may have brought about.
        """
        try:
            for message in messages(data):
                self._take(message)
        except (WireError, IndexError, TypeError, ValueError) as exc:
            said = f"the answer of {self._job.name} cannot be read: {exc}"
            raise ExecutorError(f"platform {self._job.component.platform!r}: {said}") from exc

    def _take(self, message: Message) -> None:
        kind, frames = message.kind, message.frames
        if kind in (RESULT, FAILED, STAYS):
            self.last = kind, frames[1:]
        elif kind == TURNED:
            self.turned = True
        else:
            if kind == LOG:
                text = bytes(frames[0][1:]).decode("utf-8", "replace")
                self.text = (self.text + text)[-_KEPT:]
            self.hearing.hear(kind, frames)
