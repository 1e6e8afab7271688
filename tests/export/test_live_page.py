"""The page in a real browser, opened from a file without network access, gives torch's images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganealogy.errors import GanealogyError
from ganealogy.export import onnxruntime_web, web_page
from ganealogy.networks._build import load_generator
from ganealogy.tracking import best_run, run_record
from ganealogy.workspace import NPM, run_dir

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


def require(available: bool, what: str) -> None:
    if not available:
        message = f"{what} is not installed"
        pytest.fail(message) if os.environ.get("REQUIRE") == "all" else pytest.skip(message)


@pytest.fixture
def page(make_run, project: Path) -> Iterator[Any]:  # type: ignore[no-untyped-def]
    """The open page of a class-conditional generator; it must make no requests and log no errors."""
    require(CHROMIUM.exists(), str(CHROMIUM))
    archive = NPM / f"{onnxruntime_web.PACKAGE}-{onnxruntime_web.VERSION}.tgz"
    if not (ROOT / archive).is_file():  # fetched once per checkout; without network the test is skipped
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed, but the page needs a package from it")
        try:
            onnxruntime_web.runtime(ROOT)
        except GanealogyError as error:
            if "npm" not in str(error):
                raise
            pytest.skip(str(error))
    (project / archive).parent.mkdir(parents=True)
    (project / archive).symlink_to(ROOT / archive)
    run = run_record.read(make_run(network="sngan", classes=3))
    address = web_page.build(run, best_run.score(run), project).as_uri()

    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    requests: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(offline=True, viewport={"width": 360, "height": 800}, color_scheme="dark")
        opened = context.new_page()
        opened.set_default_timeout(120_000)
        opened.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("dialog", lambda dialog: errors.append("a dialog: hostile text was run"))
        opened.on("request", lambda request: requests.append(request.url))
        opened.goto(f"{address}#seed=7")
        wait_until_drawn(opened, 0)
        yield opened
        browser.close()
    assert errors == []
    assert [url[:80] for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def wait_until_drawn(page: Any, before: int) -> int:
    """Wait until more than `before` sheets have been drawn; return their number."""
    for _ in range(1200):
        count = int(page.evaluate("document.body.dataset.drawn || 0"))
        if count > before and not page.evaluate("drawing"):
            return count
        page.wait_for_timeout(50)
    raise AssertionError(page.locator("#status").inner_text())


def canvases(page: Any) -> list[str]:
    pictures: list[str] = page.evaluate("canvases.map((canvas) => canvas.toDataURL())")
    return pictures


def test_the_pages_images_equal_torchs_and_follow_its_controls(page: Any, project: Path) -> None:
    first = canvases(page)
    assert len(first) == 12 and len(set(first)) == 12
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"

    # The same latents give the same pictures as torch.
    run = run_record.read(run_dir("v1", 0, project))
    assert run.weights is not None
    network = load_generator(run.weights, run.run["recipe"], run.run["protocol"])
    z = np.asarray(page.evaluate("Array.from(latents(7, 12))"), np.float32).reshape(12, 8)
    actual = page.evaluate("generate(latents(7, 12), [0,1,2,0,1,2,0,1,2,0,1,2]).then((images) => Array.from(images))")
    with torch.inference_mode():
        expected = network(torch.from_numpy(z), torch.arange(12) % 3).clamp(-1, 1).numpy()
    np.testing.assert_allclose(np.asarray(actual).reshape(expected.shape), expected, rtol=0, atol=1e-3)
    shown = page.evaluate(
        "Array.from(canvases[4].getContext('2d').getImageData(0, 0, 32, 32).data)"
    )  # RGBA, as displayed
    levels = np.asarray(shown, np.float32).reshape(32, 32, 4)[:, :, :3].transpose(2, 0, 1)
    assert np.abs(levels - (expected[4] + 1) * 127.5).max() <= 1.5

    # Latents are normal.
    many = np.asarray(page.evaluate("Array.from(latents(1, 4000))"))
    assert abs(many.mean()) < 0.02 and abs(many.std() - 1) < 0.02 and 3 < np.abs(many).max() < 6.5

    # The button, a slider and a class change the images; the seed in the URL restores them.
    count = wait_until_drawn(page, 0)
    page.locator("#new").click()
    count = wait_until_drawn(page, count)
    assert set(canvases(page)).isdisjoint(first)
    assert "seed=7&" not in page.url
    page.evaluate("location.hash = 'seed=7'")
    count = wait_until_drawn(page, count)
    assert canvases(page) == first
    page.locator("#walk-0").focus()
    page.keyboard.press("End")
    count = wait_until_drawn(page, count)
    moved = canvases(page)
    assert set(moved).isdisjoint(first)
    assert "walk=6" in page.url
    shared = page.url
    page.locator("#class").select_option("2")
    count = wait_until_drawn(page, count)
    assert canvases(page)[2] == moved[2] and canvases(page)[0] != moved[0]
    page.goto("about:blank")
    page.goto(shared)
    wait_until_drawn(page, 0)
    assert canvases(page) == moved, "a shared URL gives the same images"
    page.locator("#reset").click()
    wait_until_drawn(page, 1)
    assert canvases(page) == first
    page.evaluate("location.hash = 'seed=-4&temperature=x&walk=a,,9e9&class=99'")
    wait_until_drawn(page, 2)
    assert int(page.locator("#seed").input_value()) >= 0 and page.locator("#temperature").input_value() == "1"
