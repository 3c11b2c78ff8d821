# To pin it by its digest: docker build --build-arg PYTHON_IMAGE=docker.io/library/python@sha256:…
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim

FROM ${PYTHON_IMAGE} AS build

# Third-party packages go into /venv, exactly as locked, without pip and without 50 MB of their tests.
COPY requirements.lock /src/
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --no-deps --require-hashes --requirement /src/requirements.lock \
    && find /venv -type d -name tests -prune -exec rm -rf {} +

# The compiler for the scan kernel; without one NumPy would scan. Versions are not pinned, as below.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# The service goes there too, with the command in /venv/bin. Build tools stay out of the image.
COPY pyproject.toml setup.py README.md LICENSE /src/
COPY ops/install /src/ops/install
COPY service /src/service
RUN pip --python /venv/bin/python install --no-cache-dir --no-deps --no-build-isolation /src \
    && pip --python /venv/bin/python uninstall --yes setuptools


FROM ${PYTHON_IMAGE}

LABEL org.opencontainers.image.title="als-serve" \
    org.opencontainers.image.description="An asyncio server for ALS recommendation models: safe loading, exact top-N, hot swap" \
    org.opencontainers.image.licenses="MIT"

# implicit needs the OpenMP runtime, and tini is the first process. Versions are not pinned, because Debian removes a
# version when a security update replaces it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 tini \
    && rm -rf /var/lib/apt/lists/*

COPY --from=build /venv /venv

# /app is only for the model, which is replaced by a rename: the user may add files to /app, but only replace its own
# (the sticky bit). No module in /app is ever imported, although PYTHONPATH names it, because every process runs Python
# isolated. The same user owns the volume; its number is fixed so that a host can give it a directory. OpenShift runs
# the image as any user of group 0, so the group may do what the user may.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin als \
    && install -d -g 0 -m 1775 /app \
    && install -d -o als -g 0 -m 0770 /var/lib/als-serve /var/lib/als-serve/models /var/lib/als-serve/state
USER 10001:0
WORKDIR /app
VOLUME /var/lib/als-serve

ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    ALS_MODEL_PATH=/app/als_model.pkl \
    ALS_STATE_DIR=/var/lib/als-serve/state \
    ALS_HOST=0.0.0.0

EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["als-serve", "health"]

# After SIGTERM the server drains, finishes requests in flight, and exits with 0. The kernel drops signals that the
# first process does not handle yet, so Python would miss one during its imports; tini handles it, and exits with 143
# then.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "-e", "143", "--", "als-serve"]
CMD ["serve"]
