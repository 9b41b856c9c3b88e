# The image of SAEC's processes and of the `saec` command. Every Python package is checked by its
# hash; what Debian and Python bring is as the tag has it: put a digest behind it to fix it.
# It runs without root, without capabilities, on a root file system that is read-only; only /tmp is
# to be writable.
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
    && /opt/saec/bin/pip install --no-deps dist/*.whl \
    && /opt/saec/bin/pip uninstall --yes pip

FROM python:3.13-slim-trixie
RUN groupadd --system --gid 10001 saec \
    && useradd --system --uid 10001 --gid 10001 --no-create-home saec
COPY --from=build /opt/saec /opt/saec
WORKDIR /app
COPY consumers consumers
COPY producers producers
ENV PATH=/opt/saec/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# By number: Kubernetes cannot see of a name that it is not root.
USER 10001:10001
CMD ["saec", "--help"]
