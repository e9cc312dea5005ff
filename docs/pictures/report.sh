#!/usr/bin/env bash
# The picture of the report in the README: a real run, and its report.html in headless Chromium, which is needed.
#
#   cargo build --release && docs/pictures/report.sh
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
runner=${RUNNER:-$tree/target/release/runner}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset REDIS_URL

[ -x "$runner" ] || { echo "error: there is no $runner: run \`cargo build --release\`, or set RUNNER" >&2; exit 1; }
"$runner" "${SCENARIO:-$tree/scenarios/ramp.yaml}" --out "$work/run" --quiet
chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars \
    --user-data-dir="$work/profile" --window-size=1130,"${HEIGHT:-1500}" --virtual-time-budget=5000 \
    --screenshot="$work/report.png" "file://$work/run/report.html" 2>/dev/null
bytes=$(wc -c <"$work/report.png")
[ "$bytes" -lt 200000 ] || { echo "error: the picture has $bytes bytes, 200000 at most: set HEIGHT to less" >&2; exit 1; }
mv "$work/report.png" "$here/report.png"
echo "docs/pictures/report.png, $bytes bytes"
