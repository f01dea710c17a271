"""What the HTML standard asks of a page and a browser silently repairs."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser

VOID = {
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
}
# Their end tags may be left out, and are where the next one begins.
OPTIONAL = {"p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "option"}
BLOCKS = {
    "address",
    "article",
    "aside",
    "blockquote",
    "details",
    "div",
    "dl",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "ul",
}
# Elements that hold text and no blocks; and what takes clicks holds nothing that takes them.
TEXT_ONLY = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "span", "summary", "button", "label", "pre"}
CLICKED = {"a", "button", "label", "select", "textarea", "summary"}
GONE = {
    "acronym",
    "big",
    "center",
    "dir",
    "font",
    "frame",
    "frameset",
    "marquee",
    "nobr",
    "strike",
    "tt",
}


class Checked(HTMLParser):
    """A page, read; `errors` says what is wrong with it."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: Counter[str] = Counter()
        self.named: list[tuple[str, str]] = []
        self.found: list[str] = []

    def say(self, message: str) -> None:
        """Note what is wrong, with its line."""
        self.found.append(f"line {self.getpos()[0]}: {message}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check where an element stands, and its attributes."""
        names = Counter(name for name, _ in attrs)
        if twice := [name for name, count in names.items() if count > 1]:
            self.say(f"<{tag}> has {twice[0]} twice")
        given = dict(attrs)
        if (identity := given.get("id")) is not None:
            self.ids[identity] += 1
            if not identity or any(c.isspace() for c in identity):
                self.say(f"id {identity!r}")
        for name in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            self.named += [(name, one) for one in (given.get(name) or "").split()]
        if tag == "img" and "alt" not in given:
            self.say("<img> without alt")
        if tag in GONE:
            self.say(f"<{tag}> is no longer HTML")
        if tag in BLOCKS and self.open and self.open[-1] == "p":
            self.open.pop()  # a block ends the paragraph; </p> after it closes nothing
        if tag in BLOCKS and (outer := next((o for o in self.open[::-1] if o in TEXT_ONLY), "")):
            self.say(f"<{tag}> in <{outer}>")
        if tag in CLICKED and (outer := next((o for o in self.open[::-1] if o in CLICKED), "")):
            self.say(f"<{tag}> in <{outer}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take <path/> of an SVG as opened and closed."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Check that the element that ends is the one opened last."""
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL:
            self.open.pop()
        if not self.open or self.open[-1] != tag:
            self.say(f"</{tag}> closes {f'<{self.open[-1]}>' if self.open else 'nothing'}")
        else:
            self.open.pop()

    def errors(self) -> list[str]:
        """Return what is wrong, after the page was fed."""
        twice = [f"id {name} {count} times" for name, count in self.ids.items() if count > 1]
        lost = [f"{name}={one} names nothing" for name, one in self.named if one not in self.ids]
        left = [f"<{tag}> is not closed" for tag in self.open if tag not in OPTIONAL]
        return self.found + twice + lost + left
