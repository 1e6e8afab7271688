#!/usr/bin/env bash
# After the first command: v1 at 64x64 in fp32, tf32 and bf16, five seeds each. Are tf32 and bf16 equivalent to fp32?
SEEDS=${SEEDS:-0, 1, 2, 3, 4} PER_CARD=${PER_CARD:-5}
. "$(dirname "$0")/common.sh"
pictures || exit 3
VERSION=${VERSION:-v1}
# fp32 takes longer than the tf32 that was measured, so half of the time.
KIMG=${KIMG:-$(budget 15 $(((LIMIT - 150) / 2)) 100 1430)}
echo "kimg $KIMG"
data=
for PRECISION in fp32 tf32 bf16; do
    workspace "$WORK/$PRECISION" "${SIDE:-64}" "$KIMG" "$VERSION" "$data"
    data=$WORK/fp32
    train "$VERSION" $(($(left) - ${KEPT:-110}))
    wait $reference
    measure "$VERSION"
    collect
done
python3 "$HERE/equivalence.py" "$WORK"/{fp32,tf32,bf16} 2>&1 | tee "$OUT/equivalence.txt"
