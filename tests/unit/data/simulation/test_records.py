import re

from lidar_mt.data.simulation.records import Namer, link, merge


def test_tokens_depend_on_every_part():
    tokens = [
        Namer(seed, version).token(*parts)
        for seed in (0, 1)
        for version in ("v1.0-mini", "v1.0-trainval")
        for parts in (("sample", "scene-0061", 1), ("sample", "scene-0061", 11), ("sample", "scene-0103", 1))
    ]
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)
    assert Namer(0, "v1.0-mini").token("sample", "scene-0061", 1) == tokens[0]


def test_link_and_merge():
    chain = link([{"token": "a"}, {"token": "b"}, {"token": "c"}])
    assert [(r["prev"], r["next"]) for r in chain] == [("", "b"), ("a", "c"), ("b", "")]
    assert merge([{"x": [{"i": 1}]}, {"x": [{"i": 2}], "y": []}]) == {"x": [{"i": 1}, {"i": 2}], "y": []}
