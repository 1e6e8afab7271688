from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.fabricated import edit, fabricate_run

from ganealogy.report import markdown, palette
from ganealogy.report.collect import collect
from ganealogy.report.page import hosts, linked, render
from ganealogy.report.pictures import gather
from ganealogy.workspace import run_dir


def page(root: Path) -> str:
    findings = collect(root)
    return render(findings, gather(findings))


@pytest.fixture(scope="session")
def html(shared_project: Path) -> str:
    return page(shared_project)


class Outline(HTMLParser):
    """Every tag with its attributes, and the text outside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] not in ("script", "style"):
            self.text += data


def test_the_machine_is_shown_with_its_arithmetic(html: str, project: Path) -> None:
    assert "All runs: x86_64, 2 threads, torch 2.15.0, Python 3.11.9, fp32<" in html
    path = project / "build/runs/v1/cost/train/0.json"
    other = json.loads(path.read_text()) | {"arithmetic": "bf16, tf32 where a penalty differentiates D"}
    path.write_text(json.dumps(other))
    machines = dict(hosts(collect(project)))
    machine = "x86_64, 2 threads, torch 2.15.0, Python 3.11.9"
    assert machines[f"{machine}, bf16, tf32 where a penalty differentiates D"] == ["v1 seed 0"]
    assert len(machines) == 2, "another arithmetic counts as another machine"


def test_terms_of_ds_loss_are_curves_where_a_run_has_them(html: str, shared_project: Path) -> None:
    for column in ("d_loss", "d_loss_real", "d_loss_fake"):
        assert f'data-curve="{column}"' in html
    findings = collect(shared_project)
    for run in findings.runs:
        for tick in run.ticks:
            tick.pop("d_loss_real", None), tick.pop("d_loss_fake", None)
    without = render(findings, gather(findings))
    assert 'data-curve="d_loss"' in without and "d_loss_real" not in without


def test_the_page_is_self_contained(html: str) -> None:
    for tag, attributes in Outline(html).tags:
        for name in ("src", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), f"<{tag} {name}> points outside"
        assert tag not in ("iframe", "object", "embed", "base")
        assert tag != "link" or attributes["href"] == "data:,"
    assert "default-src 'none'" in html
    assert "url(http" not in html and "@import" not in html


def test_hostile_text_is_escaped(html: str) -> None:
    assert "<script>alert" not in html and "<b>bold</b>" not in html
    outline = Outline(html)
    assert "<script>alert(1)</script>" in outline.text
    assert sum(tag == "script" and "type" not in attributes for tag, attributes in outline.tags) == 6


def test_each_version_has_the_tables_of_its_layers(html: str, project: Path) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", html[html.index('id="version-v7"') :]).split())
    assert "Layers Generator Kind Output Parameters Fixed layers.0 ConvTranspose2d 4x4 256×4×4 524,288 0" in text
    assert "in all 524,800 512 Discriminator Kind Output Parameters Fixed gain" in text
    assert html.count("<summary>Layers</summary>") == 4
    path = project / "build/plan/tree.json"
    tree = json.loads(path.read_text())
    for version in tree["versions"]:
        del version["layers"]  # a plan of an earlier release
    path.write_text(json.dumps(tree))
    assert "<summary>Layers" not in page(project)


def test_ids_are_unique_and_inner_links_have_targets(html: str) -> None:
    tags = Outline(html).tags
    ids = [attributes["id"] for _, attributes in tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    inner = {attributes["href"][1:] for tag, attributes in tags if tag == "a" and attributes["href"].startswith("#")}
    assert inner <= set(ids)


def test_an_unlisted_ancestor_appears_only_in_the_tree(project: Path) -> None:
    path = project / "build/plan/tree.json"
    tree = json.loads(path.read_text())
    tree["versions"][0]["listed"] = False
    path.write_text(json.dumps(tree))
    html = page(project)
    test_ids_are_unique_and_inner_links_have_targets(html)
    assert "not in this run" in html and 'id="version-v1"' not in html


def test_pictures_have_alternative_text(html: str) -> None:
    pictures = [attributes for tag, attributes in Outline(html).tags if tag == "img"]
    assert len(pictures) > 20
    assert all("alt" in attributes for attributes in pictures)
    assert sum(not attributes["alt"] for attributes in pictures) == 1, "only the empty frame of the enlargement"


def test_numbers_have_protocols_and_anchors(html: str) -> None:
    text = " ".join(Outline(html).text.split())
    assert "fid: not measured" in text and "ganealogy fetch inception" in text
    assert "not better than the mean image" in text
    assert "499 held-out reals" in text
    assert "CC BY 4.0" in text and "Lisa Wischofsky" in text
    assert "seed 1 diverged at step 376: d_loss is NaN" in text
    assert "dvc repro train@v3" in text
    assert "adversary.loss.real_target 1.0 → 0.9" in text
    assert "1,183,616" in text


def test_equal_inputs_give_equal_bytes(shared_project: Path, html: str) -> None:
    assert page(shared_project) == html


def test_a_small_tree_stays_below_6_mb(html: str) -> None:
    assert len(html) < 6_000_000


def remove_results(root: Path) -> None:
    shutil.rmtree(root / "build/runs")
    shutil.rmtree(root / "data")


def break_pictures(root: Path) -> None:
    run = run_dir("v1", 0, root)
    (run / "sample/images.npy").write_bytes(b"\x93NUMPY nothing")
    (run / "sample/strip.png").write_bytes((run / "sample/strip.png").read_bytes()[:200])
    (run / "sample/walk.webp").write_bytes(b"RIFF")
    (run / "train/grids/000000.png").write_text("text named .png")
    run.costs["train"].write_text("nothing")
    (root / "data/reference/real.png").unlink()


def break_by_pickle(root: Path) -> None:
    import numpy as np

    np.save(run_dir("v1", 0, root) / "sample/images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "gaps"),
    [
        (remove_results, ["v1 seed 0", "description of the data set"]),
        (
            break_pictures,
            ["samples of v1 seed 0", "interpolation of v1 seed 0", "grid 000000", "real pictures", "cost of v1 seed 0"],
        ),
        (break_by_pickle, ["samples of v1 seed 0"]),
    ],
)
def test_damaged_results_are_listed_and_the_rest_is_shown(
    project: Path, damage: Callable[[Path], None], gaps: list[str]
) -> None:
    damage(project)
    text = page(project)
    missing = text[text.index('id="missing"') :]
    for what in gaps:
        assert what in missing
    assert str(project) not in text, "no path of this machine in the page"


def test_forty_versions_are_shown(crowd: Path) -> None:
    html = page(crowd)
    assert html.count('<article class="version') == 40
    assert html.count("it has not been trained") == 119
    assert "--depth: 40" in html


def test_only_https_addresses_and_arxiv_numbers_become_links() -> None:
    assert str(linked("see arXiv 1701.00160")).count('href="https://arxiv.org/abs/1701.00160"') == 1
    assert 'href="https://example.org/a"' in linked("at https://example.org/a, and")
    assert linked('javascript:alert(1) "><img>') == "javascript:alert(1) &#34;&gt;&lt;img&gt;"


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_colours_have_contrast_and_are_distinct() -> None:
    for index in range(20):
        light, dark = palette.colour(index)
        assert contrast(light, "#ffffff") >= 3 and contrast(dark, "#1b1e24") >= 3, index
    assert len({palette.colour(index) for index in range(20)}) == 20
    assert palette.colour(20) == palette.colour(0) and palette.dash(20) != palette.dash(0)


def test_text_is_readable_in_both_themes(html: str) -> None:
    pairs = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", html))
    for text, background in [
        ("ink", "paper"),
        ("soft", "paper"),
        ("soft", "card"),
        ("link", "paper"),
        ("warn", "warn-card"),
    ]:
        for one, other in zip(pairs[text].split(", "), pairs[background].split(", "), strict=True):
            assert contrast(one, other) >= 4.5, (text, background)


def test_the_live_page_is_linked_if_it_was_built(project: Path) -> None:
    assert "ganealogy live" in page(project) and 'href="live.html"' not in page(project)
    (project / "reports").mkdir()
    (project / "reports/live.html").write_text("<!doctype html>")
    assert 'href="live.html"' in page(project)


def test_verdicts_flags_and_fingerprints_are_shown(html: str) -> None:
    text = " ".join(Outline(html).text.split())
    assert "too few seeds" in text and "A verdict needs 5 seeds" in text
    assert "Best → last" in text and "collapsed (seed 0): 2% of the reals' variance" in text
    assert "plan-v3" in text and "0123456789ab" in text
    assert 'tags.version = "v3"' in text, "without an MLflow store: the command and the filter"
    assert "fd_inf_effnet_lite0 of v1 seed 0, v1 seed 1" in text and "needs 5120 samples, has 500" in text


def test_versions_with_different_seeds_are_shown(project: Path) -> None:
    path = project / "build/plan/tree.json"
    seeds = {"v1": [1, 0], "v3": [1, 0, 7, 5], "v5": [1, 0], "v7": [1]}
    versions = json.loads(path.read_text())["versions"]
    edit(path, versions=[entry | {"seeds": seeds[entry["name"]]} for entry in versions])
    fabricate_run(project, "v3", 5, 0.8)
    html = page(project)
    text = " ".join(Outline(html).text.split())
    assert "4 versions × 1 to 4 seeds" in text and "The number under a picture is the mean over 1 to 4 seeds." in text
    assert "1; v1 also 0; v3 also 0, 7, 5; v5 also 0" in text
    assert "3 of 4 seeds" in text and "1 of 2 seeds" in text, "v3 lacks seed 7; seed 1 of v5 diverged"
    assert "of 1 seed" not in text, "v7 has all that it should have"
    buttons = re.findall(r'name="sample-seed" value="(\d+)"( checked)?', html)
    assert buttons == [("1", " checked"), ("0", ""), ("5", ""), ("7", "")], "first a seed that all versions have"
    sheets = re.findall(r'data-sample="(v\d)" (src|hidden)', html)
    assert sheets == [("v1", "src"), ("v3", "src"), ("v5", "hidden"), ("v7", "src")]


@pytest.mark.parametrize(("size", "pixels"), [(16, True), (32, True), (64, False)])
def test_small_pictures_are_scaled_without_smoothing(project: Path, size: int, pixels: bool) -> None:
    edit(project / "data/packed/manifest.json", image_size=size)
    assert ("<body class=pixels>" in page(project)) == pixels


def test_people_on_both_sides_of_the_split_are_told(project: Path) -> None:
    assert "People" not in page(project)
    edit(project / "data/packed/manifest.json", identities={"train": 10_000, "holdout": 4_000, "both": 3_900})
    assert "10,000 in training, 4,000 held out, 3,900 of them on both sides" in page(project)


@pytest.mark.parametrize("name", ["cats & dogs", "犬", "<b>x</b>"])
def test_of_own_pictures_the_reports_say_which(name: str, project: Path) -> None:
    title, licence = f"Your own pictures: {name}", "their licence is yours to state"
    given = {"source": "folder", "title": title, "licence": licence, "licence_url": "", "url": "", "artist": ""}
    edit(project / "data/packed/manifest.json", **given, dataset="0123456789abcdef")
    shown = escape(name)
    assert f"from {shown} (5,000 found, sha256 0123456789ab), their licence is yours to state" in page(project)
    assert "(5,000 found, sha256 0123456789ab), their licence" in markdown.render(collect(project), {})
