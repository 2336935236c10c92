# syntax=docker/dockerfile:1
# The role `training`: everything that imports torch. CUDA wheels, or CPU ones with TORCH=cpu.
# MLX for the export to Apple silicon is the CPU build in either.
#   docker buildx bake training training-cpu
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3

FROM ${PYTHON_IMAGE} AS build
# Time stamp of everything that is made here, so that one commit gives one image.
ARG SOURCE_DATE_EPOCH=0
# cuda takes torch from PyPI, which brings CUDA with it; cpu takes PyTorch's own CPU wheels.
ARG TORCH=cuda
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONHASHSEED=0
WORKDIR /src

# What the role needs, at the versions of the lock file; the code, which changes more often, comes after.
COPY pyproject.toml requirements.lock ./
COPY images/roles.py images/
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install --constraint requirements.lock packaging setuptools \
 && python -m venv --without-pip /opt/oppen \
 && python images/roles.py requirements training > /tmp/requirements.txt \
 && case "${TORCH}" in \
        cuda) ;; \
        cpu) python -m pip --python /opt/oppen/bin/python install --constraint requirements.lock \
                --index-url https://download.pytorch.org/whl/cpu torch torchvision ;; \
        *) echo "TORCH=${TORCH}: use cuda or cpu" >&2; exit 1 ;; \
    esac \
 && python -m pip --python /opt/oppen/bin/python install \
        --constraint requirements.lock --requirement /tmp/requirements.txt

COPY . .
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheels . \
 && python -m pip --python /opt/oppen/bin/python install --no-deps /tmp/wheels/*.whl \
 && python images/roles.py prune "$(echo /opt/oppen/lib/python3.*/site-packages)" \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash -x py312_ /opt/oppen/lib

FROM ${PYTHON_IMAGE}
ARG DEBIAN_SNAPSHOT=20261101T000000Z
# git tells a run its commit; the snapshot fixes its version, and its fixes come with its date.
# hadolint ignore=DL3008
RUN rm -f /etc/apt/sources.list.d/debian.sources \
 && printf 'deb http://snapshot.debian.org/archive/%s bookworm%s main\n' \
        "debian/${DEBIAN_SNAPSHOT}" '' "debian-security/${DEBIAN_SNAPSHOT}" -security \
        > /etc/apt/sources.list \
 && apt-get -o Acquire::Check-Valid-Until=false update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache \
 && groupadd --gid 65532 oppen \
 && useradd --uid 65532 --gid 65532 --home-dir /tmp/home --no-create-home --shell /usr/sbin/nologin oppen
COPY --from=build /opt/oppen /opt/oppen
# Data beside the packages: runbooks, tools and settings of the agents.
COPY agents /opt/oppen/lib/python3.11/site-packages/agents

# The root file system is read-only on the cluster: /tmp and /work are mounted.
ENV PATH=/opt/oppen/bin:${PATH} \
    PYTHONPATH=/work \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp/home \
    HF_HOME=/tmp/home/huggingface \
    HF_HUB_DISABLE_TELEMETRY=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    MLFLOW_DISABLE_TELEMETRY=true
WORKDIR /work
USER 65532:65532

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Oppen: training" \
      org.opencontainers.image.description="Preparation, training and evaluation of Oppen's pipelines." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# Flyte gives the command of each task.
CMD ["oppen", "--help"]
