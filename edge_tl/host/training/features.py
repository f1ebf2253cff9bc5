"""The frozen backbone, run once over the images; a later head or learning rate starts from the cache. Trains nothing.

Features are float32 `(n, d)`: what the model's last linear layer reads, in evaluation mode, so BatchNorm statistics and
dropout stay still. The cache is a folder named by a key over contract, weights and versions.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.images.loader import load_batches
from edge_tl.device.images.reading import EncodedImage
from edge_tl.device.listener import SILENT, Listener
from edge_tl.host import accelerator
from edge_tl.host.images.dataset import Sample
from edge_tl.host.models import architecture
from edge_tl.host.models.weights import PretrainedModel
from edge_tl.host.runs.provenance import OF_PIXELS, package_versions
from edge_tl.host.training import backbone, distributed
from edge_tl.host.training.feature_store import FeatureStore, of_digests

FOLDER = "features"
_BATCH, _GPU_BATCH = 16, 128


@dataclass(frozen=True)
class Features:
    """`rows` maps an image's digest to its row of `array`, float32 `(n, d)`; `bad` a digest to its fault, `remarks` to
    what had to be assumed to decode it."""

    array: NDArray[np.float32]
    rows: dict[str, int]
    bad: dict[str, str]
    computed: int
    runtime: str
    remarks: dict[str, str] = field(default_factory=dict)

    def of(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """The features of `samples`, in their order."""
        return self.array[[self.rows[s.digest] for s in samples]]


def extract(
    source: PretrainedModel,
    samples: Sequence[Sample],
    images: Sequence[EncodedImage],
    run: Path,
    *,
    listener: Listener = SILENT,
) -> Features:
    """Features of every distinct image, from this run's cache, from the caches of the runs beside it (read only), or
    computed now and kept in `run`. `images` are the encoded files of `samples`, in their order.

    Several processes share the work by whole batches, and the main one puts their rows together in the order in
    which one process alone would have written them: the cache is the same, bit for bit. Only what an image's bytes say
    is kept. Raises `ReadError` when an image cannot be read now.
    """
    width = architecture.feature_width(source.model, source.head)
    device = accelerator.device()
    on_gpu = device.type != "cpu"
    key = _key(source, f"{device.type} bf16" if accelerator.has_bf16(device) else device.type)
    if distributed.is_main():
        _recover_parts(run / FOLDER / key, width)
    distributed.wait()
    own = FeatureStore.open(run / FOLDER / key, width)
    stores = [own] + [
        FeatureStore.open(folder, width)
        for folder in sorted(run.parent.glob(f"*/{FOLDER}/{key}"))
        if folder != own.folder
    ]
    wanted = {s.digest: image for s, image in zip(samples, images, strict=True)}
    have = {digest for store in stores for digest in (*store.rows, *store.bad)}
    todo = [(digest, image) for digest, image in wanted.items() if digest not in have]
    distributed.wait()  # nobody writes before everybody has read
    runtime_name = "cache"
    if todo:
        with tempfile.TemporaryDirectory() as scratch:
            opened = backbone.open_backbone(
                source, Path(scratch), threads=distributed.threads(), on_gpu=on_gpu
            )
            runtime_name = opened.runtime
            _compute(source, opened, todo, own, _GPU_BATCH if on_gpu else _BATCH, listener)
    return _gather(stores, list(wanted), len(todo), runtime_name)


def _compute(
    source: PretrainedModel,
    opened: backbone.Backbone,
    todo: list[tuple[str, EncodedImage]],
    own: FeatureStore,
    size: int,
    listener: Listener,
) -> None:
    """Append the features of `todo` to `own`; where there are several processes, through a store of each."""
    rank, count = distributed.rank(), distributed.count()
    chunks = [range(start, min(start + size, len(todo))) for start in range(0, len(todo), size)]
    mine = [i for chunk in chunks[rank::count] for i in chunk]
    store = (
        own if count == 1 else FeatureStore(own.folder.with_name(f"{own.folder.name}.part{rank}"), own.width)
    )
    done = 0
    listener.progress("features", done, len(mine))
    for batch in load_batches(source.contract, [todo[i][1] for i in mine], size=size):
        rows = opened.features(batch.inputs) if batch.indices else np.empty((0, own.width), np.float32)
        digests = [todo[mine[i]][0] for i in batch.indices]
        store.append(
            digests,
            rows,
            {todo[mine[i]][0]: reason for i, reason in batch.bad.items() if i not in batch.not_of_bytes},
            {todo[mine[i]][0]: remark for i, remark in batch.remarks.items()},
        )
        store.add_transient(
            {todo[mine[i]][0]: batch.bad[i] for i in sorted(batch.not_of_bytes)}, write=count > 1
        )
        done += len(batch.indices) + len(batch.bad)
        listener.progress("features", done, len(mine))
    if count == 1:
        return
    distributed.wait()
    parts = [
        FeatureStore.open(own.folder.with_name(f"{own.folder.name}.part{i}"), own.width) for i in range(count)
    ]
    for part in parts:
        own.transient |= part.transient
    if distributed.is_main():
        for number, chunk in enumerate(chunks):
            part = parts[number % count]
            digests = [todo[i][0] for i in chunk]
            good = [d for d in digests if d in part.rows]
            rows = (
                part.array()[[part.rows[d] for d in good]] if good else np.empty((0, own.width), np.float32)
            )
            own.append(good, rows, of_digests(part.bad, digests), of_digests(part.remarks, good))
    distributed.wait()
    if distributed.is_main():
        for part in parts:
            shutil.rmtree(part.folder, ignore_errors=True)
    else:
        whole = FeatureStore.open(own.folder, own.width)
        own.rows, own.bad, own.remarks = whole.rows, whole.bad, whole.remarks


def _recover_parts(folder: Path, width: int) -> None:
    """Put the rows that processes of a killed run had computed into the store of the run."""
    for leftover in sorted(folder.parent.glob(f"{folder.name}.part*")):
        own, part = FeatureStore.open(folder, width), FeatureStore.open(leftover, width)
        new = [d for d in part.rows if d not in own.rows]
        bad = {d: reason for d, reason in part.bad.items() if d not in own.bad}
        if new:
            own.append(new, part.array()[[part.rows[d] for d in new]], bad, of_digests(part.remarks, new))
        elif bad:
            own.append([], np.empty((0, width), np.float32), bad, {})
        shutil.rmtree(leftover)


def _gather(stores: list[FeatureStore], digests: list[str], computed: int, runtime: str) -> Features:
    remarks = {digest: text for store in stores for digest, text in store.remarks.items()}
    transient = {digest: fault for store in stores for digest, fault in store.transient.items()}
    if len([s for s in stores if s.rows]) == 1:  # the usual case: no copy, the map itself
        store = next(s for s in stores if s.rows)
        known = transient | {d: r for other in stores for d, r in other.bad.items()}
        bad = {d: r for d, r in known.items() if d not in store.rows}
        return Features(store.array(), store.rows, bad, computed, runtime, remarks)
    rows: dict[str, int] = {}
    bad = transient
    parts = [np.empty((0, stores[0].width), np.float32)]
    count = 0
    for store in stores:
        bad |= {d: r for d, r in store.bad.items() if d not in rows}
        mine = [d for d in digests if d in store.rows and d not in rows]
        if mine:
            parts.append(store.array()[[store.rows[d] for d in mine]])
            rows |= {d: count + i for i, d in enumerate(mine)}
            count += len(mine)
    return Features(np.concatenate(parts), rows, bad, computed, runtime, remarks)


def _key(source: PretrainedModel, device: str) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.backbone(source).state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    facts = {
        "weights": digest.hexdigest(),
        "contract": source.contract.to_json(),
        "device": device,
        "model": source.name,  # the same weights in another network give other features
        "versions": {name: version(name) for name in ("torch", "torchvision", "numpy")}
        | package_versions("edge-tl", "timm", *OF_PIXELS),
        "runtimes": {} if device != "cpu" else package_versions("openvino", "onnxruntime"),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
