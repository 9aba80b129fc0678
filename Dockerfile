# The image of the API, and of every `tunery` command that needs no torch: migrate, keys, jobs, files, adapters.

# uv installs in half of pip's time. It stays out of the image.
FROM python:3.11-slim AS uv

RUN pip install --no-cache-dir --target /uv 'uv>=0.9,<1'

# bubblewrap runs the code of Python graders where TUNERY_PYTHON_GRADERS asks for it.
FROM python:3.11-slim AS python

# Any release of the distribution's bubblewrap works.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*

# The packages that Tunery needs. Their layer stays the same until pyproject.toml changes, so an update of Tunery
# sends only its own files. uv builds a wheel of empty packages to learn what they need.
FROM python AS packages

WORKDIR /src
COPY pyproject.toml ./
RUN --mount=type=bind,from=uv,source=/uv,target=/uv \
    mkdir api cli core migrations worker \
    && touch README.md LICENSE \
    && /uv/bin/uv pip install --system --no-cache --compile-bytecode '.[traces]' \
    && pip uninstall --yes tunery \
    && rm -r /src/*

FROM packages AS tunery

COPY pyproject.toml README.md LICENSE ./
COPY api ./api
COPY cli ./cli
COPY core ./core
COPY migrations ./migrations
COPY worker ./worker
COPY docs/api_page.py ./
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && pip install --no-cache-dir --no-deps /wheels/*.whl \
    && python -m api.document openapi.json \
    && python api_page.py routes.md \
    && tunery files sample sample

# The dashboard's types are generated from the API's document. The dashboard contains the sample on which a user's
# first job can train, and the docs with a page of all routes.
FROM node:24-slim AS dashboard

WORKDIR /src/dashboard
COPY dashboard ./
COPY docs /src/docs
COPY --from=tunery /src/openapi.json ./
COPY --from=tunery /src/routes.md /src/docs/reference/
COPY --from=tunery /src/sample ./src/sample
RUN npm ci --no-progress && npm run types && npm run build

FROM packages

RUN --mount=type=bind,from=tunery,source=/wheels,target=/wheels \
    --mount=type=bind,from=dashboard,source=/src/dashboard/dist,target=/dashboard \
    pip install --no-cache-dir --no-deps /wheels/*.whl \
    && built="$(python -P -c 'from api.dashboard import BUILT; print(BUILT)')" \
    && mkdir --parents "$(dirname "$built")" \
    && cp --recursive /dashboard "$built" \
    && useradd --uid 10001 --home-dir /var/lib/tunery tunery \
    && install --directory --owner=tunery --group=tunery /var/lib/tunery

# It writes nowhere but to its home and to /tmp, so the rest can be read-only.
ENV HOME=/var/lib/tunery \
    PYTHONUNBUFFERED=1 \
    TUNERY_HOME=/var/lib/tunery \
    TUNERY_HOST=0.0.0.0
USER 10001
WORKDIR /var/lib/tunery
EXPOSE 8000
ENTRYPOINT ["tunery"]
CMD ["api"]
