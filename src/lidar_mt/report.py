"""One page about a run: scores of all stages and runtimes, curves, parity, sensitivity, compile estimates, pictures.

    python -m lidar_mt.report run_name=demo

Useful keys:
    run_name=demo    whose runs and scores: runs/<run_name>
    out=FILE.html    the page; runs/<run_name>/report.html by default

The page shows what is there, and names the commands that add what is not. Train, evaluate (each stage and runtime),
`parity`, `sensitivity` and `compile` fill it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec
from omegaconf import DictConfig, OmegaConf

from lidar_mt.config import program
from lidar_mt.config.commands import told_command
from lidar_mt.config.origin import is_current
from lidar_mt.config.places import STAGES, shared_arguments
from lidar_mt.deploy.board_report import FLAGGED_SHARE, BoardReport, decode_report
from lidar_mt.deploy.board_text import bound_rows, notes, roofline_note, slowest_rows, total_rows
from lidar_mt.engine.board_reading import read_curves
from lidar_mt.metrics.json_files import write_parts
from lidar_mt.metrics.scoreboard import (
    BASELINE,
    SCORES,
    Score,
    comparison_rows,
    is_source,
    picture_folder,
    read_scores,
)
from lidar_mt.structures.errors import DataError
from lidar_mt.visualization.html_page import HtmlPage
from lidar_mt.visualization.training_curves import draw_training_curves

log = logging.getLogger("lidar_mt.report")

#: Program and arguments that make a part.
_MADE_BY = {
    "scores": ("evaluate", "stage=float"),
    "pictures": ("evaluate", "stage=float"),
    "curves": ("train", "stage=float"),
    "parity": ("parity",),
    "sensitivity": ("sensitivity", "stage=calibrate"),
    "compile estimate": ("compile", "target=ethos_u85"),
    "configuration": ("train", "stage=float"),
}
#: Of them, those that take what a training takes; and what of it belongs to one training alone.
_WITH_RECIPE = ("evaluate", "train", "parity", "sensitivity")
_OF_A_RUN = ("stage", "resume=", "debug=", "trainer.max_", "optimizer", "quant", "run_name=")
_TRAINED = ("float", "qat")
_CHARTS = {
    "loss": ("train/loss", "val/loss"),
    "validation": ("val/NDS", "val/mAP", "val/mIoU"),
    "learning rate": ("optimizer/learning_rate",),
}
#: Layers of a compiled network that the page shows at once.
_SLOWEST = 12
_KINDS = {"best": "found best", "worst": "found worst"}


@program("report")
def main(cfg: DictConfig) -> None:
    """Writes the page and says what is not in it."""
    run, published, out = Path(cfg.paths.runs) / cfg.run_name, Path(cfg.paths.published), Path(cfg.out)
    if not run.is_dir():
        raise DataError(_no_run(cfg, run))
    page = HtmlPage(f"lidar_mt: {cfg.run_name}", f"everything under {run} that was there when this page was written")
    scores = read_scores(published / SCORES)
    missing = [
        name
        for name, added in (
            ("scores", _add_scores(page, scores)),
            ("pictures", _add_pictures(page, scores, published / SCORES)),
            ("curves", _add_curves(page, run)),
            ("parity", _add_parity(page, run, published)),
            ("sensitivity", _add_sensitivity(page, run, published)),
            ("compile estimate", _add_compiled(page, published, cfg.run_name)),
            ("configuration", _add_configuration(page, run)),
        )
        if not added
    ]
    if len(missing) == len(_MADE_BY) and not published.is_dir():
        raise DataError(_no_run(cfg, run))
    commands = {name: _command(name, cfg.run_name, run) for name in missing}
    _add_missing(page, commands)
    write_parts(out, [page.text().encode()])
    for name, command in commands.items():
        log.info("no %s yet; %s", name, command)
    log.info("%s, %.1f MB; it opens in any browser, without a network", out, out.stat().st_size / 1e6)


def _no_run(cfg: DictConfig, run: Path) -> str:
    return f"no run at {run}; run `python -m lidar_mt.train run_name={cfg.run_name}` or choose run_name"


def _add_missing(page: HtmlPage, commands: dict[str, str]) -> None:
    if commands:
        page.section("Not on this page")
        page.paragraph("What is missing, and the command that adds it. Write the page anew afterwards.")
        page.table([], [[name, command] for name, command in commands.items()], words=True)


def _command(part: str, run_name: str, run: Path) -> str:
    """The command that adds a part, with what the newest training run was given."""
    program, *own = _MADE_BY[part]
    files = (path for stage in STAGES for path in run.glob(f"{stage}/*/.hydra/overrides.yaml"))
    overrides = sorted(files, key=lambda path: path.parents[1].name)
    given = [str(item) for item in OmegaConf.load(overrides[-1])] if overrides and program in _WITH_RECIPE else []
    kept = [item for item in shared_arguments(given) if not item.lstrip("+").startswith(_OF_A_RUN)]
    return told_command(program, [*own, *kept, f"run_name={run_name}"])


def _add_scores(page: HtmlPage, scores: list[Score]) -> bool:
    for data, samples in dict.fromkeys((score.data, score.samples) for score in scores):
        header, rows = comparison_rows(scores, data, samples)
        page.section(f"Scores on {data}")
        same = {score.name for score in scores if (score.data, score.samples) == (data, samples)}
        compared = "; small: the difference to float" if BASELINE in same and len(same) > 1 else ""
        page.paragraph(f"{samples} samples. Shares in percent, errors in their units{compared}.")
        page.table(header, rows)
    return bool(scores)


def _add_pictures(page: HtmlPage, scores: list[Score], folder: Path) -> bool:
    # One kind of data: a frame looks different with other sweeps.
    chosen = [(score, picture_folder(folder, score)) for score in scores if score.frames]
    chosen = [(score, place) for score, place in chosen if score.data == chosen[0][0].data]
    drawn = {score.name: (score, place) for score, place in chosen if place.is_dir()}
    if chosen:
        page.section("Frames")
    for score, place in chosen:
        if score.name not in drawn:
            page.paragraph(f"The pictures of {score.name} were in {place}, which is no more; evaluate it again.")
    if not drawn:
        return False
    names = list(drawn)
    page.paragraph(
        f"The frames whose boxes {names[0]} found best and worst; truth left, prediction right. A click enlarges."
    )
    # The network to start from, and the one that is deployed, or as near as there is.
    shown = [drawn[name] for name in dict.fromkeys([names[0], names[-1]])]
    for frame in dict.fromkeys(frame for score, _ in drawn.values() for frame in score.frames):
        kind, _, number = frame.partition("_")
        page.heading(f"{_KINDS.get(kind, kind)}, {int(number) + 1}")
        page.pictures([(place / f"{frame}.png", score.name.replace("_", " ")) for score, place in shown])
    return True


def _add_curves(page: HtmlPage, run: Path) -> bool:
    found = False
    for stage in _TRAINED:
        folders = sorted((run / stage).glob("*/tensorboard"))
        curves = read_curves(folders) if folders else {}
        charts = {title: _lines(curves, prefixes) for title, prefixes in _CHARTS.items()}
        charts = {title: lines for title, lines in charts.items() if lines}
        if not charts:
            continue
        if not found:
            page.section("Training")
        figure = draw_training_curves(charts, f"stage {stage}", exact=("learning rate",))
        absent = [title for title in _CHARTS if title not in charts]
        lacks = f"; nothing was logged for {', '.join(absent)}" if absent else ""
        page.figure(figure, f"{stage}: {len(folders)} run{'s' * (len(folders) > 1)}{lacks}")
        found = True
    return found


def _lines(curves: dict[str, list[tuple[int, float]]], prefixes: tuple[str, ...]) -> dict[str, list[tuple[int, float]]]:
    names = [name for prefix in prefixes for name in curves if name == prefix or name.startswith(f"{prefix}-")]
    return {name: curves[name] for name in names if curves[name]}


def _add_parity(page: HtmlPage, run: Path, published: Path) -> bool:
    folder = _newest_current(page, "Parity", run.glob("parity/*/parity.json"), published)
    if folder is None:
        return False
    told = (folder / "parity.txt").read_text(encoding="utf-8")
    page.paragraph(", ".join(told.partition("\n\n")[0].splitlines()))
    page.pictures([(path, path.stem.replace("_", " ")) for path in sorted(folder.glob("*.png"))])
    page.text_block("every output and layer", told)
    return True


def _add_sensitivity(page: HtmlPage, run: Path, published: Path) -> bool:
    folder = _newest_current(page, "Sensitivity", run.glob("sensitivity_*/*/sensitivity.json"), published)
    if folder is None:
        return False
    page.pictures([(path, "one layer quantized at a time") for path in sorted(folder.glob("*.png"))])
    page.text_block("every layer", (folder / "sensitivity.txt").read_text(encoding="utf-8"))
    return True


def _add_compiled(page: HtmlPage, published: Path, run_name: str) -> bool:
    reports = sorted(published.glob("compiled/*/report.txt"))
    if reports:
        page.section("Compiled")
        page.paragraph("An estimate is the compiler's model of the device, not a run of it. What was measured says so.")
    for path in reports:
        report, wrong = _read_board(path.with_name("report.json"), published)
        if report is None or wrong:
            target = path.parent.name if report is None else report.target
            own = [] if target == path.parent.name else [f"out={path.parent}"]
            again = told_command("compile", [f"target={target}", f"run_name={run_name}", *own, "overwrite=true"])
            log.warning("%s is %s; compile again: %s", path.parent, wrong, again)
            page.heading(f"target {target}")
            page.paragraph(f"{path.parent} is {wrong}; compile again: {again}")
            continue
        text = path.read_text(encoding="utf-8")
        page.heading(text.partition("\n")[0])
        _add_board(page, report)
        page.text_block("every layer, and the sources of the bounds", text)
    return bool(reports)


def _read_board(path: Path, published: Path) -> tuple[BoardReport | None, str]:
    """A compiler's report, and what is wrong with it: it must be of an artefact that is still there, unchanged."""
    try:
        report = decode_report(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None, "not complete, or of another version"
    fits = is_source(published / report.source_name, report.source)
    return report, "" if fits else "of another network" if report.source else "of an older version"


def _add_board(page: HtmlPage, report: BoardReport) -> None:
    page.table([], total_rows(report), words=True)
    for note in notes(report):
        page.paragraph(note)
    if report.layers:
        flagged = len(report.flagged())
        share = f"{FLAGGED_SHARE:.0%} of the time"
        page.paragraph(
            f"The {min(_SLOWEST, len(report.layers))} slowest of {len(report.layers)} layers; "
            + (f"! marks {flagged} above {share}." if flagged else f"none takes more than {share}.")
        )
        page.table(
            ["layer", "operators", "ms", "share", "bound ms", "MMAC", "MAC use", "SRAM ms", "DRAM ms"],
            slowest_rows(report, _SLOWEST),
        )
    page.paragraph(roofline_note(report))
    page.table(["device", "computing", "memory", "at least"], bound_rows(report))


def _add_configuration(page: HtmlPage, run: Path) -> bool:
    found = False
    for stage in STAGES:
        folder = _newest(run.glob(f"{stage}/*/config.yaml"))
        if folder is None:
            continue
        if not found:
            page.section("Configuration")
        for name, title in (
            ("changes.yaml", "what differs from the defaults"),
            ("quant_table.txt", "number formats"),
            ("config.yaml", "all keys"),
        ):
            if (folder / name).is_file():
                page.text_block(f"{stage}: {title}", (folder / name).read_text(encoding="utf-8"))
        found = True
    return found


def _newest_current(page: HtmlPage, title: str, files: Iterable[Path], published: Path) -> Path | None:
    """The newest of the folders whose result is of the networks that are there now; opens a section where there is any.

    Args:
        page: takes the section, and where all results are stale the word about them.
        title: of the section.
        files: JSON files of the results.
        published: see `is_current`.
    """
    found = list(files)
    if not found:
        return None
    page.section(title)
    folder = _newest(path for path in found if is_current(path, published))
    if folder is None:
        stale = _newest(found)
        page.paragraph(
            f"{stale} is of another network than the one that is there now, or does not say of which; run it again "
            "with the command at the end of this page."
        )
    return folder


def _newest(files: Iterable[Path]) -> Path | None:
    """The folder of the newest of some files."""
    paths = sorted(files, key=lambda path: path.stat().st_mtime)
    return paths[-1].parent if paths else None


if __name__ == "__main__":
    main()
