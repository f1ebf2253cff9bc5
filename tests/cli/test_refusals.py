"""What the command line refuses, in one sentence that says what to do, with exit code 2; and how it is interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from PIL import Image

from edge_tl.device.bundle import read_bundle
from edge_tl.host.models import architecture

RunCli = Callable[..., Any]
REPOSITORY = Path(__file__).parents[2]
SMALL = ["--model", "mobilenet_v3_small", "--weights", "embedded", "--image-size", "64", "--strategy", "head"]


def refused(done: Any, *words: str) -> None:
    assert done.code == 2, done
    assert done.out == ""
    lines = done.err.splitlines()
    errors = [i for i, line in enumerate(lines) if line.startswith("error:")]
    assert len(errors) == 1, done.err
    assert len(lines) - errors[0] <= 2
    assert "Traceback" not in done.err
    assert "unexpected" not in done.err
    for word in words:
        assert word in lines[errors[0]]


@pytest.fixture
def digit(images: Path) -> bytes:
    return next(path for path in sorted(images.rglob("*.png"))).read_bytes()


def folder(root: Path, digit: bytes, **classes: int) -> Path:
    for label, count in classes.items():
        (root / label).mkdir(parents=True)
        for i in range(count):
            (root / label / f"{i}.png").write_bytes(digit + f"{label} {i}".encode())
    return root


def test_folders_that_are_no_data(run_cli: RunCli, tmp_path: Path, digit: bytes):
    refused(run_cli("finetune", "absent", *SMALL, "--json"), "no such folder", "absent")
    refused(
        run_cli("finetune", folder(tmp_path / "one", digit, only=4), *SMALL), "two classes or more", "'only'"
    )
    refused(
        run_cli("finetune", folder(tmp_path / "empty", digit, a=4, hollow=0), *SMALL), "'hollow' is empty"
    )
    refused(
        run_cli("finetune", folder(tmp_path / "few", digit, a=4, lonely=1), *SMALL), "'lonely' has 1 usable"
    )
    (tmp_path / "file.txt").write_text("")
    refused(run_cli("finetune", "file.txt", *SMALL), "not a data set", "file.txt")
    refused(run_cli("finetune", "own-folder", *SMALL), "no data.path")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {epoch: 3}", ["'train.epoch'", "'train.epochs'"]),
        ("trian: {epochs: 3}", ["'trian'", "'train'"]),
        ("- a", ["list"]),
        ("seed: [", ["not YAML"]),
        ("export: {max_drop: 200}", ["export.max_drop", "200 percentage points"]),
    ],
)
@pytest.mark.parametrize("verb", [["finetune"], ["recipes", "check"]])
def test_recipes_that_are_wrong(
    run_cli: RunCli, tmp_path: Path, text: str, words: list[str], verb: list[str]
):
    (tmp_path / "my.yaml").write_text(text)
    refused(run_cli(*verb, "my.yaml", "--json"), "my.yaml", *words)


@pytest.mark.parametrize("text", ["model: mobilenet_v2", "model:", "train: fast"])
def test_an_option_for_a_section_that_is_no_mapping(run_cli: RunCli, tmp_path: Path, text: str):
    (tmp_path / "my.yaml").write_text(text)
    refused(run_cli("finetune", "my.yaml", *SMALL, "--strategy", "head"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "lern_rate=1"], ["lern_rate"]),
        (["--set", "head.max_iter"], ["section.field=value"]),
        (["--set", "head.C=[]"], ["head.C"]),
        (["--set", "head.C=[.inf]"], ["head.C"]),
        (["--seed", "-1"], ["seed"]),
        (["--image-size", "16"], ["--image-size=16"]),
        (["--model", "resnet51"], ["'resnet51'", "Nearest: resnet50"]),
        (["--model", "mobilenet_v2"], ["Use --model mobilenet_v3_small"]),
        (["--weights", "imagnet"], ["no such file", "imagenet"]),
        (["--strategy", "lpft"], ["--strategy=lpft", "lp-ft"]),
    ],
)
def test_options_that_cannot_be(run_cli: RunCli, images: Path, options: list[str], words: list[str]):
    refused(run_cli("finetune", images, *SMALL, *options, "--json"), *words)


def test_weights_of_another_model(run_cli: RunCli, images: Path, tmp_path: Path):
    state = architecture.build("mobilenet_v3_small", 3).state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    options = ["--model", "efficientnet_b0", "--weights", "w.safetensors"]
    refused(run_cli("finetune", images, *options), "It fits --model mobilenet_v3_small")


@pytest.mark.parametrize(
    "name", ["model.int8.onnx", "model.fp32.bin", "golden/pixels.npz", "golden/images/00.png"]
)
def test_a_bundle_with_a_flipped_byte_or_a_missing_file(
    run_cli: RunCli, bundle: Path, tmp_path: Path, name: str
):
    shutil.copytree(bundle, tmp_path / "b")
    path = tmp_path / "b" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for verb in (["verify"], ["bench"], ["predict", bundle / "golden/images/00.png"]):
        refused(run_cli(verb[0], "b", *verb[1:], "--json"), "damaged file", name)
    path.unlink()
    refused(run_cli("verify", "b", "--json"), "missing file", name)


def test_a_stopped_run_says_the_command_that_goes_on(run_cli: RunCli, run: Path, tmp_path: Path):
    shutil.copytree(run, tmp_path / "stopped")
    (tmp_path / "stopped" / "run.json").unlink()
    refused(run_cli("export", "stopped"), "not a finished run", "edge-tl finetune stopped --resume")


def test_a_result_is_not_saved_over_a_file_of_somebody_elses(run_cli: RunCli, tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years")
    for words in (["verify", "b"], ["devices"], ["bench", "b"]):  # before anything is read
        refused(run_cli(*words, "--out", "thesis.tex"), "--out thesis.tex", "did not write")
    assert (tmp_path / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize(
    ("name", "content"),
    [("package.json", '{"name": "shop", "version": "1.0.0"}'), ("__init__.py", ""), ("broken.json", "{")],
)
def test_nor_over_json_that_edge_tl_did_not_write(run_cli: RunCli, tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    for words in (["verify", "b"], ["devices"], ["bench", "b"]):
        refused(run_cli(*words, "--out", name), f"--out {name}", "did not write")
    (tmp_path / "out").mkdir()
    (tmp_path / name).rename(tmp_path / "out" / "shed.json")
    refused(
        run_cli("devices", "--on", "shed", "--ssh", "false", "--out", "out"), "shed.json", "did not write"
    )
    assert (tmp_path / "out" / "shed.json").read_text() == content


@pytest.mark.parametrize("name", ["logo.svg", "photo.png"])
def test_nor_a_plot_over_somebody_elses_drawing(run_cli: RunCli, tmp_path: Path, name: str):
    if name.endswith("png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    else:
        (tmp_path / name).write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    content = (tmp_path / name).read_bytes()
    refused(run_cli("bench", "--compare", "r.json", "--plot", name), f"--plot {name}", "did not write")
    assert (tmp_path / name).read_bytes() == content


def test_a_result_of_the_same_verb_is_replaced(run_cli: RunCli, tmp_path: Path):
    for _ in range(2):
        assert run_cli("devices", "--out", "d.json").code == 0
    assert "runtimes" in json.loads((tmp_path / "d.json").read_text())


def test_a_text_file_given_as_an_image(run_cli: RunCli, bundle: Path, tmp_path: Path):
    (tmp_path / "note.png").write_text("I am a text")
    refused(run_cli("predict", bundle, "note.png", "--json"), "not a usable image", "note.png")
    refused(run_cli("predict", bundle, "absent.png", "--json"), "no such file", "absent.png")


def test_one_bad_image_among_good_ones_is_named_and_the_others_are_answered(
    run_cli: RunCli, bundle: Path, tmp_path: Path
):
    (tmp_path / "note.png").write_text("I am a text")
    good = sorted((bundle / "golden/images").iterdir())[:2]
    done = run_cli("predict", bundle, good[0], "note.png", "absent.png", good[1], "--json")
    assert done.code == 2
    assert set(done.json) == {"artifact", "device", "tuned", "threads", "results", "failed"}
    assert [row["image"] for row in done.json["results"]] == list(map(str, good))
    assert [row["image"] for row in done.json["failed"]] == ["note.png", "absent.png"]
    assert "no such file" in done.json["failed"][1]["reason"]
    said = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert [name in line for name, line in zip(("note.png", "absent.png"), said, strict=True)] == [True, True]


def test_every_bad_image_is_named_where_none_is_good(run_cli: RunCli, bundle: Path, tmp_path: Path):
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_text("I am a text")
    done = run_cli("predict", bundle, "one.png", "two.png")
    assert (done.code, done.out) == (2, "")
    assert [line.count("not a usable image") for line in done.err.splitlines()] == [1, 1]
    assert "two.png" in done.err


def test_folders_that_cannot_be_made_are_refused_before_anything_is_read_or_made(
    run_cli: RunCli, images: Path, tmp_path: Path
):
    bundle = Path(__file__).parents[1] / "records" / "bundle-of-version-2"
    (tmp_path / "taken").write_text("mine")
    within = tmp_path / "taken" / "result"  # below a file nothing can be made, whoever asks
    refused(run_cli("finetune", images, "--out", within), "--out", str(within), "Choose another")
    refused(run_cli("finetune", images, "--out", tmp_path / "taken"), "a file is there")
    refused(run_cli("run", images, "--out", within), "--out", str(within), "Choose another")
    refused(run_cli("report", bundle, "--out", within), "--out", str(within), "Choose another")
    refused(run_cli("report", bundle, tmp_path), "not a finished run", str(tmp_path))
    kept = read_bundle(bundle).record.artifacts[0].id
    refused(run_cli("slim", bundle, "--keep", kept, "--out", within), "--out", str(within), "Choose another")
    golden = bundle / read_bundle(bundle).record.golden.images[0]
    annotated = run_cli("predict", bundle, golden, "--annotated", within)
    refused(annotated, "--annotated", str(within), "Choose another")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_folders_that_are_no_bundle_and_no_run(run_cli: RunCli, run: Path, bundle: Path, tmp_path: Path):
    refused(run_cli("verify", run), "is a run", "edge-tl export")
    refused(run_cli("export", bundle), "is a bundle", "edge-tl report")
    refused(run_cli("verify", "absent"), "no such bundle")
    refused(
        run_cli("verify", bundle / "bundle.json"),
        f"no such bundle: {bundle}/bundle.json",
        f"its folder: {bundle}.",
    )
    refused(run_cli("report", "absent"), "no such run or bundle")
    refused(run_cli("export", bundle), "not a finished run")
    refused(run_cli("export", "absent"), "no such run")
    refused(run_cli("report", tmp_path), "not a finished run")
    refused(run_cli("report", bundle, tmp_path), "not a finished run", str(tmp_path))
    refused(run_cli("report", bundle, run), "is a bundle and", "a run")
    refused(
        run_cli("predict", bundle, bundle / "golden/images/00.png", "--artifact", "onnx-int4"), "'onnx-int4'"
    )
    refused(run_cli("verify", bundle, "--device", "TPU"), "TPU", "CPU")
    refused(run_cli("verify", bundle, "--data", tmp_path), "classes of the bundle")
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "r" / "run.json").write_text('{"schema_version": 1, "kind": "run"}')
    refused(run_cli("export", "r"), "run.json")


@pytest.mark.parametrize(
    "arguments", [["fintune", "x"], ["finetune"], ["verify", "b", "--bogus"], ["--bogus"]]
)
def test_usage_errors_exit_2_without_a_traceback(run_cli: RunCli, arguments: list[str]):
    done = run_cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert done.err.startswith("error: ")
    assert "--help`." in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bench", "b", "--fps", "abc"], "--fps abc: "),
        (["bench", "b", "--rounds=0"], "--rounds 0: "),
        (["finetune", "photos", "--image-size", "big"], "--image-size big: "),
    ],
)
def test_a_value_that_cannot_be_is_shown_with_its_option(run_cli: RunCli, arguments: list[str], said: str):
    done = run_cli(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")
    assert f"edge-tl {arguments[0]} --help" in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_an_interrupt_while_the_command_line_is_imported_is_one_too():
    code = (
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from edge_tl.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_debug_shows_the_traceback(run_cli: RunCli):
    done = run_cli("verify", "absent", "--debug")
    assert done.code == 2
    assert "Traceback (most recent call last)" in done.err
    assert done.err.splitlines()[-1].startswith("error: no such bundle")


def test_a_name_that_is_no_utf8_is_refused_or_works(shell: RunCli, tmp_path: Path, digit: bytes):
    """As an archive from an older Windows leaves it."""
    root = folder(tmp_path / "data", digit, a=4, b=4)
    try:
        os.rename(root / "a" / "0.png", os.fsencode(root / "a") + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    done = shell("finetune", root, *SMALL, "--out", tmp_path / "r", "--json")
    assert done.code == 0 or "unexpected" not in done.err, done.err


def test_labels_reach_a_pipe_that_is_not_utf8(shell: RunCli, bundle: Path):
    """As `> result.json` is on Windows."""
    image = bundle / "golden/images/00.png"
    done = shell("predict", bundle, image, "--json", env={"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"})
    assert done.code == 0, done.err
    assert {entry["label"] for entry in done.json["results"][0]["top"]} == set(read_bundle(bundle).labels)


@pytest.mark.parametrize("missing", ["torch", "safetensors", "pydantic", "yaml", "sklearn"])
def test_a_verb_of_the_host_without_its_packages_says_what_to_install(
    missing: str, images: Path, tmp_path: Path
):
    code = "import sys; sys.modules[sys.argv.pop(1)] = None; from edge_tl.cli import main; main()"
    verb = ["demo"] if missing == "sklearn" else ["finetune", str(images), *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", code, missing, *verb, "--out", str(tmp_path / "r")],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith('is not installed. Run: pip install "edge-tl[host]"')
    assert missing in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_running_on_other_machines_needs_the_host_and_says_so(tmp_path: Path):
    code = "import sys; sys.modules['yaml'] = None; from edge_tl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "bench", str(tmp_path), "--on", "nosuchhost"],
        capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: yaml, which --on needs, is not installed."), done.stderr


def test_a_misspelt_model_is_found_before_a_file_is_read(run_cli: RunCli, images: Path):
    done = run_cli("finetune", images, "--model", "mobilenetv2", "--out", "r")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err
        == "error: unknown model 'mobilenetv2'. Nearest: mobilenet_v2. See `edge-tl models`, or give timm:NAME.\n"
    )


@pytest.mark.parametrize("missing", ["openvino", "onnxruntime"])
def test_a_missing_runtime_on_the_host_is_named_too(
    missing: str, run_cli: RunCli, run: Path, monkeypatch: pytest.MonkeyPatch
):
    from edge_tl.host.export import pipeline

    def fail(*arguments: Any) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(pipeline, "write_artifacts", fail)  # both export and quantize import it late
    refused(run_cli("export", run, "--out", "b"), missing, "pip install")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_finetune_exits_130_leaves_no_run_and_goes_on(
    shell: RunCli, number: signal.Signals, images: Path, tmp_path: Path
):
    options = ["--model", "mobilenet_v3_small", "--weights", "embedded", "--image-size", "320"]
    options += ["--strategy", "head"]
    command = [*map(str, ("finetune", images, *options, "--out", tmp_path / "r", "--json"))]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tl", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list((tmp_path / "r").glob("features/*/index.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1].startswith("interrupted. ")
    assert "Traceback" not in err
    assert not (tmp_path / "r" / "run.json").exists()
    if number == signal.SIGINT:
        again = shell(*command)
        assert again.code == 0, again.err
        assert 0 < again.json["features_computed"] < 121
