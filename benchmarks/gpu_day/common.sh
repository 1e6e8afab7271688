# Shared by the commands of this folder, which source it first.
# DEVICE  cuda, or cpu for a rehearsal          LIMIT  seconds per command
# KEPT    seconds of LIMIT for what follows the trainings
# BAG     input: whl/*.whl and pictures.??, a zip of pictures in pieces
# WORK    files for the next command            OUT    results, written as they are computed
# SEEDS   of each version, such as "0, 1, 2"    PER_CARD  trainings on the card at once, of one `train`
# KIMG    the budget of each training           VERSIONS  such as "v16 v24"
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
: "${DEVICE:=cuda}" "${LIMIT:=570}" "${BAG:=$ROOT/.gpu}" "${WORK:=/tmp/gpu_day}" "${OUT:=$ROOT/build/gpu_day}" \
    "${SEEDS:=0}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=${HIDDEN:+$HIDDEN:}$WORK/site:$ROOT/src:$ROOT/benchmarks:$ROOT/tests
export GANEALOGY_THREADS=${GANEALOGY_THREADS:-4}
mkdir -p "$WORK/site" "$OUT"

left() { echo $((LIMIT - SECONDS)); } # seconds

within() { # SECONDS COMMAND …: interrupt it after SECONDS or at the limit; it can still print its results
    local most=$1 && shift
    timeout -s INT -k 10 $((most < $(left) ? most : $(left))) "$@"
}

pictures() { # put the pieces together; the first of them may have come with an earlier command
    cp "$BAG"/pictures.* "$WORK/" 2>/dev/null
    [ -f "$WORK/pictures.zip" ] || cat "$WORK"/pictures.[a-z][a-z] >"$WORK/pictures.zip"
}

budget() { # RUNS SECONDS LEAST MOST: kimg of each run, at the rate that the first command measured
    python3 - "$WORK/gpu.json" "$@" <<'P'
import json, sys

runs, seconds, least, most = map(int, sys.argv[2:])
try:
    rows = {row["what"]: row["value"] for row in json.load(open(sys.argv[1]))["measurements"]}
    rate = max(value for what, value in rows.items() if what.startswith("v1, ") and " at a time, " in what) / 1000
except (OSError, ValueError, KeyError):
    rate = 20  # kimg per second
print(int(max(least, min(most, seconds * rate / runs))))
P
}

workspace() { # FOLDER SIDE KIMG "VERSION, VERSION" [PROJECT]: a project, with the data of another one
    mkdir -p "$1" && cp -r "$ROOT"/{src,versions,presets,dvc.yaml} "$1/"
    cat >"$1/params.yaml" <<Y
dataset: {name: folder, path: $WORK/pictures.zip, image_size: $2, channels: 3, count: ${COUNT:-null}, holdout: 0.1}
tree: {versions: [$4], seeds: [$SEEDS]}
train: {kimg: $3, batch_size: ${BATCH:-128}, lr: 0.0002, width: ${WIDTH:-64}, ticks: ${TICKS:-20}, tracker: effnet_lite0,
  tracker_images: ${TRACKED:-1000}, precision: ${PRECISION:-tf32}, device: $DEVICE, threads: 4,
  runs_per_gpu: ${PER_CARD:-1}}
sample: {count: ${SAMPLES:-5200}, checkpoint: last}
evaluate: {extractors: [layout_edges_32_64, pixel8, effnet_lite0], lead: ${LEAD:-fd_layout_edges_32_64}, reals: ${REALS:-10000}}
Y
    cd "$1" && export PYTHONPATH=${HIDDEN:+$HIDDEN:}$WORK/site:$1/src:$ROOT/benchmarks
    python3 -m ganealogy plan 2>&1 | tail -2
    reference=
    if [ -n "${5:-}" ]; then
        cp -r "$5/data/." data
    else
        for verb in download preprocess; do python3 -m ganealogy $verb 2>&1 | tail -2; done
        python3 -m ganealogy reference 2>&1 | tail -1 & reference=$!
    fi
}

train() { # VERSION SECONDS: a training that is cut off leaves a checkpoint, and the same command resumes it
    timeout -s TERM -k 20 "$2" python3 -m ganealogy train "$1" --seeds "${SEEDS// /}" >"train-$1.log" 2>&1
    echo "train $1: exit $? at $SECONDS s"
    tr '\r' '\n' <"train-$1.log" | tail -2
    cat "build/runs/$1/cost/train/0.json" 2>/dev/null
}

measure() { # VERSION: does nothing if its training was cut off
    [ -d "build/runs/$1/train/0" ] || return 0
    for verb in sample evaluate; do within 200 python3 -m ganealogy $verb "$1" --seeds "${SEEDS// /}" 2>&1 | tail -1; done
    python3 -c 'import glob, json, sys
for file in sorted(glob.glob(f"build/runs/{sys.argv[1]}/evaluate/*/metrics.json")):
    metrics = json.load(open(file))["metrics"]
    print(*file.split("/")[2:5:2], {name: round(value, 3) for name, value in metrics.items()})' "$1"
}

collect() { # archive the records of all runs, finished or not, and pictures of seed 0, without weights and samples
    local name="$OUT/$(basename "$PWD")"
    find params.yaml train-*.log data build/{plan,runs,wip} -not -path '*checkpoints*' \
        \( -name '*.json*' -o -name '*.yaml' -o -name '*.log' \) >"$WORK/list" 2>/dev/null
    pack "$name-records.tgz"
    { find build/runs build/wip -name grid.png -o -name strip.png
      find build/runs build/wip -path '*grids*' -name '*.png' | sort | awk 'NR % 4 == 1'; } 2>/dev/null |
        grep -E '^build/wip|/0/' >"$WORK/list"
    pack "$name-pictures.tgz"
}

pack() { # ARCHIVE: of the files in WORK/list, written beside it first, as the command may be killed
    tar czf "$1.new" -T "$WORK/list" 2>/dev/null && mv "$1.new" "$1"
}

collecting() { # every minute and at the end, so that a killed command loses at most a minute
    (while sleep 60; do collect; done) >/dev/null 2>&1 &
    trap "kill $! 2>/dev/null; collect; ls -l '$OUT'" EXIT
}
