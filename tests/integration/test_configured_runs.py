"""Every experiment and debug mode starts; runs say what they do differently; a multirun keeps its jobs apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lidar_mt.config import CONF_DIR

VERSION = "v1.0-mini"
TINY = ["grid.voxel_size=[1.6,1.6,8.0]", f"data.version={VERSION}", "data.num_workers=0", "data.batch_size=1"]
ONE_TASK = ["model=segmentation", "task=segmentation", "callbacks.pictures=null", "trainer.precision=32-true"]


def options(group: str) -> list[str]:
    return sorted(path.stem for path in Path(CONF_DIR, group).glob("*.yaml"))


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """A packed simulated set of six keyframes with its GT database."""
    root = tmp_path_factory.mktemp("data")
    monkeypatch = pytest.MonkeyPatch()
    from lidar_mt.create_data import main as create
    from lidar_mt.pack_data import main as pack
    from lidar_mt.simulate import main as simulate

    raw, packed = root / "nuscenes", root / "packed"
    for main, arguments in [
        (simulate, [f"out={raw}", f"version={VERSION}", "scenes=3", "keyframes=2", "seed=2", "sweeps=0", "workers=1"]),
        (pack, [f"src={raw}", f"version={VERSION}", "split=train", f"out={packed}", "workers=1"]),
        (pack, [f"src={raw}", f"version={VERSION}", "split=val", f"out={packed}", "workers=1"]),
        (create, [f"packed={packed}", f"version={VERSION}", "allow_empty=true", "workers=1"]),
    ]:
        monkeypatch.setattr("sys.argv", ["program", *arguments])
        main()
    monkeypatch.undo()
    return root


@pytest.fixture
def workspace(data_root, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIDAR_MT_DATA", str(data_root))
    monkeypatch.setenv("LIDAR_MT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return tmp_path


def run_folders(workspace: Path) -> list[Path]:
    return sorted(path.parent for path in (workspace / "runs").rglob("changes.yaml"))


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_starts(programs, workspace, name):
    outcome = programs("train", f"experiment={name}", *TINY, "debug=fast_dev_run", "callbacks.pictures=null")
    assert outcome.status == 0, outcome.err
    (folder,) = run_folders(workspace)
    changes = yaml.safe_load((folder / "changes.yaml").read_text())
    experiment = yaml.safe_load(Path(CONF_DIR, "experiment", f"{name}.yaml").read_text())
    assert changes["run_name"]["here"] == experiment["run_name"]
    assert changes["trainer.fast_dev_run"] == {"default": "(absent)", "here": 1}


@pytest.mark.parametrize("name", options("debug"))
def test_every_debug_mode_does_what_it_says(programs, workspace, name):
    short = [] if name == "fast_dev_run" else ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1"]
    outcome = programs("train", *TINY, *ONE_TASK, f"debug={name}", *short)
    assert outcome.status == 0, outcome.err
    (folder,) = run_folders(workspace)
    if name == "fast_dev_run":
        assert not list((workspace / "runs").rglob("*.ckpt"))
        return
    assert folder.parent.parent.name == "debug", "a debug run must not replace what a real one published"
    assert (folder / "checkpoints/last.ckpt").is_file()
    if name == "profiler":
        table = next(folder.glob("fit-profile*")).read_text()
        assert "optimizer_step" in table


def test_each_job_of_a_multirun_has_its_own_folder(programs, workspace):
    outcome = programs("train", "-m", *TINY, *ONE_TASK, "debug=limit", "logger=none", "optimizer.lr=1e-4,2e-4")
    assert outcome.status == 0, outcome.err
    folders = run_folders(workspace)
    assert [folder.name for folder in folders] == ["0", "1"]
    rates = []
    for folder in folders:
        rates.append(yaml.safe_load((folder / "config.yaml").read_text())["optimizer"]["lr"])
        assert (folder / "published/float-last.ckpt").is_file()
    assert rates == [1e-4, 2e-4]
    assert "optimizer.lr" in yaml.safe_load((folders[0] / "changes.yaml").read_text())
    assert "optimizer.lr" not in yaml.safe_load((folders[1] / "changes.yaml").read_text()), "2e-4 is the default"


def test_a_resumed_run_lists_the_keys_that_changed(programs, workspace):
    base = [*TINY, *ONE_TASK, "logger=none", "trainer.check_val_every_n_epoch=9"]
    assert programs("train", *base, "trainer.max_epochs=1").status == 0
    (checkpoint,) = (workspace / "runs/multitask/float").glob("*/checkpoints/last.ckpt")
    outcome = programs("train", *base, "trainer.max_epochs=2", "optimizer.weight_decay=0.02", f"resume={checkpoint}")
    assert outcome.status == 0, outcome.err
    told = next((workspace / "runs").rglob("train.log")).parent.parent
    log = "".join(path.read_text() for path in told.glob("*/train.log"))
    changes = log.split("changed since", 1)[1].splitlines()[1:3]
    assert changes == ["  optimizer.weight_decay: 0.01 -> 0.02", "  trainer.max_epochs: 1 -> 2"]


@pytest.mark.parametrize(
    "mistake",
    [
        "optimizer.lrr=1",
        "+optimizer.lrr=1",
        "trainer.max_epoch=3",
        "+epcohs=3",
        "data.batch_size=abc",
        "trainer.max_epochs=1.5",
        "+model.neck.out_channels.leve4=64",
        "+callbacks.bst.monitor=val/loss",
        "callbacks.best.monitor=val/NSD",
        "~optimizer",
        "logger=null",
    ],
)
def test_a_mistake_stops_the_program_before_it_looks_for_data(programs, workspace, mistake):
    outcome = programs("train", mistake, f"paths.root={workspace / 'nothing here'}")
    assert outcome.status == 2
    assert "error: " in outcome.err
    assert "lmdb" not in outcome.err
    assert "Traceback" not in outcome.err
    assert mistake.lstrip("+~").split("=")[0].split(".")[0] in outcome.err
