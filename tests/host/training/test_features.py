"""Features of the frozen backbone: PyTorch's numbers, computed once, and a cache that a kill cannot poison."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from edge_tl.device.errors import ReadError
from edge_tl.device.images import grey, reading
from edge_tl.device.images.decode import ALIKE
from edge_tl.host.images import listing
from edge_tl.host.images.dataset import Sample, sources
from edge_tl.host.models import architecture, zoo
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.weights import EMBEDDED_FILE, PretrainedModel, open_pretrained
from edge_tl.host.runs import provenance
from edge_tl.host.training import backbone, features


@pytest.fixture(scope="module")
def source() -> PretrainedModel:
    return open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=64))


@pytest.fixture(scope="module")
def opened(source: PretrainedModel, tmp_path_factory: pytest.TempPathFactory) -> backbone.Backbone:
    """The backbone, exported once: the tests below open many caches of the same one."""
    scratch = tmp_path_factory.mktemp("backbone")
    return backbone.open_backbone(source, scratch, threads=2, on_gpu=False)


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu(opened: backbone.Backbone) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        patch.setattr(backbone, "open_backbone", lambda source, scratch, threads, on_gpu: opened)
        yield


@pytest.fixture(scope="module")
def samples(images: Path) -> list[Sample]:
    """40 images: three batches, the last one not full; one of them is broken."""
    found = listing.list_images(images)
    broken = [s for s in found.samples if s.path.endswith("broken.png")]
    return found.samples[::4][:13] + broken + found.samples[1::4][:26]


@pytest.fixture(scope="module")
def extract(source: PretrainedModel, images: Path) -> Callable[..., features.Features]:
    def run(samples: list[Sample], folder: Path, **changes: Any) -> features.Features:
        return features.extract(replace(source, **changes), samples, sources(images, samples), folder)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the cache of `fresh`; do not write to it."""
    return tmp_path_factory.mktemp("fresh") / "run"


@pytest.fixture(scope="module")
def fresh(
    extract: Callable[..., Any], samples: list[Sample], folder: Path, on_the_cpu: None
) -> features.Features:
    result: features.Features = extract(samples, folder)
    return result


def good(samples: list[Sample]) -> list[Sample]:
    return [s for s in samples if not s.path.endswith("broken.png")]


def same(a: features.Features, b: features.Features, samples: list[Sample]) -> None:
    assert a.bad == b.bad
    np.testing.assert_allclose(a.of(good(samples)), b.of(good(samples)), rtol=1e-4, atol=1e-4)


def test_the_features_are_eager_pytorchs(
    source: PretrainedModel, images: Path, samples: list[Sample], fresh: features.Features
):
    model = backbone.backbone(source)
    inputs = np.stack([source.contract.apply(images / s.path) for s in good(samples)])
    with torch.inference_mode():
        expected = model(torch.from_numpy(inputs)).numpy()
    got = fresh.of(good(samples))
    assert got.shape == expected.shape == (39, architecture.feature_width(source.model, source.head))
    assert float(np.abs(got - expected).max()) <= 1e-4 * float(np.abs(expected).max())


def test_the_backbone_is_a_copy(source: PretrainedModel):
    before = {k: v.clone() for k, v in source.model.state_dict().items()}
    backbone.backbone(source).train()
    assert isinstance(architecture.get_head(source.model, source.head), torch.nn.Linear)
    assert not source.model.training
    assert all(torch.equal(v, before[k]) for k, v in source.model.state_dict().items())


def test_what_cannot_be_decoded_is_named_and_remembered(
    extract: Callable[..., Any], samples: list[Sample], fresh: features.Features, folder: Path
):
    assert fresh.computed == len({s.digest for s in samples}) == 40
    (reason,) = fresh.bad.values()
    assert "not an image" in reason
    again = extract(samples[::-1], folder)
    assert (again.computed, again.runtime, again.bad) == (0, "cache", fresh.bad)
    np.testing.assert_array_equal(again.of(good(samples)), fresh.of(good(samples)))


def test_the_caches_of_runs_beside_it_are_used(
    extract: Callable[..., Any], samples: list[Sample], fresh: features.Features, tmp_path: Path
):
    extract(samples[:10], tmp_path / "runs" / "a")
    extract(samples[10:30], tmp_path / "runs" / "b")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs").rglob("*")}
    third = extract(samples, tmp_path / "runs" / "c")
    assert third.computed == 10
    same(third, fresh, samples)
    assert all(path.stat().st_mtime_ns == when for path, when in before.items() if path.is_file())


