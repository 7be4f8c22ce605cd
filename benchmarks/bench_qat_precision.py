"""Steps of QAT in float32 and in bfloat16 autocast, in turn on the same batches: forward, losses, backward, optimizer.

    python benchmarks/bench_qat_precision.py experiment=sim_benchmark paths.packed=DIR stage.start=FILE.ckpt

Keys are those of `lidar_mt.train`; BENCH_STEPS=24 and BENCH_THREADS=1 set the number of steps of each and of threads.
Processor time, which other work on the machine disturbs less, and the ratio of each pair.
"""

from __future__ import annotations

import copy
import itertools
import os
import statistics
import sys
import time

import torch

from lidar_mt.config import compose
from lidar_mt.config.build import build_datamodule, build_module
from lidar_mt.config.stages import read_start
from lidar_mt.engine.lit_module import LidarMultiTaskModule
from lidar_mt.structures.sample import Batch


def step_s(module: LidarMultiTaskModule, optimizer: torch.optim.Optimizer, batch: Batch, *, bf16: bool) -> list[float]:
    """Processor seconds of forward and losses, backward, and optimizer, and the loss."""
    marks = [time.process_time()]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss, _ = module.loss_terms(module(batch.points), batch)
    marks.append(time.process_time())
    loss.backward()
    marks.append(time.process_time())
    torch.nn.utils.clip_grad_norm_(module.net.parameters(), 35.0)
    optimizer.step()
    optimizer.zero_grad()
    marks.append(time.process_time())
    return [after - before for before, after in itertools.pairwise(marks)] + [loss.item()]


def main() -> None:
    steps, threads = int(os.environ.get("BENCH_STEPS", "24")), int(os.environ.get("BENCH_THREADS", "1"))
    torch.set_num_threads(threads)
    cfg = compose("train", ["stage=qat", "metric=none", *sys.argv[1:]])
    module = build_module(cfg, total_steps=1, start=read_start(cfg)).train()
    modules = {"float32": module, "bfloat16": copy.deepcopy(module)}
    optimizers = {
        name: torch.optim.SGD(each.net.parameters(), lr=cfg.optimizer.lr, momentum=0.9)
        for name, each in modules.items()
    }
    rows: dict[str, list[list[float]]] = {name: [] for name in modules}
    loader = build_datamodule(cfg).train_dataloader()
    for number, batch in enumerate(loader):
        if number > steps:
            break
        # Each is first in every second step; what the first one leaves in caches helps the other.
        for name in list(modules) if number % 2 else list(modules)[::-1]:
            row = step_s(modules[name], optimizers[name], batch, bf16=name == "bfloat16")
            if number:  # the first step warms up
                rows[name].append(row)
        told = [f"{name} {sum(found[-1][:3]):.2f} s, loss {found[-1][3]:.3f}" for name, found in rows.items() if found]
        print(f"step {number}/{steps}: {'; '.join(told)}", flush=True)
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{len(rows['float32'])} steps of {cfg.data.batch_size} samples, {threads} threads, {load}")
    for name, found in rows.items():
        forward, backward, update, _ = (statistics.median(column) for column in zip(*found, strict=True))
        total = [sum(row[:3]) for row in found]
        low, high = min(total), max(total)
        print(
            f"{name:9} {statistics.median(total):.2f} s of processor time ({low:.2f} to {high:.2f}), "
            f"forward and losses {forward:.2f}, backward {backward:.2f}, optimizer {update:.2f}"
        )
    pairs = list(zip(rows["bfloat16"], rows["float32"], strict=True))
    ratios = sorted(sum(rough[:3]) / sum(exact[:3]) for rough, exact in pairs)
    losses = [abs(rough[3] / exact[3] - 1) for rough, exact in pairs]
    print(f"bfloat16 / float32: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")
    print(f"losses differ by {100 * statistics.median(losses):.2f} % in the middle, {100 * max(losses):.2f} % at most")


if __name__ == "__main__":
    main()
