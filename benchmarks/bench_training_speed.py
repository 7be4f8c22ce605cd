"""Whole training steps, ours against the same network in plain PyTorch form, on the same batches and first weights.

    python benchmarks/bench_training_speed.py PACKED [--version v1.0-mini] [--batch 1] [--turns 12]

PACKED is a folder that `pack_data` wrote. A step is voxelization, network, targets, losses, backward pass, clipping
and AdamW. Every form trains in a process of its own, so that each has its own peak of memory; they take turns, one
step each, so that a slow spell of the machine hits all of them, and the ratio is taken per turn. A plain form with
other dropout and batches in another order shows how far loss curves lie apart by chance.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from plain_form import PlainForm

from lidar_mt.config import compose
from lidar_mt.config.build import build_datamodule, build_module
from lidar_mt.data.collate import collate
from lidar_mt.data.memory import keep_freed_memory


class Form(NamedTuple):
    """One way of training: form of the network, precision, compiled or not, seed of dropout and order."""

    name: str
    plain: bool
    bf16: bool = False
    torch_compile: bool = False
    seed: int = 0


class Outcome(NamedTuple):
    """Seconds, loss and peak resident memory [bytes] so far, after one step."""

    seconds: float
    loss: float
    peak_bytes: int


FORMS = (
    Form("plain, float32", plain=True),
    Form("ours, float32", plain=False),
    Form("ours, bfloat16 autocast", plain=False, bf16=True),
    Form("plain, other order and dropout", plain=True, seed=1),
)
COMPILED = Form("ours, bfloat16, torch_compile", plain=False, bf16=True, torch_compile=True)


def train(form: Form, args: argparse.Namespace, pipe: Connection) -> None:
    """Takes one step for each message and answers with an `Outcome`."""
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if not form.plain and device.type == "cpu":
        keep_freed_memory()
    cfg = compose(
        "train",
        [f"paths.packed={args.packed}", f"data.version={args.version}", f"grid={args.grid}", "augmentation=default"],
    )
    torch.manual_seed(0)
    module = build_module(cfg, total_steps=args.turns).to(device).train()
    if form.plain:
        module.net = PlainForm(module.net, module.voxelizer.max_pillars_train)
    elif form.torch_compile:
        module.net.forward_canvas = torch.compile(module.net.forward_canvas)
    optimizer = torch.optim.AdamW(module.net.parameters(), lr=1e-3, weight_decay=0.01)
    dataset = build_datamodule(cfg).dataset(training=True)
    generator = torch.Generator().manual_seed(form.seed)
    torch.manual_seed(form.seed)
    while pipe.recv():
        at = torch.randint(len(dataset), (args.batch,), generator=generator).tolist()
        batch = module.transfer_batch_to_device(collate([dataset[i] for i in at]), device, 0)
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=form.bf16):
            loss, _ = module.loss_terms(module(batch.points), batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.net.parameters(), 35.0)
        optimizer.step()
        value = loss.item()  # waits for a GPU
        pipe.send(Outcome(time.perf_counter() - start, value, peak_bytes(device)))


def peak_bytes(device: torch.device) -> int:
    """Peak of the process on the device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s*(\d+)", status)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("--version", default="v1.0-mini")
    parser.add_argument("--grid", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="with torch.compile as one more form")
    args = parser.parse_args()
    forms = (*FORMS, COMPILED) if args.compile else FORMS
    context = multiprocessing.get_context("spawn")
    pipes = []
    for form in forms:
        here, there = context.Pipe()
        context.Process(target=train, args=(form, args, there), daemon=True).start()
        pipes.append(here)
    turns = []
    for turn in range(args.turns):
        outcomes = []
        for pipe in pipes:
            pipe.send(True)
            outcomes.append(pipe.recv())
        turns.append(outcomes)
        print(f"turn {turn}: " + "  ".join(f"{one.seconds:.2f} s {one.loss:.2f}" for one in outcomes), flush=True)
    for pipe in pipes:
        pipe.send(False)
    report(forms, turns, args)


def report(forms: tuple[Form, ...], turns: list[list[Outcome]], args: argparse.Namespace) -> None:
    timed = turns[args.warm_up :]
    print(f"{args.grid} grid, batch {args.batch}, {args.threads} threads, {args.device}, {len(timed)} turns")
    for i, form in enumerate(forms):
        seconds = statistics.median(turn[i].seconds for turn in timed)
        ratios = sorted(turn[0].seconds / turn[i].seconds for turn in timed)
        apart = statistics.mean(abs(turn[i].loss - turn[0].loss) / turn[0].loss for turn in turns)
        print(
            f"{form.name:32} {seconds:6.3f} s  {statistics.median(ratios):5.2f} times as fast"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})  peak {turns[-1][i].peak_bytes / 2**30:.2f} GiB"
            f"  loss apart by {apart:.2%}, at the end {turns[-1][i].loss:.3f}"
        )


if __name__ == "__main__":
    main()
