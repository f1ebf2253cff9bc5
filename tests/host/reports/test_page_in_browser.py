"""The pages in headless Chromium: nothing cut at any width, no request, no complaint, and what axe-core finds."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from chromium import PROGRAM, Page
from host.reports.samples import bundle, sample
from host.reports.samples import run as as_run
from host.reports.test_answer_pictures import picture, with_pictures

from edge_tl.host.reports.page import write_bundle_page, write_run_page
from edge_tl.host.reports.pair_page import write_bundles_page
from edge_tl.host.reports.pairing import compare_bundles

pytestmark = [pytest.mark.slow, pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")]

WIDTHS = (1440, 800, 360)
AXE = "axe-core@4"
NPM = shutil.which("npm")
# What leaves the window, what an element hides of its content, and what a drawing's edge cuts off.
CUT = """(() => {
  const found = [], wide = document.documentElement.scrollWidth;
  const say = (what, e) => found.push(`${what}: ${e.tagName} ${e.textContent.trim().slice(0, 60)}`);
  if (wide > innerWidth) found.push(`the page is ${wide} wide`);
  for (const e of document.querySelectorAll("body *")) {
    const box = e.getBoundingClientRect(), unseen = e.closest(".unseen, thead");
    if (!box.width || (unseen && unseen.getBoundingClientRect().width <= 1)) continue;
    if (box.right > innerWidth + 0.5 || box.left < -0.5) say("outside", e);
    const hides = getComputedStyle(e).overflowX !== "visible" && !(e instanceof SVGElement);
    if (hides && e.scrollWidth > e.clientWidth + 1) say("hidden", e);
    const svg = e.tagName === "text" && e.closest("svg").getBoundingClientRect();
    if (svg && (box.left < svg.left - 1 || box.right > svg.right + 1)) say("cut by its drawing", e);
  }
  return found;
})()"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle with pictures, a bundle whose names are long, a run, and two bundles side by side."""
    folder = tmp_path_factory.mktemp("pages")
    found = {name: folder / f"{name}.html" for name in ("bundle", "long", "run", "pair")}
    write_bundle_page(with_pictures((picture(),), (picture(),)), found["bundle"])
    record = sample("bundle")
    record["labels"] = [
        f"a_rather_long_name_of_a_class_{i}_" + "x" * 40 for i in range(len(record["labels"]))
    ]
    record["name"] = "a" * 90
    write_bundle_page(bundle(record), found["long"])
    write_run_page(as_run(sample("run")), found["run"])
    two = (
        bundle(sample("bundle")),
        replace(bundle(sample("bundle")), name="another bundle, with a longer name"),
    )
    write_bundles_page(*two, compare_bundles(*two), found["pair"])
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    page = Page(str(PROGRAM), tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core."""
    if NPM is None:
        pytest.skip("npm is not installed, which brings axe-core")
    place = tmp_path_factory.mktemp("axe")
    done = subprocess.run([NPM, "pack", AXE], cwd=place, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm could not bring axe-core: {done.stderr.strip()[-200:]}")
    with tarfile.open(next(place.glob("*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def unfold(browser: Page) -> None:
    """Open all that is folded away: it must not be cut either."""
    browser.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


@pytest.mark.parametrize("name", ["bundle", "long", "run", "pair"])
def test_nothing_is_cut_or_asked_for_at_any_width(pages: dict[str, Path], browser: Page, name: str) -> None:
    for dark in (False, True):
        for width in WIDTHS:
            browser.show(pages[name], width, dark=dark)
            unfold(browser)
            assert browser.evaluate(CUT) == [], (width, dark)
            widths = "[...document.querySelectorAll('.card img')].map(i => i.getBoundingClientRect().width)"
            shown = browser.evaluate(widths)
            assert all(each >= 60 for each in shown), shown  # pictures that nobody can make out
            assert browser.complaints == []
            asked = [each for each in browser.requests if not each.startswith("data:")]
            assert asked == [pages[name].resolve().as_uri()]


def test_what_is_cut_is_found(pages: dict[str, Path], browser: Page) -> None:
    browser.show(pages["bundle"], 360)
    for style in ("width: 900px", "width: 100px; overflow: hidden; white-space: nowrap"):
        browser.evaluate(
            "{const e = document.createElement('p'); e.id = 'odd'; e.textContent = 'much too long a line of words'; "
            f"e.style = {json.dumps(style)}; document.querySelector('section').append(e)}}"
        )
        assert browser.evaluate(CUT) != []
        browser.evaluate("document.getElementById('odd').remove()")
    assert browser.evaluate(CUT) == []


@pytest.mark.parametrize("name", ["bundle", "run", "pair"])
def test_axe_finds_nothing_serious(pages: dict[str, Path], browser: Page, axe: str, name: str) -> None:
    for dark in (False, True):
        for width in (1440, 360):
            browser.show(pages[name], width, dark=dark)
            unfold(browser)
            browser.evaluate(f"{axe};0")
            found: list[dict[str, Any]] = browser.evaluate(
                "axe.run(document).then(r => r.violations.map(v => ({impact: v.impact, id: v.id, "
                "where: v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))})))"
            )
            assert [each for each in found if each["impact"] in ("serious", "critical")] == [], (width, dark)


def test_a_table_is_sorted_by_a_key_press_and_says_so(pages: dict[str, Path], browser: Page) -> None:
    browser.show(pages["run"], 800)

    def column(place: int) -> list[str]:
        cells = f"[...document.querySelector('table.sortable').tBodies[0].rows].map(r => r.cells[{place}].textContent)"
        return [str(cell) for cell in browser.evaluate(cells)]

    recall = column(2)
    assert recall != sorted(recall, key=float)
    browser.evaluate("document.querySelectorAll('table.sortable thead button')[2].focus()")
    for order, reverse in (("ascending", False), ("descending", True)):
        for kind in ("keyDown", "keyUp"):
            key: dict[str, Any] = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            browser.send("Input.dispatchKeyEvent", type=kind, **key)
        assert column(2) == sorted(recall, key=float, reverse=reverse)
        sorts = (
            "[...document.querySelectorAll('table.sortable thead th')].map(h => h.getAttribute('aria-sort'))"
        )
        assert browser.evaluate(sorts)[1:4] == [None, order, None]
    assert browser.text("[role=status]") == "Sorted by recall %, largest first"


def test_a_command_is_copied(pages: dict[str, Path], browser: Page) -> None:
    browser.show(pages["bundle"], 800)
    browser.send("Page.bringToFront")
    browser.evaluate(
        "navigator.clipboard.writeText = async text => { window.copied = text }; "
        "document.querySelector('.command button').click()"
    )
    browser.wait("document.querySelector('.command button').textContent === 'Copied'")
    assert browser.evaluate("window.copied") == browser.text(".command code")


def test_paper_gets_what_is_folded_away(pages: dict[str, Path], browser: Page) -> None:
    browser.show(pages["run"], 800)
    closed = "document.querySelectorAll('details:not([open])').length"
    assert browser.evaluate(closed) > 0
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate(closed) == 0


def test_paper_has_few_pages_light_and_each_word_once(browser: Page, pages: dict[str, Path]) -> None:
    browser.show(pages["bundle"], 1440, dark=True)
    printed = base64.b64decode(
        browser.send("Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.69)["data"]
    )
    count = len(re.findall(rb"/Type\s*/Page\b", printed))
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown = browser.evaluate(
        "[...document.querySelectorAll('.words dl > div')].filter(e => e.checkVisibility()).map(e => e.textContent)"
    )
    height = browser.evaluate("document.documentElement.scrollHeight")
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert shown
    assert len(shown) == len(set(shown))
    # No page ends early for a whole section: everything, open, is not higher than its pages at this size.
    assert 2 <= count <= height / 800, (count, height)
    browser.send("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.evaluate("document.querySelector('.record').checkVisibility()")
    browser.send("Emulation.setEmulatedMedia", media="")
