"""The page in headless Chromium: what it proves, what it refuses, and that nothing leaves its folder."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import PROGRAM, Page, serving
from PIL import Image

from edge_tl.device.bundle import read_bundle
from edge_tl.device.bundle_files import check_file
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.web.ort_web import TESTED, ort_web
from edge_tl.host.web.write import write_web

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")]

NPM = shutil.which("npm")
NO_ADAPTER = "No available adapters"  # Chromium says so where there is no GPU


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `npm pack` wrote."""
    if NPM is None:
        pytest.skip("npm is not installed, which brings onnxruntime-web")
    place = tmp_path_factory.mktemp("npm")
    done = subprocess.run(
        [NPM, "pack", f"onnxruntime-web@{TESTED}"], cwd=place, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"npm could not bring onnxruntime-web: {done.stderr.strip()[-200:]}")
    return next(place.glob("*.tgz"))


@pytest.fixture(scope="module")
def written(bundle: Path, packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the shared bundle, with both ONNX artifacts whatever a busy machine said of them. Do not alter it."""
    out = tmp_path_factory.mktemp("web") / "page"
    write_web(read_bundle(bundle), out, ort_web(packed), artifacts=["onnx-int8", "onnx-fp32"])
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(str(PROGRAM), tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


def altered(page: Path, to: Path, change: Callable[[Path, dict[str, Any]], None]) -> Path:
    """A copy of the page whose files and record `change` has altered, with every hash as it should be: what is left
    to catch it are the gates."""
    shutil.copytree(page, to)
    record = json.loads((to / "web.json").read_text("utf-8"))
    old = hashlib.sha256((to / "web.json").read_bytes()).hexdigest()
    change(to, record)
    (to / "web.json").write_text(json.dumps(record), "utf-8")
    new = hashlib.sha256((to / "web.json").read_bytes()).hexdigest()
    html = (to / "index.html").read_text("utf-8")
    assert old in html
    (to / "index.html").write_text(html.replace(old, new), "utf-8")
    return to


def put(root: Path, file: dict[str, Any], content: bytes) -> None:
    """Write a file of the record, and its hash into the record."""
    (root / file["path"]).write_bytes(content)
    file |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


@pytest.mark.parametrize("isolated", [False, True])
def test_goldens_pass_and_nothing_leaves(written: Path, browser: Page, isolated: bool) -> None:
    """From a sub-path of a static server, with and without the headers that threads need."""
    with serving(written.parent, isolated=isolated) as (address, asked):
        state = browser.open(f"{address}/{written.name}/")
        assert state == "passed", browser.text("#status")
        if not isolated:
            browser.evaluate("document.getElementById('artifact').value = 'onnx-fp32'")
            browser.evaluate("document.getElementById('artifact').dispatchEvent(new Event('change'))")
            browser.wait("document.getElementById('status').textContent.startsWith('Verified: onnx-fp32')")
        threads = browser.text("#runs")
    assert browser.requests
    assert all(request.startswith(f"{address}/{written.name}/") for request in browser.requests)
    assert all(path.startswith(f"/{written.name}/") for path in asked)
    assert [each for each in browser.complaints if NO_ADAPTER not in each] == []
    assert ("not cross-origin isolated" in threads) is not isolated


def test_export_writes_a_page_that_verifies(
    run: Path, packed: Path, shell: Callable[..., Any], browser: Page, tmp_path: Path
) -> None:
    """From a run to a page in one command; a second one takes nothing away."""
    words = ("export", run, "--web", "--ort-web", packed, "--out", tmp_path / "photos")
    done = shell(*words, "--json")
    assert done.code in (0, 1), done.err
    page = Path(done.json["web"])
    assert page == tmp_path / "photos-web"
    assert [path.name for path in tmp_path.iterdir() if path.name != "photos-web"] == ["photos"]
    record = json.loads((page / "web.json").read_text("utf-8"))
    assert record["bundle_seal"] == read_bundle(tmp_path / "photos").record.seal
    with serving(page) as (address, _):
        assert browser.open(f"{address}/") == "passed", browser.text("#status")
        assert "Accuracy at export" in browser.text("#exported")
    assert browser.requests
    assert all(request.startswith(f"{address}/") for request in browser.requests)
    before = (page / "web.json").read_bytes()
    again = shell(*words)
    assert again.code == 2
    assert "a page is there already. Add --overwrite" in again.err
    assert (page / "web.json").read_bytes() == before


def test_a_dropped_picture_gets_the_answer_of_predict(bundle: Path, written: Path, browser: Page) -> None:
    opened = read_bundle(bundle)
    wanted = opened.open("onnx-fp32").predict(opened.golden_images()[0], top=1)
    with serving(written) as (address, _):
        browser.open(f"{address}/")
        browser.evaluate("document.getElementById('artifact').value = 'onnx-fp32'")
        browser.evaluate("document.getElementById('artifact').dispatchEvent(new Event('change'))")
        browser.wait("document.getElementById('status').textContent.startsWith('Verified: onnx-fp32')")
        browser.drop(opened.golden_images()[0])
        browser.wait("document.getElementById('answer').textContent")
        assert browser.text("#answer") == f"{wanted.label}, {100 * wanted.probability:.1f} %"
        browser.evaluate("document.getElementById('measure').click()")
        browser.wait("!document.getElementById('measure').disabled")
        assert "95 % interval" in browser.text("#latency")


def test_a_file_that_is_no_picture_is_named(written: Path, browser: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture", "utf-8")
    with serving(written) as (address, _):
        browser.open(f"{address}/")
        browser.drop(tmp_path / "notes.jpg")
        browser.wait("document.getElementById('answer').textContent")
        assert browser.text("#answer") == "notes.jpg: this browser cannot decode it as an image"


@pytest.mark.parametrize("name", ["model.int8.onnx", "web.json", "golden/pixels.u8", "ort/ort.wasm.min.mjs"])
def test_a_damaged_file_is_named(written: Path, browser: Page, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "page"
    shutil.copytree(written, copy)
    record = json.loads((copy / "web.json").read_text("utf-8"))
    path = copy / next(a["file"]["path"] for a in record["artifacts"] if a["id"] == record["opened"])
    path = path if name.startswith("model") else copy / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with serving(copy) as (address, _):
        assert browser.open(f"{address}/") == "error"
        said = browser.text("#status")
    assert "damaged or altered" in said
    assert path.name in said


def test_another_contract_fails_the_pixels_gate(written: Path, browser: Page, tmp_path: Path) -> None:
    def shift(_: Path, record: dict[str, Any]) -> None:
        record["preprocess"]["interpolation"] = "nearest"
        record["preprocess"]["resize_size"] = [side + 9 for side in record["preprocess"]["resize_size"]]

    with serving(altered(written, tmp_path / "page", shift)) as (address, _):
        assert browser.open(f"{address}/") == "failed"
        assert browser.text("#status").startswith("Failed: pixels.")


def test_another_model_fails_the_device_gate(written: Path, browser: Page, tmp_path: Path) -> None:
    """Goldens whose logits are those of no such model."""

    def shift(root: Path, record: dict[str, Any]) -> None:
        stored = next(each["file"] for each in record["golden"]["logits"] if each["name"] == record["opened"])
        logits = np.frombuffer((root / stored["path"]).read_bytes(), "<f4")
        put(root, stored, (-logits).tobytes())

    with serving(altered(written, tmp_path / "page", shift)) as (address, _):
        assert browser.open(f"{address}/") == "failed"
        assert "device" in browser.text("#status")


def test_labels_are_text(written: Path, browser: Page, tmp_path: Path) -> None:
    label = "<img src=x onerror=\"document.title='taken'\">"

    def name(_: Path, record: dict[str, Any]) -> None:
        record["labels"] = [f"{label}{i}" for i in range(len(record["labels"]))]
        record["name"] = label

    copy = altered(written, tmp_path / "page", name)
    image = next((copy / "golden" / "images").iterdir())
    with serving(copy) as (address, _):
        browser.open(f"{address}/")
        browser.drop(image)
        browser.wait("document.getElementById('answer').textContent")
        assert label in browser.text("#bars")
        assert browser.text("h1") == label
        assert browser.evaluate("document.querySelectorAll('img').length") == 0


def kinds(bundle: Path) -> dict[str, bytes]:
    """One real picture, encoded in every way that decoders disagree on."""
    from edge_tl.host.export import golden_kinds

    opened = read_bundle(bundle)
    file = next(f for f in opened.record.golden.files if f.path == opened.record.golden.images[0])
    image = (
        Image.open(io.BytesIO(check_file(opened.root, file).read_bytes())).convert("RGB").resize((200, 140))
    )
    return {kind: make(image)[1] for kind, make in golden_kinds.KINDS.items()}


def test_every_kind_is_decoded_as_pillow_does_or_said_to_be_none(
    bundle: Path, written: Path, browser: Page, tmp_path: Path
) -> None:
    made = kinds(bundle)

    def replace_goldens(root: Path, record: dict[str, Any]) -> None:
        contract = Preprocess.from_json(record["preprocess"])
        files = [{"path": f"golden/images/{kind}"} for kind in made]
        for file, content in zip(files, made.values(), strict=True):
            put(root, file, content)
        record["golden"]["images"] = files
        put(
            root,
            record["golden"]["pixels"],
            b"".join(contract.pixels(each).tobytes() for each in made.values()),
        )
        for each in record["golden"]["logits"]:
            put(root, each["file"], np.zeros((len(made), len(record["labels"])), "<f4").tobytes())

    with serving(altered(written, tmp_path / "page", replace_goldens)) as (address, _):
        browser.open(f"{address}/")
        rows = browser.evaluate(
            "[...document.querySelectorAll('#images tr')].map((row) => [...row.cells].map((c) => c.textContent))"
        )
    found = {kind: level for kind, level, *_ in rows}
    assert found.keys() == made.keys()
    unjudged = {kind for kind, level in found.items() if level.startswith("not judged")}
    assert {kind: level for kind, level in found.items() if kind not in unjudged and int(level) > 2} == {}
    assert {"jpeg-baseline", "jpeg-progressive", "exif-6", "png-rgba", "webp"} <= found.keys() - unjudged
    assert unjudged == {
        "tiff",
        "tiff-grey-16",
        "jpeg-cmyk",
        *(kind for kind in made if kind.endswith(("-16", "-narrow"))),
    }
