"""The paper map: beside each statement of the paper, where this book derives, runs and tests it.

``book/paper-map.yml`` lists the statements. Where each is treated stands in no list, so that it
cannot become outdated: it is collected from markers whenever the book is built.

* In a chapter, a comment line ``% paper: alg-1, eq-layer`` belongs to the section it stands in,
  or, directly above a heading, to the section which begins there. ``% measured: fig-1a`` says in
  addition that this section shows what was measured.
* In a notebook, a code cell's metadata ``"paper": ["alg-1"]`` belong to the section of the cell.
* In ``bn/`` and ``tests/``, a comment ``# paper: alg-1`` belongs to the innermost function or
  class around it, or, directly above one (above its decorators), to that. It can stand above or
  behind a constant of a module, too.

The directive ``{paper-map}`` takes a section of the paper, or ``counts``. A marker with an unknown
id, one that belongs to nothing, an entry that lacks what it needs outside the sections marked
``later``, a measured one without a section that shows the measurement, and a public function that
the API page does not document are warnings, which fail the build. Code and tests are read again in
every build, and the page is written again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from paper_markers import (
    MAP,
    MEASURED,
    VERDICTS,
    Definition,
    Entry,
    definitions,
    documented,
    ids_in,
    load,
)
from sphinx.application import Sphinx
from sphinx.domains.python import ObjectEntry, PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.environment.collectors import EnvironmentCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)

#: What an entry can need, as it is called on the page.
TITLES = {"chapter": "Chapter", "notebook": "Notebook", "code": "Code", "test": "Tests"}
FOLDERS = {"code": "bn", "test": "tests"}
PAGES = ("chapter", "notebook")
#: How to mend what is missing.
PLACES = {
    "chapter": "the line '%% paper: %s' to a page in book/",
    "notebook": 'the metadata "paper": ["%s"] to a cell of a notebook',
    "code": "the comment '# paper: %s' to a function in bn/",
    "test": "the comment '# paper: %s' to a test",
}


class Heading(NamedTuple):
    """A section of a page, with the ids of the entries that it treats."""

    ids: tuple[str, ...]
    docname: str
    anchor: str
    title: str  # empty for the whole page
    measured: tuple[str, ...]  # those that are measured there


#: By id, and by kind or "measured": headings or definitions.
Found = dict[str, dict[str, list[Any]]]


# -- markers in pages ----------------------------------------------------------------------


class Headings(EnvironmentCollector):
    """Collects the markers of each page that is read, and keeps those of the others."""

    def clear_doc(self, app: Sphinx, env: BuildEnvironment, docname: str) -> None:
        """Forget a page."""
        _headings(env).pop(docname, None)
        _shown(env).pop(docname, None)

    def merge_other(
        self, app: Sphinx, env: BuildEnvironment, docnames: set[str], other: BuildEnvironment
    ) -> None:
        """Take over what another process has read."""
        for docname in docnames:
            _headings(env)[docname] = _headings(other)[docname]
            _shown(env)[docname] = _shown(other)[docname]

    def process_doc(self, app: Sphinx, doctree: nodes.document) -> None:
        """Note the markers of a page, and the entries that it shows."""
        docname = app.env.docname
        marked = [
            _heading(node, docname)
            for node in doctree.findall(nodes.Element)
            if isinstance(node, nodes.comment | nodes.container)
        ]
        _headings(app.env)[docname] = [heading for heading in marked if heading.ids]
        _shown(app.env)[docname] = [node["entry"] for node in doctree.findall(places)]


def _heading(node: nodes.Element, docname: str) -> Heading:
    """Return the section that a comment or a cell belongs to, with the ids that it names."""
    if isinstance(node, nodes.comment):
        measured = ids_in(node.astext(), "measured")
        ids = tuple(dict.fromkeys(ids_in(node.astext()) + measured))
    else:  # what a cell computes is a measurement, if its entry is one that is measured
        measured, ids = (), tuple(node.get("cell_metadata", {}).get("paper", ()))
    below = node.next_node(descend=False, siblings=True, ascend=True)
    while isinstance(below, nodes.comment | nodes.target):
        below = below.next_node(descend=False, siblings=True, ascend=True)
    section: Any = below if isinstance(node, nodes.comment) else None
    if not isinstance(section, nodes.section):
        section = node.parent
        # an exercise's content is a section, too, without a title
        while section is not None and not (
            isinstance(section, nodes.section) and isinstance(section[0], nodes.title)
        ):
            section = section.parent
    if section is None or isinstance(section.parent, nodes.document):
        return Heading(ids, docname, "", "", measured)
    title = section.next_node(nodes.title).astext()
    return Heading(ids, docname, section["ids"][0], title, measured)


def _headings(env: BuildEnvironment) -> dict[str, list[Heading]]:
    return _kept(env, "paper_map_headings")


def _shown(env: BuildEnvironment) -> dict[str, list[str]]:
    return _kept(env, "paper_map_shown")


def _kept(env: BuildEnvironment, name: str) -> dict[str, Any]:
    """Return what the environment keeps from one build to the next under a name."""
    if not hasattr(env, name):
        setattr(env, name, {})
    kept: dict[str, Any] = getattr(env, name)
    return kept


# -- putting them together -----------------------------------------------------------------


def collect(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Put all markers together, warn of what is wrong, and have the map written again."""
    root = Path(app.srcdir)
    entries, found = load(root), _kept(env, "paper_map_found")
    found.update({name: defaultdict(list) for name in entries})

    def add(kind: str, marked: Heading | Definition, where: str) -> None:
        for name in marked.ids:
            if name not in entries:
                message = "paper map: there is no entry %r in %s; correct the marker or add it"
                logger.warning(message, name, MAP, location=where)
            else:
                found[name][kind].append(marked)
                if isinstance(marked, Heading) and entries[name].verdict in MEASURED:
                    if kind == "notebook" or name in marked.measured:
                        found[name]["measured"].append(marked)
                elif isinstance(marked, Heading) and name in marked.measured:
                    message = "paper map: %s is marked as measured, and its verdict in %s is %r"
                    logger.warning(message, name, MAP, entries[name].verdict, location=where)

    for docname, headings in sorted(_headings(env).items()):
        kind = "notebook" if docname.startswith("notebooks/") else "chapter"
        for heading in headings:
            add(kind, heading, docname)
    for kind, folder in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            for definition in definitions(path, root):
                where = f"{definition.path}:{definition.line}"
                if fault := misplaced(kind, definition, root, _api(env)):
                    logger.warning("paper map: %s", fault, location=where)
                add(kind, definition, where)

    shown = [name for names in _shown(env).values() for name in names if name]
    for entry in entries.values():
        where = f"{MAP}:{entry.line}"
        if shown.count(entry.id) != 1:
            message = "paper map: entry %s is shown %s times; the page needs each section once"
            logger.warning(message, entry.id, shown.count(entry.id), location=where)
        for kind in () if entry.later else lacking(entry, found[entry.id]):
            message = "paper map: entry %s needs a %s, and no marker names it; add %s"
            logger.warning(message, entry.id, kind, PLACES[kind] % entry.id, location=where)
        if entry.verdict in MEASURED and not found[entry.id]["measured"]:
            message = "paper map: no marker says where %s is measured; add '%% measured: %s'"
            logger.warning(message, entry.id, entry.id, location=where)
    return [docname for docname, names in _shown(env).items() if names]


