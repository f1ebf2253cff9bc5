"""Models that never end, take gigabytes or crash: one sentence each, in every verb; what ran once is remembered."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device.conftest import CONTRACT, LABELS, tell

from edge_tl.device import artifact_choice, files, gates
from edge_tl.device.bench.workloads import startable, workloads
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput, BundleError, EdgeTLError
from edge_tl.device.runtimes import sandbox

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
Make = Callable[..., Path]


def _value(name: str, kind: int, shape: list[Any]) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _save(path: Path, nodes: list[Any], functions: tuple[Any, ...] = (), opset: int = 18) -> Path:
    """`x` (1, 3, 16, 16) to `y` (1, 3): the mean of each channel goes through `nodes`, from `mean` to `y`."""
    axes = onnx.numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    mean = onnx.helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=0)
    numbers = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [mean, *nodes], "g", [_value("x", numbers, [1, 3, 16, 16])], [_value("y", numbers, [1, 3])], [axes]
    )
    opsets = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("local", 1)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def endless(path: Path) -> Path:
    """A Loop without a count, whose condition is true for every input there is."""
    true = onnx.helper.make_node("Constant", [], ["on"], value=onnx.numpy_helper.from_array(np.array(True)))
    return _save(path, [true, _loop()])


def endless_in_the_light(path: Path) -> Path:
    """The same where a pixel is brighter than noise of -2 to 2 ever is."""
    two = onnx.numpy_helper.from_array(np.float32(2.0))
    nodes = [
        onnx.helper.make_node("Constant", [], ["two"], value=two),
        onnx.helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        onnx.helper.make_node("Greater", ["most", "two"], ["on"]),
    ]
    return _save(path, [*nodes, _loop()])


def _loop() -> Any:
    """Begun where `on` is true; once begun it does not end."""
    numbers, boolean, count = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL, onnx.TensorProto.INT64
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Clip", ["s_in"], ["s_out"]),
            onnx.helper.make_node("ReduceSum", ["s_out"], ["sum"], keepdims=0),
            onnx.helper.make_node("Less", ["sum", "big"], ["go_on"]),
        ],
        "body",
        [_value("i", count, []), _value("c", boolean, []), _value("s_in", numbers, [1, 3])],
        [_value("go_on", boolean, []), _value("s_out", numbers, [1, 3])],
        [onnx.numpy_helper.from_array(np.float32(1e30), "big")],
    )
    return onnx.helper.make_node("Loop", ["", "on", "mean"], ["y"], body=body)


def huge(path: Path) -> Path:
    """5.9 GB for the sum of as many numbers."""
    shape = onnx.numpy_helper.from_array(np.array([1_475_000_000], np.int64))
    value = onnx.numpy_helper.from_array(np.ones(1, np.float32))
    return _save(
        path,
        [
            onnx.helper.make_node("Constant", [], ["shape"], value=shape),
            onnx.helper.make_node("ConstantOfShape", ["shape"], ["many"], value=value),
            onnx.helper.make_node("ReduceSum", ["many"], ["sum"], keepdims=0),
            onnx.helper.make_node("Add", ["mean", "sum"], ["y"]),
        ],
    )


def exponential(path: Path, depth: int = 28) -> Path:
    """Functions that each call the next one twice: as nodes, 2^28."""
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("local", 1)]
    functions = []
    for level in range(depth):
        inner = f"f{level + 1}" if level + 1 < depth else "Neg"
        domain = "local" if level + 1 < depth else ""
        nodes = [
            onnx.helper.make_node(inner, ["a"], ["b"], domain=domain),
            onnx.helper.make_node(inner, ["b"], ["c"], domain=domain),
        ]
        functions.append(onnx.helper.make_function("local", f"f{level}", ["a"], ["c"], nodes, opsets))
    return _save(path, [onnx.helper.make_node("f0", ["mean"], ["y"], domain="local")], tuple(functions))


def honest(path: Path) -> Path:
    return _save(path, [onnx.helper.make_node("Neg", ["mean"], ["y"])])


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is remembered from other tests; a cache of its own."""
    monkeypatch.setattr(sandbox, "_ran", set())
    monkeypatch.setenv(sandbox.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def no_more(*arguments: object) -> dict[str, Any]:
    raise AssertionError("a process was started")


@pytest.mark.parametrize(
    ("make", "variable", "value"),
    [
        (endless, sandbox.SECONDS_VARIABLE, "8"),
        (endless_in_the_light, sandbox.SECONDS_VARIABLE, "8"),
        (huge, sandbox.MEMORY_VARIABLE, None),
        (exponential, sandbox.SECONDS_VARIABLE, "8"),
    ],
    ids=["endless", "endless in the light", "huge", "exponential"],
)
def test_it_is_ended_and_becomes_one_sentence(
    make: Make, variable: str, value: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value:
        monkeypatch.setenv(variable, value)
    with pytest.raises(BundleError, match=r"m\.onnx") as error:
        sandbox.smoke_test(make(tmp_path / "m.onnx"))
    assert "\n" not in str(error.value)
    assert "EDGE_TL_MODEL_" in str(error.value)
    assert list(tmp_path.glob("cache/models/*")) == []


def test_an_endless_loop_in_openvinos_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.convert_model(endless(tmp_path / "m.onnx")), tmp_path / "m.xml")
    monkeypatch.setenv(sandbox.SECONDS_VARIABLE, "8")
    with pytest.raises(BundleError, match=r"m\.xml: loading and a first run took more than 8 s"):
        sandbox.smoke_test(tmp_path / "m.xml")


def test_a_crash_of_the_runtime_names_the_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crashes.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setattr(sandbox, "WORKER", "crashes")
    with pytest.raises(BundleError, match=r"m\.onnx: a first run ended its process \(SIGSEGV\)"):
        sandbox.smoke_test(honest(tmp_path / "m.onnx"))


def test_what_ran_once_is_remembered_by_its_content(
    tmp_path: Path, forgetful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = honest(tmp_path / "m.onnx")
    sandbox.smoke_test(path)
    assert len(list((forgetful / "models").iterdir())) == 1
    monkeypatch.setattr(sandbox, "_run_worker", no_more)
    sandbox.smoke_test(path)  # in this process
    monkeypatch.setattr(sandbox, "_ran", set())
    sandbox.smoke_test(path)  # on disk
    sandbox.smoke_test(Path(path.rename(tmp_path / "other name.onnx")))
    with pytest.raises(AssertionError, match="started"):  # other content
        sandbox.smoke_test(endless(path))
    with pytest.raises(AssertionError, match="started"):  # another device
        sandbox.smoke_test(tmp_path / "other name.onnx", "CUDA")
    monkeypatch.setattr(sandbox, "_ran", set())
    for off in ("", "off"):
        monkeypatch.setenv(sandbox.CACHE_VARIABLE, off)
        assert sandbox.cache_folder() is None
        with pytest.raises(AssertionError, match="started"):
            sandbox.smoke_test(tmp_path / "other name.onnx")
    sandbox.mark_tested(endless(path))  # made here
    sandbox.smoke_test(path)


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch(0o600)
    monkeypatch.setenv(sandbox.CACHE_VARIABLE, str(tmp_path / "file"))
    ran: list[str] = []
    first = sandbox._run_worker

    def counted(*given: Any) -> Any:
        ran.append(given[0].name)
        return first(*given)

    monkeypatch.setattr(sandbox, "_run_worker", counted)
    path = honest(tmp_path / "m.onnx")
    sandbox.smoke_test(path)
    sandbox.smoke_test(path)
    assert ran == ["m.onnx"]  # it ran, and this process knows
    monkeypatch.setattr(sandbox, "_ran", set())
    sandbox.smoke_test(path)
    assert ran == ["m.onnx"] * 2  # the disk does not
    assert (tmp_path / "file").read_bytes() == b""


def test_what_ran_at_one_size_is_not_admitted_at_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = honest(tmp_path / "m.onnx")
    sandbox.mark_tested(path, size=(16, 16))
    monkeypatch.setattr(sandbox, "_run_worker", no_more)
    sandbox.smoke_test(path, size=(16, 16))
    for size in (None, (512, 512)):
        with pytest.raises(AssertionError, match="started"):
            sandbox.smoke_test(path, size=size)


def test_verify_admits_at_the_bundles_size(bundle_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, sizes = read_bundle(bundle_root), []
    monkeypatch.setattr(sandbox, "smoke_test", lambda path, device, size=None: sizes.append(size))
    gates.verify(read)
    assert sizes == [read.preprocess.input_size] * len(sizes) != []


def test_what_was_not_used_for_the_longest_is_forgotten(
    tmp_path: Path, forgetful: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_MOST_KEPT", 3)
    models = forgetful / "models"
    models.mkdir(mode=0o700, parents=True)
    old = [models / (f"{number}" * 64) for number in range(4)]
    for number, path in enumerate(old):
        path.touch()
        os.utime(path, (number, number))
    (models / "notes.txt").write_text("not ours")
    old[0].write_text("not ours either")
    sandbox.mark_tested(honest(tmp_path / "m.onnx"))
    left = {path.name for path in models.iterdir()}
    assert {"notes.txt", old[0].name, old[3].name} < left
    assert len(left) == 4  # three that count, and the note


def test_what_was_checked_with_the_bundle_is_not_hashed_again(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = read_bundle(bundle_root).artifacts[0]
    hashed: list[Path] = []
    whole = files.sha256_file

    def counted(path: Path, **more: Any) -> str:
        hashed.append(path)
        return whole(path, **more)

    monkeypatch.setattr(files, "sha256_file", counted)
    sandbox.mark_tested(artifact.path)
    sandbox.smoke_test(artifact.path)
    assert hashed == []
    content = bytearray(artifact.path.read_bytes())
    content[-1] ^= 1
    artifact.path.write_bytes(content)  # as long as before
    monkeypatch.setattr(sandbox, "_run_worker", no_more)
    with pytest.raises(AssertionError, match="started"):
        sandbox.smoke_test(artifact.path)
    assert artifact.path in hashed


def test_a_file_name_is_not_why_memory_ran_out(tmp_path: Path) -> None:
    path = tmp_path / "memory bad_alloc.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(BundleError, match="cannot load memory bad_alloc"):
        sandbox.smoke_test(path)


@pytest.mark.skipif(os.name != "posix", reason="mode bits")
def test_a_cache_that_others_can_write_to_is_not_believed(forgetful: Path) -> None:
    forgetful.mkdir()
    assert sandbox.cache_folder() == forgetful
    for mode in (0o777, 0o770, 0o702):
        forgetful.chmod(mode)
        assert sandbox.cache_folder() is None


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sandbox.CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sandbox.cache_folder() == tmp_path / "edge-tl"


def test_limits_grow_with_the_file_and_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    small, big, monster = (sandbox.sandbox_limits(mb << 20, "CPU") for mb in (4, 1000, 1 << 20))
    assert small.seconds < big.seconds < monster.seconds <= 3600
    assert small.megabytes < 2048 < big.megabytes
    monkeypatch.setenv(sandbox.SECONDS_VARIABLE, "soon")
    with pytest.raises(BadInput, match="EDGE_TL_MODEL_SECONDS=soon"):
        sandbox.sandbox_limits(1, "CPU")


@pytest.fixture
def foreign(bundle_root: Path, reseal: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole and sealed bundle whose ONNX models never end."""
    for path in bundle_root.glob("*.onnx"):
        tell(endless(path), LABELS, CONTRACT)
    reseal(bundle_root)
    monkeypatch.setenv(sandbox.SECONDS_VARIABLE, "6")
    return bundle_root


def test_every_verb_refuses_it(foreign: Path) -> None:
    read = read_bundle(foreign)
    name = next(a.id for a in read.artifacts if a.path.suffix == ".onnx")
    with pytest.raises(BundleError, match="took more than 6 s"):
        gates.verify(read, artifacts=[name])
    with pytest.raises(BundleError, match="took more than 6 s"):
        artifact_choice.open_best(read, name)
    with pytest.raises(EdgeTLError, match=f"bench: {name} could not run: .*took more than 6 s"):
        startable(workloads(read, [read.artifact(name)]))
