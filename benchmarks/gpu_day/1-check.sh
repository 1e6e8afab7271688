#!/usr/bin/env bash
# First command: probes, the tests that need a GPU, and benchmarks/gpu.py. Leaves packages and rates in WORK for the next.
. "$(dirname "$0")/common.sh"
if compgen -G "$BAG/whl/*.whl" >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$WORK/site" "$BAG"/whl/*.whl || exit 3
fi
cp "$BAG"/pictures.* "$WORK/" 2>/dev/null
cd "$ROOT"
[ "$DEVICE" = cpu ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader
within 150 python3 benchmarks/gpu_day/probe.py $DEVICE 2>&1 | tee "$OUT/probe.txt"
[ "$DEVICE" = cpu ] && chosen="v1-cpu or v16-cpu" || chosen="cuda or on_a_gpu"
within 150 python3 -m pytest -q -rs -p no:cacheprovider -k "$chosen" tests/training/test_cuda_graph.py tests/data/test_packed_batches.py 2>&1 |
    tail -40 | tee "$OUT/pytest.txt"
echo "== $SECONDS s so far"
within 600 python3 benchmarks/gpu.py --device $DEVICE --minutes $(($(left) / 60)) --rounds 2 --steps 10 --profiled-steps 2 --threads 4 \
    --versions ${VERSIONS:-v1 v9 v12 v10 v14 v16 v2} --json "$OUT/gpu.json" ${QUICK:-} 2>&1 | tail -200 | tee "$OUT/gpu.txt"
cp "$OUT/gpu.json" "$WORK/" 2>/dev/null
[ "$DEVICE" = cpu ] || nvidia-smi --query-gpu=clocks.sm,power.draw,temperature.gpu --format=csv,noheader
