"""The built site, opened in Chromium: each page once, everything seen there written down."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # `tools` is not installed

from tools import book, browser  # noqa: E402

# What a reader sees of the search: fields and buttons, visible and inside the window.
SEARCHES = """() => [...document.querySelectorAll(
    "input[type=search], input[name=q], button[class*=search-button]")].filter(e =>
    e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true}) &&
    e.getBoundingClientRect().right > 0 && e.getBoundingClientRect().left < innerWidth).length"""

FORMULAS = """() => {
    const main = document.querySelector("main");
    const walk = document.createTreeWalker(main, NodeFilter.SHOW_TEXT);
    const raw = [];
    while (walk.nextNode()) {
        const inside = walk.currentNode.parentElement;
        if (inside.closest("pre, code, script, mjx-container")) continue;
        const text = walk.currentNode.data;
        if (/\\\\[([]|\\$\\$|\\\\begin\\{/.test(text)) raw.push(text);
    }
    return {
        asked: main.querySelectorAll(".math").length,
        set: main.querySelectorAll(".math > mjx-container, .math mjx-container").length,
        errors: [...main.querySelectorAll("mjx-merror, [data-mjx-error]")].map(e => e.outerHTML),
        faceless: [...document.fonts].filter(f => f.status === "error").map(f => f.family),
        raw,
    };
}"""

LOAD_IMAGES = """() => Promise.all([...document.images].map(image => {
    image.loading = "eager";
    return image.decode().catch(() => 0);  // one that fails has no natural width
}))"""

IMAGES = """() => {
    const padding = e => 2 * parseFloat(getComputedStyle(e).padding);
    return [...document.querySelectorAll("main img")].map(e => ({
    source: e.getAttribute("src").slice(0, 80), alt: e.alt.trim(), width: e.naturalWidth,
    filter: getComputedStyle(e).filter, kept: e.classList.contains("keep-colours"),
    // 1 where the picture is shown in its own proportions
    stretch: (e.clientWidth - padding(e)) / (e.clientHeight - padding(e))
        / (e.naturalWidth / e.naturalHeight),
    ground: getComputedStyle(e).backgroundColor}));
}"""

# How far the page can be scrolled sideways, and what reaches beyond the window without
# standing in a box that scrolls (the theme may clip it, and nobody could read it).
SIDEWAYS = """() => {
    scrollTo(10000, 0);
    const by = scrollX;
    scrollTo(0, 0);
    const outside = e => e.getBoundingClientRect().right > innerWidth + 1;
    const boxed = e => {
        for (let box = e.parentElement; box.closest("article"); box = box.parentElement)
            if (getComputedStyle(box).overflowX !== "visible" && !outside(box)) return true;
        return false;
    };
    const wide = [...document.querySelectorAll("article *")].filter(e =>
        outside(e) && !boxed(e) && e.checkVisibility() && !e.closest("mjx-assistive-mml"));
    return {by, wide: wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120))};
}"""


# What scrolls out of the keyboard's reach.
KEYBOARD = """() => {
    const shown = e => e.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
    const stops = "a[href], button, input, summary, select, textarea, [tabindex='0']";
    const scrolls = e => {
        const s = getComputedStyle(e);
        return (e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(s.overflowX)) ||
            (e.scrollHeight > e.clientHeight + 1 && /auto|scroll/.test(s.overflowY));
    };
    return {
        unreached: [...document.querySelectorAll("body *")].filter(e => shown(e) && scrolls(e) &&
            e.tabIndex < 0 && ![...e.querySelectorAll(stops)].some(shown))
            .map(e => e.outerHTML.slice(0, 120)),
    };
}"""

# Style sheets and scripts that a browser waits for before it draws: those in the head that are
# not deferred. Their sizes on disk, in bytes.
BLOCKING = """() => [...document.head.querySelectorAll(
    "link[rel=stylesheet], script[src]:not([defer], [async], [type=module])")]
    .map(e => new URL(e.href || e.src).pathname)"""


@dataclass
class Seen:
    """What one page did and showed."""

    name: str
    asked_elsewhere: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    searches: dict[int, int] = field(default_factory=dict)
    formulas: dict[str, Any] = field(default_factory=dict)
    images: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sideways: dict[str, Any] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(default_factory=dict)
    unreached: list[str] = field(default_factory=list)
    blocking: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def built() -> Path | book.BuildError:
    """Build the book as `make book` does; return its first page, or why there is none.

    Of several workers the first one builds it for all: another build would rewrite the pages
    that they are reading.
    """
    this_run = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    note = book.ROOT / "_build" / ".book-built-for-tests"
    note.parent.mkdir(exist_ok=True)
    with FileLock(note.with_suffix(".lock")):
        if this_run and note.is_file() and note.read_text(encoding="utf-8") == this_run:
            return book.ROOT / book.INDEX
        try:
            index = book.build()
        except book.BuildError as error:
            return error
        note.write_text(this_run, encoding="utf-8")
        return index


@pytest.fixture(scope="session")
def site(built: Path | book.BuildError) -> Path:
    """Return the folder of the built site."""
    if isinstance(built, book.BuildError):
        pytest.skip("the book does not build: test_build.py says why")
    return built.parent


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start the system's Chromium; without one, skip, or fail where CI requires it."""
    executable = browser.find()
    if executable is None:
        message = "no Chromium on PATH (Debian: apt install chromium) nor in BN_CHROMIUM"
        if os.environ.get("BN_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = browser.launch(playwright, executable)
        yield started
        started.close()


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    """Serve the site on loopback; return its address."""
    with browser.served(site) as url:
        yield url


@pytest.fixture(scope="session", params=[*browser.pages(), "search", "genindex"])
def seen(request: pytest.FixtureRequest, chromium: Any, address: str) -> Seen:
    """Visit one page with every other host blocked; return what was seen."""
    return visit(chromium, address, request.param)


def visit(chromium: Any, address: str, name: str) -> Seen:
    """Open a page wide and light, then dark, then as narrow as a phone."""
    seen = Seen(name)
    context = browser.patient(
        chromium.new_context(viewport={"width": browser.WIDE, "height": 900}, color_scheme="light")
    )

    def guard(route: Any) -> None:
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            seen.asked_elsewhere.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    page = context.new_page()
    page.on("console", lambda m: m.type == "error" and seen.console.append(m.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("requestfailed", lambda r: seen.failed.append(f"{r.failure}: {r.url}"))
    page.on("response", lambda r: r.status >= 400 and seen.failed.append(f"{r.status}: {r.url}"))
    page.goto(f"{address}/{name}.html", wait_until="load")
    page.evaluate(browser.SETTLED)
    # Images below the fold may be lazy.
    page.evaluate(LOAD_IMAGES)
    # Colours are read right after a switch, not in the middle of a transition.
    page.add_style_tag(content="* { transition: none !important; }")

    seen.formulas = page.evaluate(FORMULAS)
    seen.blocking = page.evaluate(BLOCKING)
    for scheme, rules in (("light", []), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(browser.SETTLED)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        seen.images[scheme] = page.evaluate(IMAGES)
        seen.violations[scheme] = violations(page, *rules)
    seen.searches[browser.WIDE] = page.evaluate(SEARCHES)
    page.set_viewport_size({"width": browser.NARROW, "height": 844})
    page.evaluate(browser.SETTLED)
    seen.searches[browser.NARROW] = page.evaluate(SEARCHES)
    seen.images["narrow"] = page.evaluate(IMAGES)
    seen.sideways = page.evaluate(SIDEWAYS)
    seen.unreached = page.evaluate(KEYBOARD)["unreached"]
    seen.violations["narrow"] = violations(page, "scrollable-region-focusable")
    context.close()
    return seen


def violations(page: Any, *rules: str) -> list[str]:
    """Return what axe finds wrong on the page; by default by all its rules."""
    from axe_playwright_python.sync_playwright import Axe

    # Without `preload` axe asks for imported style sheets itself, at wrong addresses.
    options: dict[str, Any] = {"preload": False}
    if rules:
        options["runOnly"] = list(rules)
    else:  # axe counts this rule among its experiments: a control is called what stands on it
        options["rules"] = {"label-content-name-mismatch": {"enabled": True}}
    # Inside formulas there are thousands of elements, all of them MathJax's.
    found = Axe().run(page, context={"exclude": [["mjx-container"]]}, options=options)
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]
