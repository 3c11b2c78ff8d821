"""The error answers of S3, STS and other stores: a table of their codes, each with our error and one sentence."""

from __future__ import annotations

from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from service.errors import (
    PublishError,
    S3ArchivedError,
    S3ChangedError,
    S3ConfigurationError,
    S3CredentialsError,
    S3DeniedError,
    S3Error,
    S3KeyDeniedError,
    S3NotFoundError,
    S3TimeoutError,
    S3UnavailableError,
    S3UnsupportedError,
)
from service.s3.location import Location, is_model
from service.s3.quoting import quoted


class _Kind(NamedTuple):
    """An error and its sentence, in which {place}, {bucket} and {code} are filled in."""

    error: type[S3Error]
    sentence: str


_RENEW = _Kind(S3CredentialsError, "S3 rejected the credentials for {place} ({code}); renew them.")
_CLOCK = _Kind(S3CredentialsError, "S3 rejected the time of a request for {place} ({code}); set this machine's clock.")
_DENIED = _Kind(
    S3DeniedError,
    "S3 denied access to {place} ({code}); grant it to this role. "
    "Without s3:ListBucket, S3 also denies access to missing objects; "
    "if the requester pays, set ALS_S3_REQUEST_PAYER=requester.",
)
_DISABLED = _Kind(
    S3DeniedError,
    "The AWS account of {place}, or this one, is disabled or not signed up for S3 ({code}); ask its owner.",
)
_KEY = _Kind(
    S3KeyDeniedError,
    "The key that encrypts {place} cannot be used ({code}); allow kms:Decrypt, and kms:GenerateDataKey for publishers.",
)
_PAYER = _Kind(
    S3DeniedError,
    "Requests for {place} cost the requester ({code}); set ALS_S3_REQUEST_PAYER=requester to accept that.",
)
_ARCHIVED = _Kind(
    S3ArchivedError, "{place} is archived ({code}); restore it, or publish a model in another storage class."
)
_REGION = _Kind(
    S3ConfigurationError,
    "The bucket {bucket} is in another region ({code}){region}; set AWS_REGION, or check AWS_ENDPOINT_URL.",
)
_BUCKET = _Kind(
    S3NotFoundError, "There is no bucket {bucket} ({code}); check the name in {place} and AWS_ENDPOINT_URL."
)
_MARKER = _Kind(
    S3NotFoundError,
    "The version of {place} was deleted, or this store does not support the request ({code}); publish a model.",
)
_CHANGED = _Kind(S3ChangedError, "{place} was changed by someone else in the meantime ({code}); try again.")
_UNSUPPORTED = _Kind(
    S3UnsupportedError,
    "The store of {place} does not support a conditional write, a checksum or an encryption of the request ({code}); "
    "upgrade it, or use another one.",
)
_SLOW = _Kind(S3TimeoutError, "S3 waited too long for a request for {place} ({code}); check the network.")
_BUSY = _Kind(S3UnavailableError, "S3 is unavailable for {place} ({status} {code}); try again.")
_FULL = _Kind(PublishError, "The store has no room for {place} ({code}); free space or raise its quota.")
_DAMAGED = _Kind(PublishError, "What arrived for {place} is not what was sent ({code}); try again.")
_REFUSED = _Kind(S3Error, "S3 refused the request for {place} ({status} {code}); check the region and the version.")
_NAME = _Kind(S3ConfigurationError, "S3 does not accept the URI {place} ({code}); check ALS_S3_URI.")
_FOREIGN = _Kind(
    S3UnavailableError,
    "The server that answered for {place} is not S3 ({status}, {type}); check AWS_ENDPOINT_URL and the proxy.",
)
_GATEWAY = _Kind(
    S3UnavailableError,
    "A server on the way to {place} failed ({status}, {type}); try again, and check AWS_ENDPOINT_URL and the proxy.",
)
_MISSING = _Kind(S3NotFoundError, "{place} does not exist ({code}).{remedy}")