def misplaced(kind: str, definition: Definition, root: Path, objects: Container[str]) -> str:
    """Say what is wrong with the place of a marker in code or tests; nothing if it is right."""
    name = definition.name
    if not name:
        return "the marker belongs to nothing; put it above or inside a function, class or constant"
    if kind == "test" and not name.rpartition(".")[2].startswith("test_"):
        return f"the marker belongs to {name}, which is no test; put it above a function test_..."
    public, should_be = documented(definition, root, objects)
    if kind == "code" and should_be and not public:
        return f"{name} is public and not on the page of the API; add it to book/api.md"
    return ""


def lacking(entry: Entry, kinds: dict[str, list[Any]]) -> list[str]:
    """Return what an entry needs and does not have."""
    return [kind for kind in entry.needs if not kinds.get(kind)]


def count(entries: Iterable[Entry]) -> str:
    """Say how many entries there are, and how many of each verdict."""
    verdicts = Counter(entry.verdict or "later" for entry in entries)
    number = verdicts.total()
    parts = (f"{word}: {verdicts[word]}" for word in (*VERDICTS, "later") if verdicts[word])
    return f"{number} {'statement' if number == 1 else 'statements'}. {'; '.join(parts)}."


# -- the page ------------------------------------------------------------------------------


class places(nodes.General, nodes.Element):  # type: ignore[misc] # noqa: N801 (as docutils')
    """Stands on the page, while it is read, for what is known when all pages have been read."""


