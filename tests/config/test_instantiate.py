import pytest
from omegaconf import OmegaConf

from lidar_mt.config import instantiate
from lidar_mt.structures.errors import ConfigError
from lidar_mt.structures.grid import Grid

HOSTILE = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.Popen",
    "subprocess.check_output",
    "torch.load",
    "torch.hub.load",
    "torch.serialization.load",
    "torch.jit.load",
    "numpy.load",
    "pickle.loads",
    "shutil.rmtree",
    "pathlib.Path.unlink",
    "importlib.import_module",
    "runpy.run_path",
    "urllib.request.urlopen",
    "hydra.utils.instantiate",
    "lidar_mt.__class__",
    "lidar_mt._private.thing",
    "torch.nn.",
    "torch.nn..Linear",
    "torch.nnx.Linear",
    "lidar_mt",
    "",
    "pytorch_lightning.Trainer.__init__.__globals__",
    "lidar_mt.engine.checkpoint.torch.load",
    "lidar_mt.engine.checkpoint.pickle.loads",
    "lidar_mt.simulate.os.getcwd",
    "lidar_mt.engine.checkpoint.read_checkpoint",
    "torch.nn.modules.module.torch.hub.load",
    "pytorch_lightning.callbacks.model_checkpoint.torch.load",
    "lidar_mt.engine.checkpoint.Path",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_hostile_targets_are_refused_before_anything_runs(target, tmp_path):
    witness = tmp_path / "witness"
    node = OmegaConf.create(
        {"inner": [{"_target_": target, "_args_": [f"touch {witness}"]}], "_target_": "torch.nn.ReLU"}
    )
    with pytest.raises(ConfigError, match="allowed"):
        instantiate(node)
    assert not witness.exists()


def test_allowed_target_builds_and_nested_containers_are_plain():
    node = OmegaConf.create(
        {
            "_target_": "lidar_mt.structures.grid.Grid",
            "point_cloud_range": [-6.4, -6.4, -5, 6.4, 6.4, 3],
            "voxel_size": [0.2, 0.2, 8],
        }
    )
    grid = instantiate(node)
    assert isinstance(grid, Grid)
    assert grid.shape == (64, 64)


def test_own_package_is_allowed_once_trusted(monkeypatch):
    node = OmegaConf.create({"_target_": "collections.Counter"})
    with pytest.raises(ConfigError, match="LIDAR_MT_TRUSTED_PACKAGES"):
        instantiate(node)
    monkeypatch.setenv("LIDAR_MT_TRUSTED_PACKAGES", "other, collections")
    assert instantiate(node) == {}
