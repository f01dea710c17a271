"""Take a picture of every page: wide and narrow, light and dark. To be looked at by hand."""

from __future__ import annotations

import shutil
import sys
from typing import Literal

from playwright.sync_api import sync_playwright

from tools import book, browser

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> None:
    """Write _build/screenshots/PAGE-WIDTH-SCHEME.png for each."""
    executable = browser.find()
    if executable is None:
        sys.exit("screenshots: no Chromium found; install one, or name it in BN_CHROMIUM")
    site = book.build().parent
    target = site.parent / "screenshots"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    with sync_playwright() as playwright, browser.served(site) as address:
        chromium = browser.launch(playwright, executable)
        for width in (browser.WIDE, browser.NARROW):
            for scheme in SCHEMES:
                context = chromium.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                page = context.new_page()
                for name in browser.pages():
                    page.goto(f"{address}/{name}.html")
                    page.evaluate(browser.SETTLED)
                    file = target / f"{name.replace('/', '-')}-{width}-{scheme}.png"
                    page.screenshot(path=file, full_page=True)
                context.close()
        chromium.close()
    print(f"screenshots: {len(list(target.iterdir()))} in {target}")


if __name__ == "__main__":
    main()
