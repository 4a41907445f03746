# One image for every process of Coatcheck; docker-compose.yml says which one a container runs.
#
# Base image: pinned by tag and by the digest of its multi-platform index. Update both together.
ARG PYTHON_IMAGE=python:3.13.16-slim-trixie@sha256:bf44cdfcb76cd3b41e879bc058fc37ec5872002ccfde7fcb765e218cde0cd79c

FROM ${PYTHON_IMAGE} AS build
WORKDIR /app
# Dependencies first: they change seldom, and this layer is kept while they don't.
# The same script as in the Makefile, on the runtime lock: hashes are checked, only wheels are installed, no compiler is needed.
COPY pyproject.toml README.md LICENSE ./
COPY requirements requirements
RUN PYTHON=python3 sh requirements/prepare-venv.sh /opt/venv runtime \
    && rm -rf /opt/venv/.uv /opt/venv/bin/uv requirements
COPY api api
COPY workers workers
COPY core core
COPY policies policies
COPY cli cli
COPY migrations migrations
COPY alembic.ini catalog.toml ./
RUN python -m compileall -q /app

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="coatcheck" \
      org.opencontainers.image.description="A durable, distributed task queue for async AI jobs" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE= \
    HOME=/tmp
# Source and libraries belong to root; the process that runs them can change neither.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin coatcheck
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
WORKDIR /app
USER 10001:10001
EXPOSE 8000
CMD ["python", "-m", "api"]
