# CPU image: builds harbench and runs its two commands.
#   docker build -t harbench .
#   docker run --rm harbench make run
#   docker run --rm harbench make test
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends make gcc git && rm -rf /var/lib/apt/lists/*
WORKDIR /harbench
COPY . .
RUN make install
ENV PATH="/harbench/.venv/bin:$PATH"
CMD ["make", "run"]
