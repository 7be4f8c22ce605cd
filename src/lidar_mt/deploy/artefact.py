"""The exported network as a folder: written in one step, checked in full when it is read.

network.onnx     features, coords -> outputs
canvas.onnx      canvas of codes -> outputs, for those who encode pillars in their fast form
network.tflite   the same two as TFLite; left out where the codes have 16 bits or tflite is not installed
canvas.tflite
board.tflite     canvas -> int32 accumulators, for the compiler of an NPU
integers.msgpack the integer graph that defines both
report.txt       for people
config.yaml      what the network was built from and how its outputs are decoded
signature.json   names, shapes, grid, classes, preprocessing, checksums of the others
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lidar_mt.deploy.integer_file import decode_graph, encode_graph
from lidar_mt.deploy.signature import FileSpec, Signature, decode_signature, encode_signature
from lidar_mt.quantization.integer_graph import IntegerGraph, Scatter
from lidar_mt.structures.errors import ArtefactError

NETWORK, FROM_CANVAS, FROM_CANVAS_ONNXRUNTIME, INTEGERS, REPORT, CONFIG, SIGNATURE = (
    "network.onnx",
    "canvas.onnx",
    "canvas_onnxruntime.onnx",
    "integers.msgpack",
    "report.txt",
    "config.yaml",
    "signature.json",
)
_FILES = (NETWORK, FROM_CANVAS, FROM_CANVAS_ONNXRUNTIME, INTEGERS, REPORT, CONFIG)
NETWORK_TFLITE, FROM_CANVAS_TFLITE, BOARD_TFLITE = _TFLITE = ("network.tflite", "canvas.tflite", "board.tflite")
#: A signature is a few kilobytes.
_MAX_SIGNATURE_BYTES = 2**20


@dataclass(frozen=True)
class Artefact:
    """An exported network in memory.

    Attributes:
        signature: names, shapes and meaning.
        graph: the integers.
        network: ONNX file from features and coords.
        from_canvas: ONNX file from the canvas.
        from_canvas_onnxruntime: the same in onnxruntime's fastest form.
        report: text for people.
        config: YAML that evaluation builds tasks and decoders from; nothing that computes the network reads it.
        tflite_network: TFLite file from features and coords; empty where there is none.
        tflite_from_canvas: TFLite file from the canvas.
        tflite_for_board: the same with integer results, for the compiler of an NPU.
    """

    signature: Signature
    graph: IntegerGraph
    network: bytes
    from_canvas: bytes
    from_canvas_onnxruntime: bytes
    report: str = ""
    config: str = ""
    tflite_network: bytes = b""
    tflite_from_canvas: bytes = b""
    tflite_for_board: bytes = b""


def write_artefact(artefact: Artefact, folder: Path, *, overwrite: bool = False) -> Artefact:
    """Writes the folder; nobody ever sees a part of it.

    Args:
        artefact: what to write.
        folder: target; its parents are made.
        overwrite: replace an artefact that is there already.

    Returns:
        The artefact with the checksums of its files.

    Raises:
        ArtefactError: something stands in the way, or the disk is full or not writable.
    """
    files = {
        NETWORK: artefact.network,
        FROM_CANVAS: artefact.from_canvas,
        FROM_CANVAS_ONNXRUNTIME: artefact.from_canvas_onnxruntime,
        INTEGERS: encode_graph(artefact.graph),
        REPORT: artefact.report.encode(),
        CONFIG: artefact.config.encode(),
    }
    tflite = (artefact.tflite_network, artefact.tflite_from_canvas, artefact.tflite_for_board)
    files |= {name: data for name, data in zip(_TFLITE, tflite, strict=True) if data}
    specs = {name: FileSpec(len(data), hashlib.sha256(data).hexdigest()) for name, data in files.items()}
    files[SIGNATURE] = encode_signature(msgspec.structs.replace(artefact.signature, files=specs))
    if folder.exists() and not (overwrite and (folder / SIGNATURE).is_file()):
        hint = "choose another folder" + (" or set overwrite=true" if (folder / SIGNATURE).is_file() else "")
        raise ArtefactError(f"{folder} exists already; {hint}")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(temporary, folder)
    except OSError as error:
        raise ArtefactError(f"cannot write {folder}: {error.strerror}; free space or choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_artefact(folder)


def read_artefact(folder: Path) -> Artefact:
    """Reads a folder and checks everything in it; needs neither onnx nor a runtime.

    Raises:
        ArtefactError: a file is missing, short, altered or not what it says to be.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        raise ArtefactError(f"no artefact at {folder}: it has no {SIGNATURE}; run `python -m lidar_mt.export`")
    if path.stat().st_size > _MAX_SIGNATURE_BYTES:
        raise ArtefactError(f"{path} has {path.stat().st_size} bytes and is no signature; export the network again")
    with _naming(folder):
        signature = decode_signature(_read(path))
        found = set(signature.files)
        if found not in (set(_FILES), {*_FILES, *_TFLITE}):
            raise ArtefactError(
                f"the files are {sorted(found)}, expected {sorted(_FILES)} and all or none of {_TFLITE}"
            )
        files = {name: _read_checked(folder / name, spec) for name, spec in signature.files.items()}
        graph = decode_graph(files[INTEGERS])
        _check_match(signature, graph)
    return Artefact(
        signature=signature,
        graph=graph,
        network=files[NETWORK],
        from_canvas=files[FROM_CANVAS],
        from_canvas_onnxruntime=files[FROM_CANVAS_ONNXRUNTIME],
        report=files[REPORT].decode("utf-8", errors="replace"),
        config=files[CONFIG].decode("utf-8", errors="replace"),
        tflite_network=files.get(NETWORK_TFLITE, b""),
        tflite_from_canvas=files.get(FROM_CANVAS_TFLITE, b""),
        tflite_for_board=files.get(BOARD_TFLITE, b""),
    )


def _check_match(signature: Signature, graph: IntegerGraph) -> None:
    same = (
        len(graph.outputs) == len(signature.outputs)
        and (graph.scheme, graph.scales) == (signature.scheme, signature.scales)
        and graph.inputs == tuple(spec.name for spec in signature.inputs)
        and all(step.shape == signature.canvas.shape[1:3] for step in graph.steps if isinstance(step, Scatter))
    )
    if not same:
        raise ArtefactError("the integer graph is not the one that signature.json describes; export the network again")


def _read_checked(path: Path, spec: FileSpec) -> bytes:
    if not path.is_file():
        raise ArtefactError(f"{path.name} is missing; export the network again")
    size = path.stat().st_size
    if size != spec.size:
        raise ArtefactError(f"{path.name} has {size} bytes, expected {spec.size}; copy it again or export again")
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != spec.sha256:
        raise ArtefactError(f"{path.name} was altered: it does not fit its checksum; copy it again or export again")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtefactError(f"cannot read {path}: {error.strerror}") from error


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Renames; an artefact that is replaced steps aside first and is there until the new one is."""
    if not folder.exists():
        temporary.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old.tmp")
    folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _naming(folder: Path) -> Iterator[None]:
    """Adds the folder to the messages of what is read inside."""
    try:
        yield
    except ArtefactError as error:
        raise ArtefactError(f"{folder}: {error}") from error
