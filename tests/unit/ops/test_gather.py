import torch

from lidar_mt.ops.gather import gather_cells


def test_values_come_from_row_times_width_plus_column():
    maps = torch.randn(2, 3, 4, 5)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = gather_cells(maps.to(memory_format=layout), torch.tensor([[7, 19], [0, 4]]))
        wanted = torch.stack(
            [torch.stack([maps[0, :, 1, 2], maps[0, :, 3, 4]]), torch.stack([maps[1, :, 0, 0], maps[1, :, 0, 4]])]
        )
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)
