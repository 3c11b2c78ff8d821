"""Models in S3: locations, the latest version, downloads and uploads.

This package does not depend on a server: :mod:`service.live.s3_follower` polls.
"""
