# The API, and every `tunery` command that needs no torch: migrate, keys, jobs, files, adapters.
FROM python:3.11-slim

RUN useradd --uid 10001 --create-home tunery \
    && install --directory --owner=tunery --group=tunery /var/lib/tunery

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY api ./api
COPY cli ./cli
COPY core ./core
COPY migrations ./migrations
COPY worker ./worker
RUN pip install --no-cache-dir .

ENV PYTHONUNBUFFERED=1 \
    TUNERY_HOME=/var/lib/tunery \
    TUNERY_HOST=0.0.0.0
USER 10001
WORKDIR /var/lib/tunery
EXPOSE 8000
ENTRYPOINT ["tunery"]
CMD ["api"]
