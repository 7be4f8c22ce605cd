from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from lidar_mt.quantization.arithmetic import Quantized
from lidar_mt.quantization.modules import Settings, quantizers, set_mode
from lidar_mt.quantization.prepare import prepare
from lidar_mt.quantization.report import rows, uncalled_modules, write_table
from lidar_mt.quantization.spec import build_exceptions, build_scheme


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 1, 1)
        self.left_over = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.first(x), 2)
        return self.last(torch.sigmoid(self.second(x) + x))


def test_every_module_and_all_that_stays_in_float_is_named(tmp_path: Path) -> None:
    net = Net().eval()
    rules = build_exceptions([("second", "float")])
    prepared = prepare(net, Settings(build_scheme("u8", "float")), rules)
    set_mode(prepared, "observe")
    with torch.no_grad():
        prepared(Quantized(torch.rand(1, 3, 8, 8)))
    for _, quantizer in quantizers(prepared):
        quantizer.choose()
    short = write_table(prepared, tmp_path / "run/table.txt", "scheme u8", uncalled_modules(net, prepared))
    by_name = {row.module: row for row in rows(prepared)}
    assert by_name["first.0"].kind == "conv + relu"
    assert by_name["first.0"].output == "uint8 zero 0"
    assert by_name["first.0"].granularity == "weights per channel, result per tensor"
    assert float(by_name["first.0"].scale) > 0
    assert by_name["second"].weights == by_name["second"].output == "float"
    assert by_name["last"].output == "accumulator"
    assert by_name["keep"].output == "as input"
    assert by_name["operation"].kind == "float sigmoid"
    words = {line.split()[0]: line for line in short.splitlines()}
    assert "operation" in words["float"]
    assert "by exception: second" in short
    assert "left_over" in words["never"]
    assert "1 outputs" in words["accumulators"]
    text = (tmp_path / "run/table.txt").read_text()
    assert text.startswith(short)
    assert all(name in text for name in by_name)
    assert "never called: left_over" in text
