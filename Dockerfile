# The image of SAEC's processes and of the `saec` command. Every package is checked by its hash.
FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements-runtime.lock requirements-build.lock ./
RUN python -m venv /opt/saec \
    && /opt/saec/bin/pip install --require-hashes -r requirements-runtime.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY LICENSE README.md pyproject.toml ./
COPY schemas schemas
COPY saec saec
RUN /opt/build/bin/hatchling build -t wheel -d dist \
    && /opt/saec/bin/pip install --no-deps dist/*.whl

FROM python:3.13-slim-trixie
RUN useradd --system --uid 10001 --no-create-home saec
COPY --from=build /opt/saec /opt/saec
WORKDIR /app
COPY consumers consumers
COPY producers producers
ENV PATH=/opt/saec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER saec
CMD ["saec", "--help"]
