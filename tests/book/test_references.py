"""Each reference leads to what it names."""

import re

from pybtex.database import parse_file

FORMS = {
    "doi": r"10\.\d{4,}/\S+",
    "eprint": r"\d{4}\.\d{4,5}",
    "url": r"https://\S+",
}


def test_each_entry_has_a_link(root):
    entries = parse_file(root / "book" / "references.bib").entries
    assert len(entries) > 20
    for key, entry in entries.items():
        links = {name: entry.fields[name] for name in FORMS if name in entry.fields}
        assert links, key
        for name, text in links.items():
            assert re.fullmatch(FORMS[name], text), f"{key}: {name} = {text}"