#: S3's codes, and those of the stores that imitate it. A code decides before the status.
_CODES: dict[str, _Kind] = {
    code: kind
    for kind, codes in {
        _RENEW: "ExpiredToken ExpiredTokenException InvalidAccessKeyId InvalidClientTokenId InvalidToken "
        "SignatureDoesNotMatch TokenRefreshRequired UnrecognizedClientException InvalidSecurity MissingSecurityHeader "
        "MissingAuthenticationToken AuthFailure CredentialsNotSupported",
        _CLOCK: "RequestTimeTooSkewed RequestExpired",
        _DENIED: "AccessDenied AccessDeniedException UnauthorizedAccess Forbidden",
        _DISABLED: "AllAccessDisabled AccountProblem NotSignedUp InvalidPayer UserSuspended OptInRequired",
        _PAYER: "RequesterPays MissingRequestPayer",
        _ARCHIVED: "InvalidObjectState ObjectNotInActiveTierError RestoreAlreadyInProgress",
        _REGION: "PermanentRedirect TemporaryRedirect Redirect AuthorizationHeaderMalformed IncorrectEndpoint "
        "IllegalLocationConstraintException 301 302 307 308",
        _BUCKET: "NoSuchBucket",
        _MISSING: "NoSuchKey NoSuchVersion NotFound NoSuchUpload NoSuchAccessPoint",
        _MARKER: "MethodNotAllowed",
        _CHANGED: "PreconditionFailed ConditionalRequestConflict OperationAborted",
        _UNSUPPORTED: "NotImplemented",
        _SLOW: "RequestTimeout RequestTimeoutException",
        _BUSY: "SlowDown ServiceUnavailable InternalError Busy Throttling ThrottlingException ThrottledException "
        "RequestLimitExceeded RequestThrottled TooManyRequests TooManyRequestsException BandwidthLimitExceeded "
        "ProvisionedThroughputExceededException XMinioServerNotInitialized SlowDownRead SlowDownWrite",
        _FULL: "EntityTooLarge QuotaExceeded InsufficientStorage XMinioStorageFull",
        _DAMAGED: "BadDigest InvalidDigest XAmzContentSHA256Mismatch XAmzContentChecksumMismatch IncompleteBody",
        _NAME: "InvalidBucketName InvalidURI KeyTooLongError InvalidObjectName",
    }.items()
    for code in codes.split()
}
_STATUSES = {
    403: _DENIED, 404: _MISSING, 405: _MARKER, 408: _SLOW, 409: _CHANGED, 412: _CHANGED, 429: _BUSY, 501: _UNSUPPORTED,
    507: _FULL,
}  # fmt: skip


def code_of(error: ClientError) -> str:
    """Return S3's error code, or the status if the response has no body (304, HEAD)."""
    return str(_error(error).get("Code") or "")


def answered(place: Location, error: ClientError) -> S3Error:
    """Return the error for a failed response, by its code, else by its status."""
    kind, status = _kind(error), _status(error)
    facts = {
        "place": place,
        "bucket": quoted(place.bucket),
        "code": quoted(code_of(error), 64) or status,
        "status": status,
        "type": quoted(_type(error), 40),
        "region": f", {quoted(region, 40)}" if (region := _region(error)) else "",
        "remedy": _remedy(place),
    }
    return kind.error(kind.sentence.format(**facts))


def _kind(error: ClientError) -> _Kind:
    code, status, message = code_of(error), _status(error), str(_error(error).get("Message") or "")
    # S3 has no codes for these two: only its message names the permission or the payer.
    if code.startswith("KMS") or "kms:" in message:
        return _KEY
    if "requester pays" in message.lower() or "x-amz-request-payer" in message:
        return _PAYER
    if found := _CODES.get(code):
        return found
    if code in ("", str(status)) and not _is_xml(error):
        return _FOREIGN if status < 500 else _GATEWAY
    return _STATUSES.get(status) or (_BUSY if status >= 500 else _REFUSED)


def _error(error: ClientError) -> dict[str, Any]:
    found: Any = error.response.get("Error")
    return found if isinstance(found, dict) else {}


def _metadata(error: ClientError) -> dict[str, Any]:
    found: Any = error.response.get("ResponseMetadata")
    return found if isinstance(found, dict) else {}


def _status(error: ClientError) -> int:
    return int(_metadata(error).get("HTTPStatusCode") or 0)


def _headers(error: ClientError) -> dict[str, str]:
    found: dict[str, str] = _metadata(error).get("HTTPHeaders") or {}
    return found


def _type(error: ClientError) -> str:
    return _headers(error).get("content-type", "")


def _region(error: ClientError) -> str:
    return str(_error(error).get("Region") or _headers(error).get("x-amz-bucket-region") or "")


def _is_xml(error: ClientError) -> bool:
    """Return whether the body is XML, as S3's, or there is none, as after HEAD."""
    return not _type(error) or "xml" in _type(error).partition(";")[0].replace("xhtml", "html")


def _remedy(place: Location) -> str:
    if place.is_prefix:
        return ""
    if is_model(place.key.rpartition("/")[2]):
        return f" als-serve versions {place.parent} lists the models there."
    return f" If it is a prefix, write {place}/ with a trailing slash."
