"""Models in S3: where they are, which one is the latest, and how one comes down or goes up whole.

Nothing here knows of a server: what polls is :mod:`service.live.s3_follower`.
"""