class folded(nodes.General, nodes.Element):  # type: ignore[misc] # noqa: N801
    """A statement: a row with its name and verdict, which opens."""


class summary(nodes.General, nodes.TextElement):  # type: ignore[misc] # noqa: N801
    """The row."""


def _open(writer: Any, node: folded) -> None:
    writer.body.append(writer.starttag(node, "details", CLASS="paper-entry"))


def _close(writer: Any, node: folded) -> None:
    writer.body.append("</details>\n")


def _open_row(writer: Any, node: summary) -> None:
    writer.body.append('<summary><span class="paper-name">')


def _close_row(writer: Any, node: summary) -> None:
    kind = node["verdict"].replace(", ", "-").replace(" ", "-")
    verdict = f'<span class="paper-verdict paper-{kind}">{node["verdict"]}</span>'
    writer.body.append(f"</span> {verdict}</summary>\n")


def add_style(app: Sphinx, page: str, template: str, context: object, doctree: object) -> None:
    """Give the page that shows the map its style sheet."""
    if _shown(app.env).get(page):
        app.add_css_file("paper-map.css")


class PaperMapDirective(SphinxDirective):
    """Show the entries of one section of the paper, or count all."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        wanted = self.arguments[0]
        entries = load(Path(self.env.srcdir)).values()
        self.env.note_dependency(str(Path(self.env.srcdir) / MAP))
        chosen = [entry for entry in entries if wanted in (entry.section, "counts")]
        if not chosen:
            sections = ", ".join(dict.fromkeys(entry.section for entry in entries))
            raise self.error(f"paper-map: no section {wanted!r}; there are {sections}, and counts")
        sentence = places("", entry="", of=[entry.id for entry in chosen])
        if wanted == "counts":
            return [sentence]
        return [sentence, *(self.entry(entry) for entry in chosen)]

    def entry(self, entry: Entry) -> nodes.Node:
        """Return a name and a verdict, and folded the statement and what the book makes of it.

        What the book makes of it is known later, so there is a placeholder.
        """
        text = f"{entry.label}: {entry.says}" if entry.label else entry.says
        row = summary("", "", *self.inline(entry.name), verdict=entry.verdict or "later")
        return folded(
            "", row, nodes.paragraph("", "", *self.inline(text)),
            places("", *self.inline(entry.note), entry=entry.id, of=[]),
            ids=[f"paper-{entry.id}"],
        )  # fmt: skip

    def inline(self, text: str) -> list[nodes.Node]:
        """Return text as nodes, with formulas."""
        found, _ = self.state.inline_text(text, self.lineno)
        return list(found)


class FillIn(SphinxPostTransform):
    """Replaces the placeholders."""

    default_priority = 5

    def run(self, **options: Any) -> None:
        found: Found = _kept(self.env, "paper_map_found")
        waiting = list(self.document.findall(places))
        entries = load(Path(self.env.srcdir)) if waiting else {}
        for node in waiting:
            if node["of"]:
                text = count(entries[name] for name in node["of"])
                node.replace_self(nodes.paragraph("", text))
            else:
                entry = entries[node["entry"]]
                node.replace_self(self.lines(entry, found[entry.id], node.children))

    def lines(
        self, entry: Entry, kinds: dict[str, list[Any]], note: list[nodes.Node]
    ) -> nodes.bullet_list:
        """Return a list: a note, each kind of place, and what is left for later."""
        rows: list[tuple[str, list[nodes.Node]]] = [("Remark", note)] if note else []
        measured = kinds["measured"]
        if measured:
            rows.append(("Measured", self.headings(measured)))
        shown = {(heading.docname, heading.anchor) for heading in measured}
        for kind, title in TITLES.items():
            if kind not in PAGES:
                links = self.names(kind, kinds[kind])
            else:
                others = [h for h in kinds[kind] if (h.docname, h.anchor) not in shown]
                links = self.headings(others)
            if links:
                rows.append((title, links))
        if left := lacking(entry, kinds):
            rows.append(("Later", [nodes.Text(", ".join(left))]))
        lines = [nodes.paragraph("", f"{title}: ", *content) for title, content in rows]
        return nodes.bullet_list("", *(nodes.list_item("", line) for line in lines))

    def headings(self, headings: list[Heading]) -> list[nodes.Node]:
        """Return links to pages, each followed by links to its sections."""
        pages: dict[str, list[Heading]] = defaultdict(list)
        for heading in headings:
            pages[heading.docname].append(heading)
        parts: list[list[nodes.Node]] = []
        for docname, here in pages.items():
            title = self.env.titles[docname].astext().split(":")[0]
            links = {h.anchor: self.link(docname, h.anchor, nodes.Text(h.title)) for h in here}
            links.pop("", None)
            page = self.link(docname, "", nodes.Text(title))
            parts.append([page, *_joined([[link] for link in links.values()], ": ", ", ")])
        return _joined(parts, "", "; ")

    def names(self, kind: str, marked: list[Definition]) -> list[nodes.Node]:
        """Return the names of tests as pytest takes them, or of code with links to the API page.

        Only spaces stand between them: a comma behind code goes to a line of its own on a phone.
        """
        if kind == "test":
            tests = dict.fromkeys(f"{t.path}::{t.name.replace('.', '::')}" for t in marked)
            return _joined([[_code(test)] for test in tests], "", " ")
        objects = _api(self.env)
        names: dict[str, nodes.Node] = {}
        for definition in marked:
            name, _ = documented(definition, Path(self.env.srcdir), objects)
            if name:
                entry = objects[name]
                names[name] = self.link(entry.docname, entry.node_id, _code(name))
            else:
                module = definition.path.removesuffix(".py").replace("/", ".")
                names[f"{module}.{definition.name}"] = _code(f"{module}.{definition.name}")
        return _joined([[node] for node in names.values()], "", " ")

    def link(self, docname: str, anchor: str, text: nodes.Node) -> nodes.reference:
        builder = self.app.builder
        return make_refnode(builder, self.env.docname, docname, anchor or None, text)


def _api(env: BuildEnvironment) -> dict[str, ObjectEntry]:
    """Return what the page of the API documents, by name."""
    python = env.get_domain("py")
    assert isinstance(python, PythonDomain)
    return python.objects


def _joined(parts: list[list[nodes.Node]], start: str, between: str) -> list[nodes.Node]:
    out: list[nodes.Node] = []
    for part in parts:
        out += [nodes.Text(between if out else start), *part]
    return out


def _code(text: str) -> nodes.literal:
    return nodes.literal("", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_node(places)
    app.add_node(folded, html=(_open, _close))
    app.add_node(summary, html=(_open_row, _close_row))
    app.connect("html-page-context", add_style)
    app.add_directive("paper-map", PaperMapDirective)
    app.add_env_collector(Headings)
    app.add_post_transform(FillIn)
    app.connect("env-updated", collect)
    return {
        "version": "1", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True,
    }  # fmt: skip
