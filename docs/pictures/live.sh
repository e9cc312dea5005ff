#!/usr/bin/env bash
# The picture of the live page in the README: a real run while it goes, in headless Chromium, which is needed.
#
#   docs/pictures/live.sh
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
made=${CARGO_TARGET_DIR:-$tree/target}/tmp/live-light.png

cd "$tree"
cargo test --profile "${PROFILE:-release}" --test live_page -- --ignored --exact pictures
bytes=$(wc -c <"$made")
[ "$bytes" -lt 250000 ] || { echo "error: the picture has $bytes bytes, 250000 at most: let it end earlier (LAST in tests/live_page.rs)" >&2; exit 1; }
cp "$made" "$here/live.png"
echo "docs/pictures/live.png, $bytes bytes"
