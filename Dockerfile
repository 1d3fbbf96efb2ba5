# The sidecar in a container:
#
#   docker build -t conversation-sidecar .
#   docker run --read-only -v sidecar-data:/data -p 127.0.0.1:8790:8790 conversation-sidecar
#
# It runs as user 10001, writes to /data alone, and ends within the 10 seconds of `docker stop`.

# The build back end is pinned, hashes and all. Nothing of this stage but the wheel stays.
FROM python:3.12-slim AS wheel
WORKDIR /src
COPY requirements-build.txt ./
RUN python -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY sidecar sidecar
RUN /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist .

FROM python:3.12-slim AS app
WORKDIR /src
COPY requirements.txt ./
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY --from=wheel /dist /dist
RUN /app/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
    && /app/bin/pip uninstall --yes pip

FROM python:3.12-slim
# A fixed number, so that the owner of a mounted /data can be set beforehand. A new volume takes the owner from here.
RUN groupadd --gid 10001 sidecar \
    && useradd --uid 10001 --gid sidecar --no-create-home --home-dir /data --shell /usr/sbin/nologin sidecar \
    && install -d -o sidecar -g sidecar -m 0700 /data
COPY --from=app /app /app
# The inspector would be on the container's own loopback, where no browser comes: set SIDECAR_ADMIN__LISTEN=0.0.0.0:8791 and
# SIDECAR_ADMIN__INSPECTOR=on, and publish that port on the host's loopback alone, as config/compose.yaml does.
ENV PATH=/app/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SIDECAR_LISTEN=0.0.0.0:8790 \
    SIDECAR_STORE=sqlite:////data/sidecar.db \
    SIDECAR_ADMIN__INSPECTOR=off
USER 10001:10001
# SQLite puts its temporary files into the current folder when there is no /tmp to write to.
WORKDIR /data
VOLUME /data
EXPOSE 8790
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8790/-/live', timeout=2)"]
ENTRYPOINT ["sidecar"]
CMD ["serve"]
