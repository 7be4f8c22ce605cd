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
results="$DEMO/results"
frame=$(find "$raw/samples/LIDAR_TOP" -name '*scene-0003*.pcd.bin' | sort | tail -n 1)  # the first validation scene
run lidar_mt.train stage=float experiment=demo
run lidar_mt.evaluate stage=float experiment=demo out="$results/float"
run lidar_mt.train stage=calibrate experiment=demo
run lidar_mt.evaluate stage=calibrate experiment=demo out="$results/calibrate"
run lidar_mt.sensitivity stage=calibrate experiment=demo samples=4
run lidar_mt.train stage=qat experiment=demo trainer.max_epochs=1
run lidar_mt.evaluate stage=qat experiment=demo out="$results/qat"
run lidar_mt.export experiment=demo overwrite=true
for runtime in integer onnxruntime openvino; do
  run lidar_mt.evaluate stage=int8 runtime=$runtime experiment=demo out="$results/int8_$runtime"
done
run lidar_mt.parity a=qat b=int8:onnxruntime experiment=demo
run lidar_mt.compile target=ethos_u85 run_name=demo overwrite=true
run lidar_mt.infer points="$frame" stage=int8 runtime=openvino run_name=demo out="$results"
run lidar_mt.report run_name=demo out="$results/report.html"
echo
echo "All in one page: $results/report.html; pictures and scores of each stage beside it; the runs in $DEMO/runs/demo"
echo "Curves: $(dirname "$PYTHON")/tensorboard --logdir $DEMO/runs"
