# Shared by the commands of this folder, which source it first.
# DEVICE  cuda, or cpu for a rehearsal          LIMIT  seconds per command
# KEPT    seconds of LIMIT for what follows the trainings
# BAG     input: whl/*.whl and pictures.??, a zip of pictures in pieces
# WORK    files for the next command            OUT    results, written as they are computed
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
: "${DEVICE:=cuda}" "${LIMIT:=570}" "${BAG:=$ROOT/.gpu}" "${WORK:=/tmp/gpu_day}" "${OUT:=$ROOT/build/gpu_day}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=${HIDDEN:+$HIDDEN:}$WORK/site:$ROOT/src:$ROOT/benchmarks:$ROOT/tests
export GANEALOGY_THREADS=${GANEALOGY_THREADS:-4}
mkdir -p "$WORK/site" "$OUT"

left() { echo $((LIMIT - SECONDS)); } # seconds

within() { # SECONDS COMMAND …: interrupt it after SECONDS or at the limit; it can still print its results
    local most=$1 && shift
    timeout -s INT -k 10 $((most < $(left) ? most : $(left))) "$@"
}

workspace() { # FOLDER SIDE KIMG "VERSION, VERSION": a project with one seed per version
    mkdir -p "$1" && cp -r "$ROOT"/{src,versions,presets,dvc.yaml} "$1/"
    cat >"$1/params.yaml" <<Y
dataset: {name: folder, path: $WORK/pictures.zip, image_size: $2, channels: 3, count: ${COUNT:-null}, holdout: 0.1}
tree: {versions: [$4], seeds: [0]}
train: {kimg: $3, batch_size: ${BATCH:-128}, lr: 0.0002, width: ${WIDTH:-64}, ticks: ${TICKS:-20}, tracker: effnet_lite0,
  tracker_images: ${TRACKED:-1000}, precision: ${PRECISION:-tf32}, device: $DEVICE, threads: 4}
sample: {count: ${SAMPLES:-5200}, checkpoint: last}
evaluate: {extractors: [layout_edges_32_64, pixel8, effnet_lite0], lead: ${LEAD:-fd_layout_edges_32_64}, reals: ${REALS:-10000}}
Y
    cd "$1" && export PYTHONPATH=${HIDDEN:+$HIDDEN:}$WORK/site:$1/src
    for verb in plan download preprocess; do python3 -m ganealogy $verb 2>&1 | tail -2; done
    python3 -m ganealogy reference 2>&1 | tail -1 & reference=$!
}

train() { # VERSION SECONDS: a training that is cut off leaves a checkpoint, and the same command resumes it
    timeout -s TERM -k 20 "$2" python3 -m ganealogy train "$1" --seeds 0 >"$OUT/train-$1.log" 2>&1
    echo "train $1: exit $? at $SECONDS s"
    tr '\r' '\n' <"$OUT/train-$1.log" | tail -2
    cat "build/runs/$1/cost/train/0.json" 2>/dev/null
}

measure() { # VERSION: does nothing if its training was cut off
    [ -d "build/runs/$1/train/0" ] || return 0
    for verb in sample evaluate; do within 200 python3 -m ganealogy $verb "$1" --seeds 0 2>&1 | tail -1; done
    python3 -c 'import json, sys
metrics = json.load(open(f"build/runs/{sys.argv[1]}/evaluate/0/metrics.json"))["metrics"]
print(sys.argv[1], {name: round(value, 3) for name, value in metrics.items()})' "$1"
}

collect() { # archive records and every fourth grid of each run, finished or not, without weights and samples
    for run in build/runs/* build/wip/*; do
        [ -d "$run" ] || continue
        { find "$run" -name '*.json*' -not -path '*checkpoints*' -o -name grid.png -o -name strip.png -o -name walk.webp
          find "$run" -path '*grids*' -name '*.png' | sort | awk 'NR % 4 == 1'; } >"$WORK/list"
        local archive="$OUT/$(basename "$PWD")-$(basename "$run").tgz"
        tar czf "$archive.new" -T "$WORK/list" 2>/dev/null && mv "$archive.new" "$archive"
    done
}

collecting() { # every minute and at the end, so that a killed command loses at most a minute
    (while sleep 60; do collect; done) >/dev/null 2>&1 &
    trap "kill $! 2>/dev/null; collect; ls -l '$OUT'" EXIT
}
