# docker build -t runner .
# docker run --rm runner scenarios/steady-100tps.yaml
#
# To keep the run folders:  mkdir -p runs && docker run --rm --user "$(id -u)" -v "$PWD/runs:/home/runner/runs" runner ...
# For exact times give it the host's network and two cores: --network host --cpuset-cpus 0,1

FROM rust:1-slim-bookworm AS build
# The Lua inside is C++.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build

# The dependencies alone, so that this layer stays while only the sources change. Benches are named in the
# manifest and have to be there to read it.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src \
    && touch src/lib.rs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo build --release --locked

# Younger than the empty sources above, whatever their times in the build context say.
COPY src src
RUN find src -name '*.rs' -exec touch {} + \
    && cargo build --release --locked --bin runner

FROM debian:bookworm-slim
# libstdc++, which the Lua inside needs, is there: apt itself needs it.
RUN useradd --create-home --uid 10001 runner
COPY --from=build /build/target/release/runner /usr/local/bin/runner
WORKDIR /home/runner
COPY LICENSE LICENSE-MIT LICENSE-APACHE /usr/share/doc/runner/
COPY scenarios scenarios
COPY scripts scripts
# The folder of the run folders: the user's own, also as the start of an unnamed volume.
RUN mkdir runs && chown runner:runner runs .
USER runner
ENTRYPOINT ["runner"]
CMD ["--help"]
