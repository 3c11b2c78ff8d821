"""What a server reports of where its models come from."""

from __future__ import annotations

from datetime import UTC, datetime

from service.live.report import Following
from service.s3.versions import Download

NOW = datetime(2030, 1, 2, 12, tzinfo=UTC)


def download(sha256: str, seconds: float | None) -> Download:
    """Return a download of a model."""
    return Download(
        key="models/als_model.npz",
        version_id=None,
        etag=None,
        sha256=sha256,
        bytes=7,
        modified_at=NOW,
        downloaded_at=NOW,
        seconds=seconds,
    )


def test_the_seconds_of_a_download_are_those_of_the_model() -> None:
    """None for a model from elsewhere, or that another process downloaded."""
    following = Following("s3://bucket/models/", downloads=[download("b", 2.5), download("a", None)])
    assert [following.seconds_of(sha256) for sha256 in ("a", "b", "c")] == [None, 2.5, None]
