#!/usr/bin/env bash
# The main job on simulated data, from raw frames to pictures. Called by `make demo`; DEMO is the output folder.
set -euo pipefail
: "${PYTHON:=python}" "${DEMO:=demo}" "${SCENES:=60}" "${KEYFRAMES:=8}"
version=v1.0-trainval
export LIDAR_MT_DATA="$DEMO/data" LIDAR_MT_RUNS="$DEMO/runs"
raw="$DEMO/data/nuscenes" packed="$DEMO/data/packed"
run() { echo; echo "\$ python -m $*"; "$PYTHON" -m "$@"; }

mkdir -p "$DEMO"
if [ ! -f "$raw/$version/sample.json" ]; then
  run lidar_mt.simulate out="$raw" version=$version scenes="$SCENES" keyframes="$KEYFRAMES" sweeps=5 seed=0
fi
for split in train val; do
  if [ ! -d "$packed/$version/${split}_lmdb" ]; then
    run lidar_mt.pack_data src="$raw" version=$version split=$split out="$packed"
  fi
done
run lidar_mt.train stage=float experiment=demo
run lidar_mt.evaluate stage=float experiment=demo out="$DEMO/results"
frame=$(find "$raw/samples/LIDAR_TOP" -name '*scene-0003*.pcd.bin' | sort | tail -n 1)  # the first validation scene
run lidar_mt.infer points="$frame" run_name=demo out="$DEMO/results"
echo
echo "Pictures, metrics.json and the result file are in $DEMO/results; the training run in $DEMO/runs/demo"
echo "Curves: $(dirname "$PYTHON")/tensorboard --logdir $DEMO/runs"
