"""Every page of the book in a browser that can reach no other host."""

import re
from pathlib import Path
from typing import Any

import pytest

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
def test_axe_finds_nothing_serious(seen: Any, state: str) -> None:
    assert seen.violations[state] == []


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
        # (upright, italic, ...) depends on the formulas.
        assert page.evaluate(
            "[...document.fonts].some(f => f.family.startsWith('MJXTEX') && f.status === 'loaded')"
        )
        box = page.locator(".math mjx-container").first.bounding_box()
        assert box
        assert box["width"] > 0
    page.close()
