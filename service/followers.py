"""The wiring of what follows S3: models, candidates, and files of items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import SettingsError
from service.live.models import Live
from service.observe.metrics import Metrics
from service.s3.location import parse_location
from service.settings import Settings

if TYPE_CHECKING:
    from service.live.s3_follower import Followed, S3Follower

# Followers are imported in functions, because botocore costs time and memory that other servers do not need.


def follow_models(settings: Settings, metrics: Metrics) -> S3Follower | None:
    """Return what downloads models to the model path, if they come from S3. Raises SettingsError."""
    if settings.s3_uri is None:
        return None
    from service.live.s3_follower import S3Follower

    location, options = parse_location(settings.s3_uri), _options(settings, settings.s3_poll_seconds, "model")
    return S3Follower(location, settings.model_path, settings.state_dir, metrics, **options)


def follow_items(settings: Settings, metrics: Metrics) -> S3Follower | None:
    """Return what downloads the file of items, if it comes from S3. Raises SettingsError."""
    if settings.items_s3_uri is None:
        return None
    from service.live.s3_follower import S3Follower

    location = parse_location(settings.items_s3_uri)
    if location.is_prefix:
        raise SettingsError(f"ALS_ITEMS_S3_URI is {location}, a prefix; name one object, such as {location}items.csv.")
    if settings.items is None:
        raise SettingsError("ALS_ITEMS_S3_URI is set, but ALS_ITEMS is not; set it to the path of the downloaded file.")
    options = _options(settings, settings.items_s3_poll_seconds, "items")
    return S3Follower(location, settings.items, settings.state_dir, metrics, **options)


def follow_candidates(settings: Settings, live: Live) -> S3Follower | None:
    """Return what downloads the candidate of the prefix that is followed.

    None if none is; then what S3 has said of it counts no longer.
    """
    path = candidate_path(settings)
    if path is None or settings.s3_uri is None or not _has_candidates(settings.s3_uri):
        live.steering.forget_s3()
        return None
    from service.live.candidate_follower import CandidateFollower

    options = _options(settings, settings.s3_poll_seconds, "candidate")
    location, metrics = parse_location(settings.s3_uri), live.slot.metrics
    return CandidateFollower(
        location, path, settings.state_dir, metrics, slot=live.slot, steering=live.steering, **options
    )


def candidate_path(settings: Settings) -> Path | None:
    """Return where the candidate is, or where S3's is downloaded to; None if there cannot be one."""
    if settings.candidate_path is None and settings.s3_uri and _has_candidates(settings.s3_uri):
        return settings.state_dir / "candidate.model"
    return settings.candidate_path


def _has_candidates(uri: str) -> bool:
    """Return whether this is a prefix, which may have a pointer to a candidate."""
    return parse_location(uri).is_prefix


def _options(settings: Settings, poll: float, followed: Followed) -> dict[str, Any]:
    return {
        "poll": poll,
        "timeout": settings.s3_timeout_seconds,
        "payer": settings.s3_request_payer,
        "most_bytes": settings.max_model_mb * 2**20,
        "followed": followed,
    }
