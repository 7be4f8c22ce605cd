"""Counts the classes of a packed split, as it is and as class-balanced sampling (CBGS) shows it: a table and a plot.

    python -m lidar_mt.count_classes version=v1.0-mini split=train

Useful keys:
    version=NAME      packed version under paths.packed
    split=train       its split
    packed=DIR        another packed root
    seed=0            of the draw; that of the training
    run_name=demo     or runs/<run_name> as that place
    out=DIR           where <version>_<split>_classes.png goes
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.table import Table

from lidar_mt.config import instantiate, program
from lidar_mt.data.cbgs import ClassCounts, count_classes, draw_epoch, split_counts, warn_absent
from lidar_mt.data.layout import store_path
from lidar_mt.structures.classes import Classes
from lidar_mt.visualization.class_counts import draw_class_counts
from lidar_mt.visualization.figure import save_figure


@program("count_classes")
def main(cfg: DictConfig) -> None:
    """Reads the split's boxes, draws one epoch and reports both."""
    classes: Classes = instantiate(cfg.classes)
    store = store_path(cfg.packed, cfg.version, cfg.split)
    boxes = split_counts(store, classes.detection)
    warn_absent(boxes, classes.detection, store)
    before = count_classes(boxes, np.arange(len(boxes)))
    after = count_classes(boxes, draw_epoch(boxes > 0, cfg.seed))
    Console().print(render(classes.detection, before, after, f"{cfg.version} {cfg.split}"))
    path = Path(cfg.out) / f"{cfg.version}_{cfg.split}_classes.png"
    title = f"{cfg.version} {cfg.split}: samples of an epoch that contain a class"
    save_figure(draw_class_counts(classes.detection, before.keyframes, after.keyframes, title), path)
    print(f"plot in {path}; python -m lidar_mt.train data.cbgs=true trains on the balanced list")


def render(names: tuple[str, ...], before: ClassCounts, after: ClassCounts, title: str) -> Table:
    """A row per class: samples of an epoch that contain it, their share, and its boxes, before and after.

    Args:
        names: class names.
        before: of the split as it is.
        after: of one class-balanced epoch.
        title: of the table.
    """
    table = Table(title=f"Classes of {title}, as it is and class-balanced", title_justify="left", box=box.SIMPLE)
    table.add_column("class", no_wrap=True)
    for header in ("samples", "samples\nCBGS", "%", "%\nCBGS", "boxes", "boxes\nCBGS"):
        table.add_column(header, justify="right", no_wrap=True)
    for label, name in enumerate(names):
        shares = [100 * counts.keyframes[label] / max(1, counts.samples) for counts in (before, after)]
        table.add_row(
            name,
            *(f"{counts.keyframes[label]:,}" for counts in (before, after)),
            *(f"{share:.1f}" for share in shares),
            *(f"{counts.boxes[label]:,}" for counts in (before, after)),
        )
    table.add_section()
    boxes = [f"{counts.boxes.sum():,}" for counts in (before, after)]
    table.add_row("all", f"{before.samples:,}", f"{after.samples:,}", "", "", *boxes, style="bold")
    return table


if __name__ == "__main__":
    main()
