# One image for the operator, the shards and the simulator: `tickershard <verb>`.
#
#   docker build -t tickershard:dev .
#
# Runs as a high user id, needs no writable file system, holds no compiler and no installer.
# Three layers above the base: dependencies (change with the lock), our code (changes with every commit), nothing else.
# Behind a mirror or a certificate authority of one's own: `--secret id=pip,src=pip.conf --secret id=ca,src=ca.crt`
# (with `cert = /run/secrets/ca` in pip.conf); neither leaves a trace in the image.
ARG BASE_IMAGE=python:3.11-slim

# -- the locked dependencies, by hash ------------------------------------------
FROM ${BASE_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/installer && python3 -m venv --without-pip /opt/tickershard
COPY requirements.txt /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    /opt/installer/bin/pip --python /opt/tickershard/bin/python install -q \
    --require-hashes --only-binary=:all: -r /build/requirements.txt

# -- our code, as the wheel that everybody installs -----------------------------
FROM dependencies AS package
COPY requirements-dev.txt /build/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    awk '/^[a-z]/ { wanted = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } wanted' \
        /build/requirements-dev.txt > /build/requirements-build.txt \
    && /opt/installer/bin/pip install -q --require-hashes --only-binary=:all: -r /build/requirements-build.txt
COPY pyproject.toml README.md /build/
COPY client /build/client
COPY common /build/common
COPY crds /build/crds
COPY operator /build/operator
COPY shard /build/shard
COPY simulator /build/simulator
RUN /opt/installer/bin/pip wheel -q --no-deps --no-build-isolation --no-index --wheel-dir /build/wheel /build \
    && /opt/installer/bin/pip --python /opt/tickershard/bin/python install -q \
       --no-deps --no-index --prefix /opt/package /build/wheel/*.whl

# -- native code, for the processors it may meet: with AVX2 (when this machine has it) and without ------
FROM dependencies AS kernels
COPY --from=package /opt/package /opt/tickershard
RUN export NUMBA_CACHE_DIR=/opt/kernels \
    && /opt/tickershard/bin/python -m ticker_shard.app.kernels \
    && NUMBA_CPU_NAME=generic /opt/tickershard/bin/python -m ticker_shard.app.kernels

# -- what runs --------------------------------------------------------------------
FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="tickershard" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=dependencies /opt/tickershard /opt/tickershard
COPY --from=package /opt/package /opt/tickershard
COPY --from=kernels /opt/kernels /opt/kernels
# The user id has no entry in /etc/passwd (a platform may choose another one); whoever asks for a name finds it here.
ENV USER=tickershard HOME=/tmp NUMBA_CACHE_DIR=/opt/kernels
ENV PATH=/opt/tickershard/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 65532:65532
ENTRYPOINT ["tickershard"]