def test_a_bad_image_that_only_a_neighbour_knows_is_still_bad(
    extract: Callable[..., Any], samples: list[Sample], fresh: features.Features, tmp_path: Path
):
    broken = [s for s in samples if s not in good(samples)]
    extract(broken, tmp_path / "runs" / "all-broken")
    extract(good(samples), tmp_path / "runs" / "all-good")
    same(extract(samples, tmp_path / "runs" / "new"), fresh, samples)


def cut(path: Path, where: float) -> None:
    """Keep this fraction of a file, plus three bytes so that no record ends there; below 0 delete it."""
    if where < 0:
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[: int(where * len(content)) + 3] if where else b"")


def kill(folder: Path, rows: float | int | None, index: float | str | None, width: int) -> None:
    (data_file,), (index_file,) = folder.rglob("rows.f32"), folder.rglob("index.jsonl")
    if isinstance(rows, float):
        cut(data_file, rows)
    elif rows is not None:
        data_file.write_bytes(data_file.read_bytes()[: rows * width * 4])
    if isinstance(index, float):
        cut(index_file, index)
    elif index is not None:
        content = index_file.read_bytes()
        lines = content.split(b"\n")
        head = b"\n".join(lines[:20])
        index_file.write_bytes({"line": head + b"\n", "newline": head, "torn": head + lines[20][:-5]}[index])


@pytest.mark.parametrize("index", [None, "line", "newline", "torn", 0.4, 0.0, -1.0])
@pytest.mark.parametrize("rows", [None, 16, 17, 0.5, -1.0])
def test_a_kill_at_any_moment_leaves_the_features_right(
    extract: Callable[..., Any],
    samples: list[Sample],
    fresh: features.Features,
    folder: Path,
    tmp_path: Path,
    rows: float | int | None,
    index: float | str | None,
):
    killed = tmp_path / "runs" / "killed"
    shutil.copytree(folder, killed)
    kill(killed, rows, index, fresh.array.shape[1])
    first = extract(samples, killed)
    assert first.computed > 0 or (rows, index) == (None, None)
    same(first, fresh, samples)
    again = extract(samples, killed)
    assert again.computed == 0
    same(again, fresh, samples)


def test_a_lost_row_is_never_replaced_by_another_images(
    extract: Callable[..., Any], samples: list[Sample], fresh: features.Features, tmp_path: Path
):
    """Power loss kept the index and lost rows; the next run of the folder has other images."""
    folder = tmp_path / "runs" / "lost"
    known, new = good(samples)[:20], good(samples)[20:]
    extract(known, folder)
    kill(folder, 5, None, fresh.array.shape[1])
    extract(new, folder)
    got = extract(good(samples), folder).of(known)
    wrong = np.abs(got - fresh.of(known)).max(axis=1) > 1e-3
    assert not wrong.any(), f"{wrong.sum()} of {len(known)} images have another image's features"


def test_other_weights_contracts_and_versions_have_other_caches(
    extract: Callable[..., Any],
    source: PretrainedModel,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    few, folder = samples[:3], tmp_path / "runs" / "a"
    assert extract(few, folder).computed == 3
    contract = replace(source.contract, interpolation="bilinear")
    assert extract(few, folder, contract=contract).computed == 3
    other = open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=64)).model
    with torch.no_grad():
        statistics = other.get_submodule("features.0.1").running_mean
        assert isinstance(statistics, torch.Tensor)
        statistics[0] += 1e-6
    assert extract(few, folder, model=other).computed == 3
    head = open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=64)).model
    weight = architecture.get_head(head, source.head).weight
    assert isinstance(weight, torch.Tensor)
    torch.nn.init.ones_(weight)
    assert extract(few, folder, model=head).computed == 0  # the head is not part of the backbone
    versions = {"torch": "9.9"}
    monkeypatch.setattr(features, "version", lambda name: versions.get(name, "1"))
    assert extract(few, folder).computed == 3
    assert len(list((folder / "features").iterdir())) == 4


