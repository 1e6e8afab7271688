#!/usr/bin/env bash
# Second command, right after the first: v1 and v2 at 64x64 side by side, at most 6.4 Mimg each. Does LeakyReLU in G
# collapse? The budget is two trainings of 400 s at the rate that the first command measured.
. "$(dirname "$0")/common.sh"
cp "$BAG"/pictures.* "$WORK/" 2>/dev/null
cat "$WORK"/pictures.[a-z][a-z] >"$WORK/pictures.zip" || exit 3
KIMG=${KIMG:-$(python3 - "$WORK/gpu.json" <<'P'
import json, sys

try:
    rows = {row["what"]: row["value"] for row in json.load(open(sys.argv[1]))["measurements"]}
    rate = 128 / rows["v1, ours tf32, with data"]  # images per millisecond = kimg per second
except (OSError, ValueError, KeyError):
    rate = 20
print(int(max(500, min(6400, 400 * rate / 2))))
P
)}
echo "kimg $KIMG"
VERSIONS=${VERSIONS:-v1 v2}
workspace "$WORK/long" "${SIDE:-64}" "$KIMG" "${VERSIONS// /, }"
collecting
trainings=()
for version in $VERSIONS; do train "$version" $(($(left) - ${KEPT:-110})) & trainings+=($!); done
wait "${trainings[@]}" $reference
measures=()
for version in $VERSIONS; do measure "$version" & measures+=($!); done
wait "${measures[@]}"
