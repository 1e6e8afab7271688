#!/usr/bin/env bash
# Test the commands on a CPU, with tiny networks and random pictures, and without the packages that the machine
# with the GPU may lack. `rehearse.sh FOLDER` works and leaves its results there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mkdir -p "${1:?a folder to work in}" && cd "$1" && pwd)
export DEVICE=cpu HIDDEN=$here/hidden BAG=$folder/bag WORK=$folder/work OUT=$folder/out GANEALOGY_THREADS=1 OMP_NUM_THREADS=1
mkdir -p "$BAG"
python3 - "$BAG/pictures.zip" <<'P'
import io, sys, zipfile
import numpy as np
from PIL import Image

rng = np.random.default_rng(0)
with zipfile.ZipFile(sys.argv[1], "w") as archive:
    for number in range(200):
        picture = np.linspace(0, 200, 32)[None, :, None] * rng.random((1, 1, 3)) + rng.random((32, 32, 3)) * 50
        buffer = io.BytesIO()
        Image.fromarray(picture.astype(np.uint8)).save(buffer, "PNG")
        archive.writestr(f"{number}.png", buffer.getvalue())
P
split -n 2 "$BAG/pictures.zip" "$BAG/pictures." && rm "$BAG/pictures.zip"
export BATCH=8 WIDTH=4 TICKS=2 TRACKED=32 SAMPLES=50 REALS=64 LEAD=fd_pixel8
VERSIONS=v1 QUICK=--quick bash "$here/1-check.sh"
KIMG=0.08 SIDE=16 VERSIONS="v1 v2" bash "$here/2-long.sh"
KIMG=0.08 SIDE=16 VERSIONS="v1" bash "$here/3-r3gan.sh"
export SEEDS="0, 1" KIMG=0.08 SIDE=16
VERSIONS="v1 v2" bash "$here/4-seeds.sh"
bash "$here/5-precision.sh"
