"""The errors: one class and code for each thing that can go wrong.

``code`` is for machines: the ``code`` of a problem document and the ``reason`` label of a metric. ``str(error)`` is for
people: one sentence that says what is wrong, where, and what to do. It is one line of printable characters, whatever
files and clients have sent.
"""

from __future__ import annotations

from typing import ClassVar

from service.untrusted import sentence, with_quotations, without_quotations


class AlsServeError(Exception):
    """The base class of all errors that als-serve raises on purpose."""

    code: ClassVar[str] = "internal_error"

    def __str__(self) -> str:
        return with_quotations(super().__str__())

    @property
    def public(self) -> str:
        """The sentence for clients, without what it quotes from files."""
        return without_quotations(super().__str__())

    @property
    def marked(self) -> str:
        """The sentence for another process, which makes the same error of it."""
        return sentence(super().__str__())


class SettingsError(AlsServeError):
    """A setting is unknown or its value is invalid; the program must not start."""

    code = "bad_setting"


class UnhealthyError(AlsServeError):
    """The server does not answer its health check."""

    code = "unhealthy"


# ---------------------------------------------------------------- models


class ModelRejectedError(AlsServeError):
    """A model was rejected; the last good one is still served."""

    code = "model_rejected"


class SourceMissingError(ModelRejectedError):
    """There is no file at the model path."""

    code = "file_missing"


class UnreadableSourceError(ModelRejectedError):
    """The file cannot be read (permissions, I/O error, not a regular file) or is empty."""

    code = "file_unreadable"


class SourceTooLargeError(ModelRejectedError):
    """The file is larger than a model may be."""

    code = "file_too_large"


class SourceChangedError(ModelRejectedError):
    """The file changed while it was being read and must be read again."""

    code = "file_changed"


class UnknownFormatError(ModelRejectedError):
    """The content is not in a known format."""

    code = "unknown_format"


class CorruptFileError(ModelRejectedError):
    """The content has a known format but is damaged: cut short, trailing bytes, a false header."""

    code = "file_corrupt"


class UnsafePickleError(ModelRejectedError):
    """The pickle refers to something that a model does not need; nothing was executed."""

    code = "unsafe_pickle"


class MissingComponentsError(ModelRejectedError):
    """A required component is missing."""

    code = "missing_components"


class BadShapeError(ModelRejectedError):
    """A factor matrix is not two-dimensional or is empty, or the two have different numbers of factors."""

    code = "bad_shape"


class BadDtypeError(ModelRejectedError):
    """An array's element type cannot be used for factors, ids or counts."""

    code = "bad_dtype"


class NotFiniteError(ModelRejectedError):
    """A factor is NaN or infinite, or a score could be."""

    code = "not_finite"


class BadIdsError(ModelRejectedError):
    """The id maps do not map one id to each row, or have an id that cannot be served."""

    code = "bad_ids"


class BadSeenMatrixError(ModelRejectedError):
    """The seen matrix does not fit the factors or is inconsistent."""

    code = "bad_seen_matrix"


class ImportCrashedError(ModelRejectedError):
    """The import process was killed by a signal or ended without an answer."""

    code = "import_crashed"


class ImportTimeoutError(ModelRejectedError):
    """The import process did not finish in time and was killed."""

    code = "import_timeout"


class ImportMemoryError(ModelRejectedError):
    """The import process reached its memory limit."""

    code = "import_memory"


class ImportCpuError(ModelRejectedError):
    """The import process reached its CPU limit and was killed."""

    code = "import_cpu"


class StateDirectoryError(ModelRejectedError):
    """The state directory cannot be written or read (full, read-only, no permission, I/O error)."""

    code = "state_directory"


class SnapshotDamagedError(ModelRejectedError):
    """A snapshot's files do not match its manifest."""

    code = "snapshot_damaged"


class GateError(ModelRejectedError):
    """A gate found the model too different from the served one; a person can accept it."""

    code = "gate"


class CountsGateError(GateError):
    """The model has far fewer users or items than the served one."""

    code = "gate_counts"


class FactorsGateError(GateError):
    """Most users, or most items, have the same factors, such as zeros; or there are no factors."""

    code = "gate_factors"


class ScoresGateError(GateError):
    """The scores are in another range than those of the served model."""

    code = "gate_scores"


class OverlapGateError(GateError):
    """The recommendations have little in common with those of the served model."""

    code = "gate_overlap"


class GoldenGateError(GateError):
    """The model does not answer the golden requests as expected, or their file cannot be read."""

    code = "gate_golden"


class QuarantinedError(ModelRejectedError):
    """The model's answers were bad when it was served; a person can accept it."""

    code = "quarantined"


class PinnedError(ModelRejectedError):
    """An administrator has pinned another version, so no new model is taken."""

    code = "pinned"


class OutOfResourcesError(AlsServeError):
    """The system is out of descriptors or memory, or a disk fails; this says nothing about the file."""

    code = "out_of_resources"


class BadGoldenFileError(AlsServeError):
    """The file of golden requests is missing or has a bad line."""

    code = "bad_golden_file"


class UnknownVersionError(AlsServeError):
    """No model of this version is kept, or several are, or it was never served."""

    code = "unknown_version"


class AdministrationError(AlsServeError):
    """A server does not carry out what als-serve admin asks for, or does not answer."""

    code = "not_administered"


# ---------------------------------------------------------------- lists of ids


class BadListError(AlsServeError):
    """The file of unavailable items or hidden users is missing or is not a list of ids; the last good one counts."""

    code = "bad_list"


