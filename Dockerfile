# The image of the API, and of every `tunery` command that needs no torch: migrate, keys, jobs, files, adapters.
FROM python:3.11-slim AS tunery

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY api ./api
COPY cli ./cli
COPY core ./core
COPY migrations ./migrations
COPY worker ./worker
COPY docs/api_page.py ./
RUN pip install --no-cache-dir . \
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

FROM tunery

COPY --from=dashboard /src/dashboard/dist ./dashboard/dist
RUN built="$(python -P -c 'from api.dashboard import BUILT; print(BUILT)')" \
    && mkdir --parents "$(dirname "$built")" \
    && cp --recursive dashboard/dist "$built" \
    && useradd --uid 10001 --create-home tunery \
    && install --directory --owner=tunery --group=tunery /var/lib/tunery

ENV PYTHONUNBUFFERED=1 \
    TUNERY_HOME=/var/lib/tunery \
    TUNERY_HOST=0.0.0.0
USER 10001
WORKDIR /var/lib/tunery
EXPOSE 8000
ENTRYPOINT ["tunery"]
CMD ["api"]
