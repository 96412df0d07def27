# The operator's image.
#
#   docker build --tag dask-k8s-operator .
#
# BASE is any Debian-like image whose python3 is 3.11 or newer and has the venv module. Pip reads its index and certificates from
# the build arguments below where they are given, and from the base image's own configuration otherwise.
ARG BASE=python:3.13-slim


# What the operator depends on, keyed by pyproject.toml alone: a change of the sources installs nothing again.
FROM ${BASE} AS dependencies
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Two environments: pip and the build backend stay in the one that is left behind.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/venv
WORKDIR /src
COPY pyproject.toml ./
RUN /opt/build/bin/python -c "import pathlib, tomllib; \
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text(encoding='utf-8')); \
pathlib.Path('/opt/build/backend.txt').write_text('\n'.join(project['build-system']['requires'])); \
pathlib.Path('/opt/build/runtime.txt').write_text('\n'.join(project['project']['dependencies']))" \
    && /opt/build/bin/pip install --requirement /opt/build/backend.txt \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-compile --requirement /opt/build/runtime.txt \
    # The files never change again, so the interpreter need not compare times that a copy between stages may not keep.
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib


# The operator itself, installed beside the environment that it belongs to: in the image it is a layer of its own.
FROM dependencies AS package
COPY README.md LICENSE ./
COPY dask_k8s_operator ./dask_k8s_operator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /opt/build/dist . \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index --no-compile --no-warn-script-location --root /package /opt/build/dist/*.whl \
    && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /package /package/opt/venv/lib


FROM ${BASE}
# A name for whichever user id the container is given: the password file knows none, and libraries ask.
ENV PATH=/opt/venv/bin:${PATH} PYTHONUNBUFFERED=1 USER=dask-k8s-operator
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=package /package/opt/venv /opt/venv
# Proves that the operator can be imported in this image, and keeps the bytecode of what it needs of the standard library,
# which slim images come without: the root file system may be read-only later.
RUN dask-k8s-operator run --help > /dev/null && python -c "import dask_k8s_operator.controller.operator"
ENV PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["dask-k8s-operator"]
CMD ["--help"]
# Last, because they differ from build to build.
ARG BASE
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="dask-k8s-operator" \
      org.opencontainers.image.description="A Kubernetes operator that runs Dask clusters and retires their workers gracefully." \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