# ---------------------------------------------------------------- catalogs


class BadCatalogError(AlsServeError):
    """The file of items is missing or cannot be read; the current catalog stays."""

    code = "bad_catalog"


# ---------------------------------------------------------------- tokens


class BadTokensError(AlsServeError):
    """The file of tokens is missing or has a bad line; a running server keeps the current tokens."""

    code = "bad_tokens"


# ---------------------------------------------------------------- training


class OutputError(AlsServeError):
    """Results cannot be written where they should be."""

    code = "output_unwritable"


class ConversionError(AlsServeError):
    """A directory is not a complete ALS model of Spark, or cannot be converted."""

    code = "not_converted"


class TrainingError(AlsServeError):
    """The interactions cannot be read, or no model can be trained on them."""

    code = "bad_training_data"


class PathTakenError(TrainingError):
    """A file already exists where a new model was to be written."""

    code = "path_taken"


# ---------------------------------------------------------------- S3


class S3Error(AlsServeError):
    """A model could not be downloaded or published; the served model stays."""

    code = "s3_failed"


class S3CredentialsError(S3Error):
    """There are no credentials, or S3 rejects them (expired, unknown, wrong secret)."""

    code = "credentials"


class S3DeniedError(S3Error):
    """The credentials are valid but do not permit the request."""

    code = "access_denied"


class S3ConfigurationError(S3Error):
    """A setting keeps S3 from being asked: the region, the endpoint, the URI, or the AWS configuration file."""

    code = "configuration"


class S3KeyDeniedError(S3Error):
    """The key that encrypts the object is disabled or its use is not permitted."""

    code = "kms_denied"


class S3NotFoundError(S3Error):
    """The bucket, object or version does not exist."""

    code = "not_found"


class S3ArchivedError(S3Error):
    """The object is in an archive (Glacier) and has to be restored first."""

    code = "archived"


class S3UnsupportedError(S3Error):
    """The store does not support what the request needs."""

    code = "unsupported"


class S3ChangedError(S3Error):
    """The object was changed by someone else in the meantime."""

    code = "changed"


class S3UnavailableError(S3Error):
    """S3 is unavailable (5xx, SlowDown), or the response is not from S3."""

    code = "unavailable"


class S3UnreachableError(S3Error):
    """S3 cannot be reached: no such host, no connection, no trusted certificate, or no response."""

    code = "unreachable"


class S3TimeoutError(S3Error):
    """A response or download did not complete before its deadline."""

    code = "timeout"


class BadPointerError(S3Error):
    """latest.json, or the model to promote, was not published by ``als-serve publish``."""

    code = "bad_pointer"


class DownloadCutError(S3Error):
    """A download was cut short."""

    code = "cut_short"


class DownloadTooLargeError(S3Error):
    """The model in S3 is larger than a model may be; it was not downloaded."""

    code = "too_large"


class DownloadCorruptError(S3Error):
    """The downloaded model's length or checksum is not that of the published one."""

    code = "checksum_mismatch"


class PublishError(S3Error):
    """A model was not published; no pointer refers to it."""

    code = "not_published"


class ModelPathError(S3Error):
    """A model cannot be written next to the model path (full, read-only, no permission)."""

    code = "model_path"


# ---------------------------------------------------------------- requests


class RequestError(AlsServeError):
    """A request that cannot be fulfilled; ``str(error)`` goes to the client."""


class BadParameterError(RequestError):
    """A query parameter, path or header is malformed."""

    code = "bad_parameter"


class BadFilterError(RequestError):
    """The filter or max_per is not understood, or does not fit the catalog's attributes."""

    code = "bad_filter"


class MisdirectedError(RequestError):
    """The Host header names a host that is not allowed."""

    code = "misdirected"


class BadBodyError(RequestError):
    """The body is not JSON."""

    code = "bad_body"


class InvalidBodyError(RequestError):
    """The body is JSON, but its shape or a value is not allowed."""

    code = "invalid_body"


class BodyTooLargeError(RequestError):
    """The body is too large."""

    code = "body_too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body's Content-Type is not JSON."""

    code = "unsupported_media_type"


class EncodedBodyError(RequestError):
    """The body is compressed or otherwise encoded."""

    code = "encoded_body"


class RequestTimeoutError(RequestError):
    """The body did not arrive in time."""

    code = "request_timeout"


class NoTokenError(RequestError):
    """The request needs a token and has none."""

    code = "no_token"


class InvalidTokenError(RequestError):
    """The token is unknown."""

    code = "invalid_token"


class InsufficientScopeError(RequestError):
    """The token does not have the scope that the request needs."""

    code = "insufficient_scope"


class UnknownUserError(RequestError):
    """The user is not in the served model."""

    code = "unknown_user"


class UnknownItemError(RequestError):
    """The item is not in the served model."""

    code = "unknown_item"


class VersionGoneError(RequestError):
    """The named version is not kept any more, was never served, or is quarantined."""

    code = "version_gone"


class NoSeenItemsError(RequestError):
    """The served model does not include seen items (nor popularity)."""

    code = "no_seen_items"


class NotReadyError(RequestError):
    """No model is served yet, or the server is stopping."""

    code = "not_ready"


class LimitedModelError(RequestError):
    """The served model has only popularity, and the request needs factors."""

    code = "limited_model"


class OverloadedError(RequestError):
    """A long query would wait too long for a thread, or has."""

    code = "overloaded"
