#!/usr/bin/env bash
# The accuracy benchmark: one fixed simulated set; per task and seed the stages of STAGES, each trained and scored.
# Called by `make sim-benchmark`; BENCHMARK is the output folder.
set -euo pipefail
: "${PYTHON:=python}" "${BENCHMARK:=sim_benchmark}" "${GRID:=small}" "${TASKS:=multitask detection segmentation}" "${SEEDS:=0}" "${STAGES:=float}"
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
    for stage in $STAGES; do
      if [ "$stage" = int8 ]; then
        run lidar_mt.export "${keys[@]}" overwrite=true
        for runtime in onnxruntime openvino; do
          run lidar_mt.evaluate stage=int8 runtime="$runtime" "${keys[@]}" out="$BENCHMARK/results/$name/int8_$runtime"
        done
        continue
      fi
      length=()
      if [ "$stage" = qat ]; then length=(trainer.max_epochs=1); fi
      resume=(resume=auto)
      if [ "$stage" = calibrate ]; then resume=(); fi
      if [ ! -f "$LIDAR_MT_RUNS/$name/published/$stage-last.ckpt" ]; then
        run lidar_mt.train stage="$stage" ${resume[@]+"${resume[@]}"} "${keys[@]}" ${length[@]+"${length[@]}"}
      fi
      run lidar_mt.evaluate stage="$stage" "${keys[@]}" out="$BENCHMARK/results/$name/$stage"
    done
  done
done
echo
"$PYTHON" benchmarks/score_table.py "$LIDAR_MT_RUNS"
echo "Scores and pictures of each run are in $BENCHMARK/results"