def test_another_network_of_the_same_weights_and_another_edge_tl_have_other_caches(
    extract: Callable[..., Any], samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """MobileNetV3 with ReLU for its hard swish has the same tensors, and other features."""
    few, folder = samples[:3], tmp_path / "runs" / "a"
    assert extract(few, folder).computed == 3
    assert extract(few, folder, name="factory:elsewhere:mobilenet_v3_small").computed == 3
    monkeypatch.setattr("edge_tl.host.runs.provenance.__version__", "9.9")
    assert extract(few, folder).computed == 3
    own = provenance.version
    monkeypatch.setattr(provenance, "version", lambda name: "9.9" if name == "timm" else own(name))
    assert extract(few, folder).computed == 3
    assert len(list((folder / "features").iterdir())) == 4


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), MemoryError(), OSError(errno.EIO, "I/O error")],
    ids=repr,
)
def test_what_only_passes_leaves_no_image_out_now_or_later(
    error: Exception,
    extract: Callable[..., Any],
    samples: list[Sample],
    fresh: features.Features,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(reading, "_PAUSES", (0.0,))
    real, calls, folder = reading._file, [0], tmp_path / "runs" / "a"

    def flaky(path: str, most: float) -> bytes:
        calls[0] += 1
        if calls[0] == 20:
            raise error
        return real(path, most)

    monkeypatch.setattr(reading, "_file", flaky)
    same(extract(samples, folder), fresh, samples)

    broken = samples[25]

    def failing(path: str, most: float) -> bytes:
        if path.endswith(broken.path):
            raise error
        return real(path, most)

    monkeypatch.setattr(reading, "_file", failing)
    folder = tmp_path / "elsewhere" / "runs" / "b"
    with pytest.raises(ReadError, match=Path(broken.path).name):
        extract(samples, folder)
    monkeypatch.setattr(reading, "_file", real)
    again = extract(samples, folder)
    assert again.computed > 0
    same(again, fresh, samples)


def test_what_its_bytes_do_not_say_holds_for_this_run_only(
    extract: Callable[..., Any], images: Path, tmp_path: Path, source: PretrainedModel
):
    for i, name in enumerate(("a.png", "b.png")):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (90, 90, 3), np.uint8)).save(
            tmp_path / name
        )
    (tmp_path / "text.png").write_text("text")
    few = [Sample(str(tmp_path / name), 0, name) for name in ("a.png", "b.png", "text.png")]
    (tmp_path / "b.png").rename(tmp_path / "hidden.png")
    folder = tmp_path / "runs" / "a"
    limited = extract(few, folder, contract=replace(source.contract, max_pixels=100))
    assert sorted(limited.bad) == ["a.png", "b.png", "text.png"]
    assert "too many pixels" in limited.bad["a.png"]
    (tmp_path / "hidden.png").rename(tmp_path / "b.png")
    free = extract(few, folder)
    assert (sorted(free.bad), free.computed) == (["text.png"], 2)


def test_remarks_are_kept_with_the_features(extract: Callable[..., Any], tmp_path: Path):
    Image.new("RGB", (90, 90)).save(tmp_path / "black.png")
    Image.fromarray(np.random.default_rng(0).random((90, 90), np.float32)).save(tmp_path / "float.tif")
    few = [Sample(str(tmp_path / name), 0, name) for name in ("black.png", "float.tif")]
    want = {"black.png": ALIKE, "float.tif": grey.UNIT}
    assert extract(few, tmp_path / "runs" / "a").remarks == want
    assert extract(few, tmp_path / "runs" / "a").remarks == want
    assert extract(few, tmp_path / "runs" / "b").remarks == want


def test_finetuning_leaves_every_bit_of_the_backbone(run: Path):
    """BatchNorm statistics too: the run's file against the published asset."""
    asset = safetensors.torch.load_file(Path(zoo.__file__).parents[1] / "assets" / EMBEDDED_FILE)
    saved = safetensors.torch.load_file(run / "model.safetensors")
    backbone = {k for k in saved if not k.startswith("classifier.")}
    assert len([k for k in backbone if "running_" in k]) > 60
    for key in sorted(backbone & set(asset)):
        assert torch.equal(saved[key], asset[key].to(saved[key].dtype)), key
    assert all(key.endswith("num_batches_tracked") for key in backbone - set(asset))
    assert saved["classifier.0.weight"].shape == (3, 576)
