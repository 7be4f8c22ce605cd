from __future__ import annotations

import torch

from lidar_mt.tasks.segmentation.head import SegmentationHead


def test_size_and_shape_of_the_reference_head() -> None:
    head = SegmentationHead(128, ("others", "driveable_surface")).eval()
    assert sum(p.numel() for p in head.parameters()) == 15_106
    assert head(torch.zeros(2, 128, 8, 12)).logits.shape == (2, 2, 8, 12)


def test_classifier_starts_near_zero() -> None:
    torch.manual_seed(0)
    classifier = SegmentationHead(128, ("a",) * 50).classifier
    assert 0.009 < float(classifier.weight.std()) < 0.011
    assert not classifier.bias.any()


def test_training_drops_whole_channels() -> None:
    torch.manual_seed(0)
    head = SegmentationHead(16, ("a", "b"), dropout=0.5)
    dropped: list[torch.Tensor] = []
    head.classifier.register_forward_pre_hook(lambda _m, args: dropped.append(args[0]))
    x = torch.rand(4, 16, 8, 8)
    head.train()(x)
    empty = (dropped[0] == 0).flatten(2).all(dim=2).float().mean()
    assert 0.3 < float(empty) < 0.7
    head.eval()
    assert torch.equal(head(x).logits, head(x).logits)
