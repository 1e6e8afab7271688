#!/usr/bin/env bash
# For another half hour, after the first command: five seeds of each version at 64x64. Which idea helps, and is it sure?
SEEDS=${SEEDS:-0, 1, 2, 3, 4} PER_CARD=${PER_CARD:-5}
. "$(dirname "$0")/common.sh"
pictures || exit 3
VERSIONS=${VERSIONS:-v1 v2 v3 v7 v8 v9 v12}
runs=$((5 * $(wc -w <<<"$VERSIONS")))
# Later versions take longer than v1, so three quarters of the time.
KIMG=${KIMG:-$(budget $runs $(((LIMIT - 150) * 3 / 4)) 100 1430)}
echo "kimg $KIMG"
workspace "$WORK/seeds" "${SIDE:-64}" "$KIMG" "${VERSIONS// /, }"
collecting
measures=()
for version in $VERSIONS; do
    train "$version" $(($(left) - ${KEPT:-110}))
    wait $reference
    measure "$version" & measures+=($!)
done
wait "${measures[@]}"
