"""The page that `snippet` prints for onnxruntime-web, loaded in headless Chromium: `diagnose` finds the reference."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import PROGRAM, Page, serving
from device.raw_pixels_bundle import add_raw_pixels
from snippet_programs import read_answers

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.metrics import softmax
from edge_tl.device.snippets.program import WEB, write_program

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")]

UNREAD = {"tiff", "tiff-grey-16"}
# A browser takes the high byte of 16 bits, also where all of the picture is in the low one.
OTHERWISE = {"png-grey-16-narrow", "png-rgb-16-narrow"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(str(PROGRAM), tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


def written(bundle: Bundle, artifact: str, folder: Path, packages: Path) -> str:
    """The page with what it says that it needs; its file's name."""
    program = write_program(bundle, lang="javascript", runtime=WEB, artifact=artifact)
    (folder / program.file).write_text(program.text, "ascii")
    main = bundle.artifact(artifact).record.main
    shutil.copy(bundle.root / main, folder / main)
    (folder / "ort").symlink_to(packages / "onnxruntime-web" / "dist")
    return program.file


def load(browser: Page, address: str) -> str:
    """What the page says when it has loaded its model, or cannot."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.send("Page.navigate", url=address)
    status = "document.getElementById('status')?.textContent"
    browser.wait(f"({status} ?? 'Loading').startsWith('Loading') === false")
    return browser.text("#status")


def choose(browser: Page, files: list[Path]) -> str:
    """Choose files as a person does; the CSV."""
    found = browser.send("Runtime.evaluate", expression="document.getElementById('files')")
    browser.send(
        "DOM.setFileInputFiles", objectId=found["result"]["objectId"], files=[str(file) for file in files]
    )
    browser.wait("!document.getElementById('save').hidden")
    return str(browser.evaluate("fetch(document.getElementById('save').href).then((csv) => csv.text())"))


@pytest.mark.parametrize("artifact", ["onnx-fp32", "onnx-int8", "onnx-fp32-image"])
def test_a_page_answers_as_the_bundle(
    of_every_kind: Bundle,
    packages: Path,
    browser: Page,
    tmp_path: Path,
    run_cli: Callable[..., Any],
    artifact: str,
) -> None:
    root = Path(shutil.copytree(of_every_kind.root, tmp_path / "tiny"))
    bundle = read_bundle(add_raw_pixels(root) if artifact.endswith("-image") else root)
    (served := tmp_path / "served").mkdir()
    file = written(bundle, artifact, served, packages)
    with serving(served) as (address, _):
        assert load(browser, f"{address}/{file}") == "Choose images"
        text = choose(browser, bundle.golden_images())
    assert all(request.startswith((f"{address}/", "blob:", "data:")) for request in browser.requests)
    assert browser.complaints == []
    header, found = read_answers(text)
    assert header == ["file", *bundle.labels]
    left = {path.stem for path in bundle.golden_images()} - {Path(name).stem for name in found}
    assert left == UNREAD
    assert all(f"cannot read {kind}." in browser.text("#status") for kind in UNREAD)

    most = bundle.artifact(artifact).limits.device_max_abs_diff  # probabilities differ by less than logits
    for path, logits in zip(bundle.golden_images(), bundle.golden_logits()[artifact], strict=True):
        if path.stem not in UNREAD | OTHERWISE:
            np.testing.assert_allclose(
                found[path.name], softmax(logits[None])[0], atol=most, err_msg=path.name
            )

    (tmp_path / "answers.csv").write_text(text, "utf-8")
    said = run_cli("diagnose", bundle.root, tmp_path / "answers.csv", "--artifact", artifact, "--json")
    assert (said.code, said.json["verdict"], said.json["matches"]) == (0, "reference", []), said.json


def test_a_page_says_what_it_lacks(bundle_root: Path, packages: Path, browser: Page, tmp_path: Path) -> None:
    bundle = read_bundle(bundle_root)
    (served := tmp_path / "served").mkdir()
    file = written(bundle, "onnx-fp32", served, packages)
    model = served / bundle.artifact("onnx-fp32").record.main
    with serving(served) as (address, _):
        with model.open("ab") as other:
            other.write(b"\0")
        assert "is not the file that this page was written for" in load(browser, f"{address}/{file}")
        model.unlink()
        assert "is not beside this page (HTTP 404)" in load(browser, f"{address}/{file}")
        assert browser.evaluate("document.getElementById('files').disabled")
