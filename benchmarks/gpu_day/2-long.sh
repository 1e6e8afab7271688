#!/usr/bin/env bash
# Second command, right after the first: v1 and v2 at 64x64 side by side, at most 6.4 Mimg each. Does LeakyReLU in G
# collapse?
. "$(dirname "$0")/common.sh"
pictures || exit 3
KIMG=${KIMG:-$(budget 2 400 500 6400)}
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
