#!/usr/bin/env bash
# Third command, right after the second: v16 beside v1, v9 and v12 at 32x32, 2 Mimg. Does R3GAN beat the tutorial's network?
. "$(dirname "$0")/common.sh"
[ -f "$WORK/pictures.zip" ] || { echo "$WORK/pictures.zip: no such file; begin with the first two commands"; exit 3; }
VERSIONS=${VERSIONS:-v1 v9 v12}
workspace "$WORK/r3gan" "${SIDE:-32}" "${KIMG:-2000}" "${VERSIONS// /, }, v16"
collecting
train v16 $(($(left) - ${KEPT:-110})) & trainings=($!)
(for version in $VERSIONS; do train "$version" $(($(left) - ${KEPT:-110})); done) & trainings+=($!)
wait "${trainings[@]}" $reference
measures=()
for version in $VERSIONS v16; do measure "$version" & measures+=($!); done
wait "${measures[@]}"
