"""Time each page on a slow phone: when it is first painted, and when its formulas stand.

The phone is Chromium with a processor four times slower and a network of 1.4 Mbit/s with 150 ms
to the server and back, and the server compresses text. A busy
machine makes every page slower; no test asserts a time.
"""

from __future__ import annotations

import sys
from typing import Any

from playwright.sync_api import sync_playwright

from tools import book, browser

SLOWER = 4
NETWORK = {
    "offline": False,
    "latency": 150,  # ms
    "downloadThroughput": 1.4e6 / 8,  # bytes/s
    "uploadThroughput": 1.4e6 / 8,
}

# Formulas stand when their typesetting (if a script does it) and their fonts are done.
TIMES = """async () => {
    if (document.readyState !== "complete")
        await new Promise(done => addEventListener("load", done));
    await window.MathJax?.startup?.promise;
    await document.fonts.ready;
    const fonts = performance.getEntriesByType("resource").filter(r => /woff2?$/.test(r.name));
    const set = window.MathJax?.startup ? performance.now() : 0;
    const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
    const all = [...performance.getEntriesByType("resource"),
                 ...performance.getEntriesByType("navigation")];
    return {paint, formulas: Math.max(paint, set, ...fonts.map(f => f.responseEnd)),
            bytes: all.reduce((sum, r) => sum + r.transferSize, 0)};
}"""


def timed(chromium: Any, url: str) -> dict[str, float]:
    """Open a page as a new visitor on a slow phone; return its times in ms, and its bytes."""
    context = browser.patient(chromium.new_context(viewport={"width": 390, "height": 844}))
    page = context.new_page()
    phone = context.new_cdp_session(page)
    phone.send("Network.enable")
    phone.send("Network.emulateNetworkConditions", NETWORK)
    phone.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.goto(url, wait_until="commit")
    times: dict[str, float] = page.evaluate(TIMES)
    context.close()
    return times


def main() -> None:
    """Print a line for each page, or for those named."""
    executable = browser.find()
    if executable is None:
        sys.exit("paint: no Chromium found; install one, or name it in BN_CHROMIUM")
    site = book.ROOT / book.INDEX.parent
    with sync_playwright() as playwright, browser.served(site, browser.Compressing) as address:
        chromium = browser.launch(playwright, executable)
        print(f"{'page':42} {'first paint':>12} {'formulas':>9} {'kB':>6}")
        for name in sys.argv[1:] or browser.pages():
            t = timed(chromium, f"{address}/{name}.html")
            print(
                f"{name:42} {t['paint'] / 1000:10.1f} s {t['formulas'] / 1000:7.1f} s "
                f"{t['bytes'] / 1000:6.0f}",
                flush=True,
            )
        chromium.close()


if __name__ == "__main__":
    main()
