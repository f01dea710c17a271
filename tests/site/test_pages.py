"""Every page of the book in a browser that can reach no other host."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from justhtml import JustHTML

from tests.site.markup import Checked
from tools import browser

pytestmark = pytest.mark.browser


def test_page_asks_no_other_host(seen: Any) -> None:
    assert seen.asked_elsewhere == []


def test_every_request_succeeds(seen: Any) -> None:
    assert seen.failed == []


def test_no_error_in_the_console(seen: Any) -> None:
    assert seen.console + seen.errors == []


def test_every_formula_is_set(seen: Any) -> None:
    assert seen.formulas["errors"] == []
    assert seen.formulas["raw"] == []
    assert seen.formulas["faceless"] == []
    assert seen.formulas["set"] == seen.formulas["asked"]


def test_one_search_is_visible(seen: Any) -> None:
    # The search page is the search: its own field comes on top of the one on every page.
    allowed = (1, 2) if seen.name == "search" else (1,)
    assert seen.searches[browser.WIDE] in allowed
    assert seen.searches[browser.NARROW] in allowed


def test_page_does_not_scroll_sideways_on_a_phone(seen: Any) -> None:
    assert seen.sideways == {"by": 0, "wide": []}


def test_every_image_loads_and_has_alt_text(seen: Any) -> None:
    for image in seen.images["light"]:
        assert image["width"] > 0, f"{image['source']} did not load"
        assert image["alt"], f"{image['source']} has no alt text"


@pytest.mark.parametrize("state", ["light", "narrow"])
def test_images_keep_their_proportions(seen: Any, state: str) -> None:
    for image in seen.images[state]:
        assert abs(image["stretch"] - 1) < 0.02, image["source"]


def test_figures_are_inverted_in_the_dark_only(seen: Any) -> None:
    for image in seen.images["light"]:
        assert image["filter"] == "none"
    for image in seen.images["dark"]:
        wanted = "none" if image["kept"] else "invert(0.9) hue-rotate(180deg)"
        assert image["filter"] == wanted, image["source"]
        assert image["kept"] or image["ground"] == "rgba(0, 0, 0, 0)", image["source"]


@pytest.mark.parametrize("state", ["light", "dark", "narrow"])
def test_axe_finds_nothing(seen: Any, state: str) -> None:
    assert seen.violations[state] == []


def test_keyboard_reaches_what_scrolls(seen: Any) -> None:
    assert seen.unreached == []


def test_page_waits_for_little(seen: Any, site: Path) -> None:
    # At 1.4 Mbit/s, 150 kB take 0.9 s; a page waits for its style sheets, and for no script.
    assert [path for path in seen.blocking if path.endswith(".js")] == []
    sent = sum(len(gzip.compress((site / path.lstrip("/")).read_bytes())) for path in seen.blocking)
    assert sent < 150_000


def test_nothing_loads_icons_as_a_script(site: Path) -> None:
    for name in browser.pages():
        assert "all.min.js" not in (site / f"{name}.html").read_text(encoding="utf-8"), name


@pytest.fixture(scope="module")
def without_scripts(chromium: Any) -> Iterator[Any]:
    """A phone that runs no JavaScript."""
    context = browser.patient(
        chromium.new_context(
            viewport={"width": browser.NARROW, "height": 844}, java_script_enabled=False
        )
    )
    yield context
    context.close()


def test_page_reads_without_scripts(without_scripts: Any, address: str) -> None:
    page = without_scripts.new_page()
    page.goto(f"{address}/book/backward.html")
    assert r"\(" not in page.locator("main").inner_text()
    box = page.locator(".math mjx-container").first.bounding_box()
    assert box
    assert box["width"] > 0
    style = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    assert (
        page.locator("main p a[href]").first.evaluate(style)[0] == "rgb(11, 87, 183)"
    )  # the light theme's, from custom.css
    assert page.locator("body").evaluate(style)[1] == "rgb(255, 255, 255)"
    solution = page.locator("details.solution").first
    solution.locator("summary").click()
    assert solution.locator("p").first.is_visible()
    page.close()


def test_all_of_a_solutions_title_opens_it(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page())
    page.goto(f"{address}/book/backward.html")
    solutions = page.locator("details.solution")
    assert solutions.count() >= 5
    assert page.locator("details.solution > summary a").count() == 0
    for along in (0.1, 0.5, 0.9):
        summary = solutions.first.locator("summary")
        box = summary.bounding_box()
        assert box
        was = solutions.first.evaluate("e => e.open")
        summary.click(position={"x": along * box["width"], "y": box["height"] / 2})
        assert solutions.first.evaluate("e => e.open") is not was
        assert page.url.endswith("backward.html")
    page.close()


def test_a_folded_cell_says_one_thing(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page())
    page.goto(f"{address}/notebooks/mnist.html")
    fold = page.locator("details.hide.above-input").first
    summary = fold.locator("summary")
    assert summary.inner_text().strip() == "Show code cell source"
    summary.click()
    assert summary.inner_text().strip() == "Hide code cell source"
    page.close()


def test_the_way_on_ends_on_the_screen(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page(viewport={"width": 390, "height": 844}))
    for name in ("book/preface", "book/introduction", "notebooks/mnist"):
        page.goto(f"{address}/{name}.html")
        page.evaluate(browser.SETTLED)
        for arrow in page.locator(".prev-next-area i").all():
            box = arrow.bounding_box()
            assert box
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390
    page.close()


def test_focus_shows(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page())
    page.goto(f"{address}/book/backward.html")
    hidden = []
    for _ in range(60):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            "return [e.outerHTML.slice(0, 120), s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        if style[1] == "none" or style[2] < 2:
            hidden.append(style[0])
    assert hidden == []
    page.close()


def test_print_is_dark_on_white_and_whole(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page(color_scheme="dark"))
    page.goto(f"{address}/book/backward.html")
    page.emulate_media(media="print", color_scheme="dark")
    style = "e => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor]"
    assert page.locator("main p").first.evaluate(style)[0] == "rgb(0, 0, 0)"
    assert page.locator("body").evaluate(style)[1] == "rgb(255, 255, 255)"
    assert (
        page.evaluate(
            "[...document.querySelectorAll('main pre')].filter(e => e.checkVisibility()"
            " && e.scrollWidth > e.clientWidth + 1"
            " && getComputedStyle(e).overflowX !== 'visible').length"
        )
        == 0
    )
    page.close()


def test_every_page_is_valid_html(site: Path) -> None:
    wrong = []
    for name in (*browser.pages(), "search", "genindex", "py-modindex"):
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        checked = Checked()
        checked.feed(text)
        found = [*checked.errors(), *map(str, JustHTML(text, collect_errors=True).errors)]
        wrong += [f"{name}: {message}" for message in found]
    assert wrong == []


def test_every_page_has_one_title_and_its_own_description(site: Path) -> None:
    described: dict[str, str] = {}
    for name in browser.pages():
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        found = re.findall(r'<meta name="description" content="([^"]+)"', text)
        assert len(found) == 1, name
        assert 40 <= len(found[0]) <= 320, f"{name}: {found[0]}"
        assert found[0] not in described, f"{name} and {described.get(found[0])}"
        described[found[0]] = name
        (title,) = re.findall(r"<title>(.*?)</title>", text, re.DOTALL)
        parts = [part.strip() for part in title.split("&#8212;")]
        assert len(parts) == len(set(parts)), f"{name}: {title}"
        assert len(re.findall(r"<h1\b", text)) == 1, name


def test_first_page_leads_into_the_book(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page())
    page.goto(f"{address}/index.html")
    page.wait_for_url(f"{address}/{browser.pages()[0]}.html")
    page.close()


def test_search_finds_a_page(chromium: Any, address: str) -> None:
    page = browser.patient(chromium.new_page())
    page.goto(f"{address}/search.html?q=normalization")
    page.wait_for_selector("#search-results li a")
    page.close()


@pytest.mark.parametrize("name", browser.pages())
def test_formulas_show_from_the_disk(name: str, chromium: Any, site: Path) -> None:
    html = (site / f"{name}.html").read_text(encoding="utf-8")
    asked = len(re.findall(r'class="math\b', html))
    page = browser.patient(chromium.new_page())
    page.goto((site / f"{name}.html").as_uri())
    page.evaluate(browser.SETTLED)
    assert page.locator(".math mjx-container").count() >= asked
    assert page.locator("mjx-merror").count() == 0
    if asked:
        # Formulas take up room, and their glyphs come from MathJax's own fonts: of which family
        # (upright, italic, ...) depends on the formulas. What is folded asks for none.
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        page.evaluate(browser.SETTLED)
        assert page.evaluate(
            "[...document.fonts].some(f => f.family.startsWith('MJXTEX') && f.status === 'loaded')"
        )
        box = page.locator(".math mjx-container").first.bounding_box()
        assert box
        assert box["width"] > 0
    page.close()
