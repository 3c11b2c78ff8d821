"""One class for each thing that can go wrong, with its code.

``code`` is what machines read: the ``code`` of a problem document and the ``reason`` label of a metric.
``str(error)`` is what people read: one sentence that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class AlsServeError(Exception):
    """Anything this program raises on purpose."""

    code: ClassVar[str] = "internal_error"


class SettingsError(AlsServeError):
    """A setting is unknown or its value is impossible; the program must not start."""

    code = "bad_setting"


# ---------------------------------------------------------------- a model that is not taken


class ModelRejectedError(AlsServeError):
    """A model was not taken into service; the last good one goes on serving."""

    code = "model_rejected"


class SourceMissingError(ModelRejectedError):
    """There is no file at the model path."""

    code = "file_missing"


class UnreadableSourceError(ModelRejectedError):
    """The file is there and cannot be read (permission, I/O error, not a regular file), or it is empty."""

    code = "file_unreadable"


class SourceChangedError(ModelRejectedError):
    """The file was changed while it was being read; it has to be read again."""

    code = "file_changed"


class UnknownFormatError(ModelRejectedError):
    """The content is none of the formats we read."""

    code = "unknown_format"


class CorruptFileError(ModelRejectedError):
    """The content has a known format and is damaged: cut short, trailing bytes, a lying header."""

    code = "file_corrupt"


class UnsafePickleError(ModelRejectedError):
    """The pickle names something that a model has no need of; nothing of it was executed."""

    code = "unsafe_pickle"


class MissingComponentsError(ModelRejectedError):
    """A required component is absent."""

    code = "missing_components"


class BadShapeError(ModelRejectedError):
    """Factors are not two-dimensional, are empty, or differ in their number of factors."""

    code = "bad_shape"


class BadDtypeError(ModelRejectedError):
    """An array has elements of a type that cannot be factors, ids or counts."""

    code = "bad_dtype"


class NotFiniteError(ModelRejectedError):
    """A factor is NaN or infinite, or a score would be."""

    code = "not_finite"


class BadIdsError(ModelRejectedError):
    """The id maps are no bijection onto the rows, or hold an id that cannot be served."""

    code = "bad_ids"


class BadSeenMatrixError(ModelRejectedError):
    """The matrix of what each user already had does not fit the factors or is inconsistent."""

    code = "bad_seen_matrix"


class ImportCrashedError(ModelRejectedError):
    """The importing child process died of a signal or ended without an answer."""

    code = "import_crashed"


class ImportTimeoutError(ModelRejectedError):
    """The importing child process did not finish in time and was killed."""

    code = "import_timeout"


class ImportMemoryError(ModelRejectedError):
    """The importing child process reached its memory limit."""

    code = "import_memory"


class ImportCpuError(ModelRejectedError):
    """The importing child process reached its CPU limit and was killed."""

    code = "import_cpu"


class StateDirectoryError(ModelRejectedError):
    """The state directory cannot be written or read (full, read-only, no permission, I/O error)."""

    code = "state_directory"


class SnapshotDamagedError(ModelRejectedError):
    """A snapshot directory's files do not agree with its manifest."""

    code = "snapshot_damaged"


class OutOfResourcesError(AlsServeError):
    """The system lacks something just now (descriptors, memory, a disk that answers): no verdict on any file."""

    code = "out_of_resources"


# ---------------------------------------------------------------- titles that are not taken


class BadTitlesError(AlsServeError):
    """The file of item titles is not there, or is no CSV of ids and titles; what was shown before stays."""

    code = "bad_titles"


# ---------------------------------------------------------------- a model that is not made


class TrainingError(AlsServeError):
    """The interactions cannot be read, or nothing can be learnt from them."""

    code = "bad_training_data"


class PathTakenError(TrainingError):
    """A file stands where a model was to be put without replacing anything."""

    code = "path_taken"


# ---------------------------------------------------------------- a model that does not come from S3, or go there


class S3Error(AlsServeError):
    """S3 was asked and the model did not come; what is served stays."""

    code = "s3_failed"


class S3CredentialsError(S3Error):
    """There are no credentials, or S3 does not accept them (expired, unknown, a wrong secret)."""

    code = "credentials"


class S3DeniedError(S3Error):
    """The credentials are good, and what was asked is not allowed to them."""

    code = "access_denied"


class S3KeyDeniedError(S3Error):
    """The key that encrypts the object may not be used, or is disabled."""

    code = "kms_denied"


class S3NotFoundError(S3Error):
    """There is no such bucket, object or version."""

    code = "not_found"


class S3ChangedError(S3Error):
    """What was to be read, or replaced, is no longer what it was a moment ago."""

    code = "changed"


class S3UnavailableError(S3Error):
    """S3 answers that it cannot answer now (5xx, SlowDown), or with something that is none of its answers."""

    code = "unavailable"


class S3UnreachableError(S3Error):
    """Nobody answers: no such name, no connection, no trusted certificate, or silence."""

    code = "unreachable"


class S3TimeoutError(S3Error):
    """The deadline over a whole answer or download has passed."""

    code = "timeout"


class BadPointerError(S3Error):
    """latest.json, or the model to promote, is not what ``als-serve publish`` put there."""

    code = "bad_pointer"


class DownloadCutError(S3Error):
    """A download ended before its end."""

    code = "cut_short"


class DownloadCorruptError(S3Error):
    """What was downloaded is not what was published: another length or checksum."""

    code = "checksum_mismatch"


class PublishError(S3Error):
    """A model was not published, and nothing points to it."""

    code = "not_published"


class ModelPathError(S3Error):
    """A model cannot be written beside the model path (full, read-only, no permission)."""

    code = "model_path"


# ---------------------------------------------------------------- a request that is not answered


class RequestError(AlsServeError):
    """A request that cannot be answered as asked; ``str(error)`` goes to the client."""


class BadParameterError(RequestError):
    """A query parameter, path or header is malformed."""

    code = "bad_parameter"


class BadBodyError(RequestError):
    """The body is not JSON."""

    code = "bad_body"


class InvalidBodyError(RequestError):
    """The body is JSON, of another shape or with values outside what is allowed."""

    code = "invalid_body"


class BodyTooLargeError(RequestError):
    """The body is larger than is accepted."""

    code = "body_too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body is declared as something other than JSON."""

    code = "unsupported_media_type"


class EncodedBodyError(RequestError):
    """The body is declared as compressed, or encoded in another way."""

    code = "encoded_body"


class RequestTimeoutError(RequestError):
    """The body did not arrive in time."""

    code = "request_timeout"


class UnknownUserError(RequestError):
    """The user is not in the served model."""

    code = "unknown_user"


class UnknownItemError(RequestError):
    """The item is not in the served model."""

    code = "unknown_item"


class NoSeenItemsError(RequestError):
    """The served model does not carry what users already had (nor popularity)."""

    code = "no_seen_items"


class NotReadyError(RequestError):
    """No model is served yet, or the server is about to stop."""

    code = "not_ready"


class LimitedModelError(RequestError):
    """The served model has popularity alone, and the question needs factors."""

    code = "limited_model"


class OverloadedError(RequestError):
    """Too many long queries are waiting already."""

    code = "overloaded"
