#!/usr/bin/env bash
# The accuracy benchmark: one fixed simulated set, one training and one evaluation per task and seed.
# Called by `make sim-benchmark`; BENCHMARK is the output folder.
set -euo pipefail
: "${PYTHON:=python}" "${BENCHMARK:=sim_benchmark}" "${GRID:=small}" "${TASKS:=multitask detection segmentation}" "${SEEDS:=0}"
version=v1.0-trainval raw="$BENCHMARK/nuscenes" packed="$BENCHMARK/packed"
export LIDAR_MT_RUNS="$BENCHMARK/runs"
run() { echo; echo "\$ python -m $*"; "$PYTHON" -m "$@"; }

for split in train val; do
  if [ ! -f "$packed/$version/${split}_lmdb/manifest.json" ]; then
    if [ ! -f "$raw/$version/sample.json" ]; then
      run lidar_mt.simulate out="$raw" version=$version scenes=240 keyframes=8 sweeps=5 seed=0
    fi
    run lidar_mt.pack_data src="$raw" version=$version split=$split out="$packed"
  fi
done
for seed in $SEEDS; do
  for task in $TASKS; do
    name="sim_benchmark_${GRID}_${task}_seed$seed"
    losses="$task"
    if [ "$task" != detection ]; then losses="${task}_balanced"; fi
    keys=(experiment=sim_benchmark grid="$GRID" model="$task" task="$losses" seed="$seed" run_name="$name" paths.packed="$packed")
    if [ ! -f "$LIDAR_MT_RUNS/$name/published/float-last.ckpt" ]; then
      run lidar_mt.train stage=float resume=auto "${keys[@]}"
    fi
    run lidar_mt.evaluate stage=float "${keys[@]}" out="$BENCHMARK/results/$name"
  done
done
echo
echo "Scores and pictures of each run are in $BENCHMARK/results"
