"""The built page in a real browser, opened from a file with the network cut off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import small_tree
from helpers.fabricated import HOSTILE, entry, fabricate_data, fabricate_plan, fabricate_run
from helpers.fake_runs import recipe
from helpers.small_tree import around, version

from ganealogy.report.build import build
from ganealogy.report.collect import collect
from ganealogy.report.compare import render
from ganealogy.report.experiments import Experiment
from ganealogy.report.page import render as render_page
from ganealogy.report.pictures import Gallery

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is missing: apt-get install chromium"
        pytest.fail(message) if os.environ.get("REQUIRE") == "all" else pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(shared_project: Path) -> str:
    return build(shared_project).as_uri()


@pytest.fixture
def visit(browser, address):  # type: ignore[no-untyped-def]
    """visit(address, **context options) → the page; it must log no error and request nothing from a network."""
    contexts, errors, requests = [], [], []

    def visit(at: str = address, **options: object):  # type: ignore[no-untyped-def]
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on(
            "console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append("a dialog: hostile text was executed"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(at)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []
    assert [url[:80] for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def until(page, expression: str) -> None:  # type: ignore[no-untyped-def]
    """Poll from outside: the page's content security policy forbids Playwright's wait_for_function."""
    for _ in range(100):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(100)
    pytest.fail(f"never became true: {expression}")


def test_the_table_sorts_with_missing_values_last(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    column = page.locator("#leaderboard thead th", has_text="8×8 pixels")

    def shown() -> list[float]:
        cells = page.locator("#leaderboard tbody tr td:nth-child(3)")
        return [float(value) for value in cells.evaluate_all("cells => cells.map(cell => cell.dataset.sort)")]

    column.get_by_role("button").click()
    assert column.get_attribute("aria-sort") == "ascending"
    assert shown() == sorted(shown()) and len(shown()) == 4
    column.get_by_role("button").press("Enter")
    assert column.get_attribute("aria-sort") == "descending"
    assert shown() == sorted(shown(), reverse=True)


def test_sliders_move_one_version_or_all(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    card = page.locator('[data-training="v1"]')
    other = page.locator('[data-training="v3"]')
    last = card.locator("img").get_attribute("src")
    page.locator("#tick-all").focus()
    page.keyboard.press("Home")
    assert card.locator("output").inner_text() == other.locator("output").inner_text() == "0.0000 kimg"
    first = card.locator("img").get_attribute("src")
    assert first != last
    card.locator("input").focus()
    page.keyboard.press("ArrowRight")
    assert card.locator("output").inner_text() == "12.00 kimg"
    assert other.locator("output").inner_text() == "0.0000 kimg"
    assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_another_seed_shows_its_pictures_or_a_note(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    sheet = page.locator('[data-sample="v1"]')
    before = sheet.get_attribute("src")
    figure = page.locator("#samples figure", has=page.locator('[data-sample="v7"]'))
    assert figure.get_by_text("no samples of this seed").is_visible()
    page.locator('input[name="sample-seed"][value="1"]').check(force=True)
    assert sheet.get_attribute("src") != before
    assert not figure.get_by_text("no samples of this seed").is_visible()
    assert page.locator('input[name="frame-seed"][value="1"]').is_checked()


def test_curves_are_drawn_and_toggled(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    page.locator("#curves").scroll_into_view_if_needed()
    chart = page.locator('[data-curve="fd_pixel8"]')
    chart.locator(".scatterlayer .trace").first.wait_for()

    def lines() -> int:
        return chart.evaluate("chart => chart.data.filter(trace => trace.name).length")

    assert lines() == 4
    chip = page.locator('.chip[data-version="v3"]')
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    until(page, "document.querySelector('[data-curve=fd_pixel8]').data.filter(t => t.name).length === 3")
    page.locator("#log").click()
    until(page, "document.querySelector('[data-curve=fd_pixel8]').layout.yaxis.type === 'linear'")


def test_curves_are_drawn_against_wall_time(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    page.locator("#curves").scroll_into_view_if_needed()
    page.locator('[data-curve="fd_pixel8"] .scatterlayer .trace').first.wait_for()
    last = "document.querySelector('[data-curve=fd_pixel8]').data.filter(t => t.name === 'v1')[0].x.at(-1)"
    assert page.evaluate(last) == 60
    page.locator('input[name="axis"][value="time"]').check(force=True)
    until(page, "document.querySelector('[data-curve=fd_pixel8]').layout.xaxis.title.text === 'seconds of training'")
    assert 38 < page.evaluate(last) < 52, "the seeds' mean time at the end of training"
    page.locator('input[name="axis"][value="flops"]').check(force=True)
    until(page, "document.querySelector('[data-curve=fd_pixel8]').layout.xaxis.title.text === 'TFLOP of training'")
    assert page.evaluate(last) == pytest.approx(60_000 * 0.11e9 / 1e12)


def test_buttons_show_and_hide_columns(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit(viewport={"width": 1200, "height": 900})
    region = "document.querySelector('#numbers .scroll')"
    assert page.evaluate(f"{region}.scrollWidth <= {region}.clientWidth"), "the headline columns fit without scrolling"
    heading = page.locator("#leaderboard thead th", has_text="Precision")
    button = page.get_by_role("button", name="Fidelity and variety")
    assert not heading.is_visible()
    button.press("Enter")
    assert heading.is_visible() and button.get_attribute("aria-pressed") == "true"
    page.locator('button[data-columns="cost"]').click()
    assert not page.locator("#leaderboard thead th", has_text="Cost").is_visible()


def test_the_tree_shows_effects_and_verdicts(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    edge = page.locator("#tree li", has=page.locator("a.node", has_text="v7")).last.locator(".edge")
    assert "too few seeds" in edge.inner_text() and "%" in edge.inner_text()
    assert page.locator("#tree .problem", has_text="collapsed").is_visible()
    page.locator("#tree a.node", has_text="v5").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#version-v5")
    assert "below 5%" in page.locator("#version-v5").inner_text()


@pytest.mark.parametrize("width", [1000, 1200])
def test_a_deep_tree_shows_its_labels_whole(visit, tmp_path: Path, width: int) -> None:  # type: ignore[no-untyped-def]
    both = {"adversary": {"loss": {"real_target": 0.9}}, "discriminator": {"norm": "spectral"}}
    names = [f"v{number}" for number in range(1, 8)]
    parents = [None, *names]
    entries = [
        entry(name, "A title of several words, which need more than a line", parent, both if parent else None, recipe())
        for name, parent in zip(names, parents, strict=False)
    ]
    fabricate_plan(tmp_path, entries, [0])
    fabricate_data(tmp_path)
    for name in names:
        fabricate_run(tmp_path, name, 0, 0.2, ticks=1)
    page = visit(build(tmp_path).as_uri(), viewport={"width": width, "height": 900})
    assert page.locator("#tree .tree.deep .result .problem", has_text="parent collapsed").count() == len(names) - 1
    tops = "[...document.querySelectorAll('#tree .label')].map(label => label.getBoundingClientRect().top)"
    assert min(page.evaluate(tops)) >= page.evaluate(
        "document.querySelector('#tree .tree').getBoundingClientRect().top"
    )


def test_nearest_training_pictures_follow_the_seed(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    sheet = page.locator('[data-neighbours="v1"]')
    before = sheet.get_attribute("src")
    page.locator('input[name="sample-seed"][value="1"]').check(force=True)
    assert sheet.get_attribute("src") not in (None, before)


def test_the_comparison_page_works_on_a_small_screen(visit, shared_project: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sides = [Experiment(name, "1" * 40, collect(shared_project)) for name in ("base", HOSTILE)]
    path = tmp_path / "compare.html"
    path.write_text(render(sides))
    page = visit(path.as_uri(), viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert HOSTILE in page.locator("h1").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#samples .zoom").first.press("Enter")
    assert page.locator("#zoom").is_visible()


def test_a_node_of_the_tree_links_to_its_version(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    page.locator("#tree a.node", has_text="v7").click()
    assert page.url.endswith("#version-v7")
    until(page, "Math.abs(document.getElementById('version-v7').getBoundingClientRect().top) < 200")
    assert "<script>alert(1)</script>" in page.locator("#version-v3 h3").inner_text()


def test_pictures_are_enlarged_and_interpolations_animated(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit()
    page.locator("#samples figure.real .zoom").press("Enter")
    assert page.locator("#zoom").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()
    page.locator("#walks").click()
    assert page.locator('[data-walk="v1"]').is_visible()


@pytest.mark.parametrize("width", [320, 390, 768, 1360])
def test_the_page_is_no_wider_than_the_screen(visit, width: int) -> None:  # type: ignore[no-untyped-def]
    page = visit(viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_print_fits_the_paper(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit(viewport={"width": 794, "height": 1123})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert not page.locator("nav.bar").is_visible()


def test_the_theme_follows_the_system_and_the_button(visit) -> None:  # type: ignore[no-untyped-def]
    page = visit(color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(20, 22, 26)"
    page.locator("#theme").click()
    assert page.evaluate(ground) == "rgb(253, 253, 252)"
    page.reload()
    assert page.evaluate(ground) == "rgb(253, 253, 252)", "the choice is stored"


@pytest.mark.parametrize(("width", "lines"), [(1200, 1), (420, 0)])
def test_a_line_connects_a_merge_with_its_other_parent(visit, tmp_path: Path, width: int, lines: int) -> None:  # type: ignore[no-untyped-def]
    entries = [version("v1"), version("v2", "v1"), version("v3", "v1"), version("v4", "v2", "v3")]
    values = {each["name"]: around(100.0, turn=at) for at, each in enumerate(entries)}
    page = tmp_path / "page.html"
    page.write_text(render_page(collect(small_tree.make(tmp_path, entries, values)), Gallery()))
    shown = visit(page.as_uri(), viewport={"width": width, "height": 900})
    assert shown.locator(".merges path").count() == 1
    assert shown.locator(".merges:visible").count() == lines
    if lines:
        box = shown.locator(".merges path").bounding_box()
        other, merge = (shown.locator(f"[data-name={name}] .blank").bounding_box() for name in ("v3", "v4"))
        assert box["x"] == pytest.approx(other["x"] + other["width"], abs=8)
        assert box["y"] == pytest.approx(merge["y"] + merge["height"], abs=8)
