"""Requests to Amazon Neptune, signed with the credentials of this machine (SigV4)."""

from __future__ import annotations

from twingraph_nb.errors import LineageError
from twingraph_nb.lineage.remote_address import Address

__all__ = ["signature"]

_SERVICE = "neptune-db"


def signature(address: Address) -> dict[str, str]:
    """Give the headers that sign the request which opens a connection, as of now.

    The credentials are those that boto3 would take; ones that expire are renewed here, so that
    each connection is opened with fresh ones. May ask a service of the machine: up to seconds.

    Raises:
        LineageError: botocore is not installed, or there are no credentials.
    """
    try:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as exc:
        raise LineageError(
            "signing for Amazon Neptune needs: pip install 'twingraph-nb[aws]'"
        ) from exc
    try:
        credentials = Session().get_credentials()
        frozen = None if credentials is None else credentials.get_frozen_credentials()
    except BotoCoreError as exc:
        raise LineageError(f"the AWS credentials cannot be read: {exc}") from exc
    if frozen is None:
        raise LineageError("there are no AWS credentials here: `aws configure`, or set AWS_PROFILE")
    # As https, for botocore knows the usual port of that, which the Host header leaves out.
    request = AWSRequest("GET", address.url.replace("wss://", "https://", 1))
    SigV4Auth(frozen, _SERVICE, address.region).add_auth(request)
    return dict(request.headers.items())
