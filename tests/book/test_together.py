"""In Korean, a formula and the particle behind it are one word."""

from docutils import nodes
from docutils.utils import new_document


def page(language, *parts):
    """Return a page of one paragraph."""
    document = new_document("page")
    section = nodes.section("", nodes.paragraph("", "", *parts), classes=[language])
    document += section
    return document


def formula():
    return nodes.math("", "x")


def test_a_particle_stays_with_its_formula(together):
    document = page("language-ko", nodes.Text("값 "), formula(), nodes.Text("에서 평균을 뺀다"))
    together.keep(None, document)
    (span,) = document.findall(nodes.inline)
    assert span["classes"] == ["together"]
    assert [type(child) for child in span] == [nodes.math, nodes.Text]
    assert span.astext() == "x에서"
    assert document.astext() == "값 x에서 평균을 뺀다"


def test_a_bracket_may_come_between(together):
    document = page("language-ko", formula(), nodes.Text("(스케일)와 "), formula())
    together.keep(None, document)
    (span,) = document.findall(nodes.inline)
    assert span.astext() == "x(스케일)와"


def test_what_is_no_particle_is_left_alone(together):
    for behind in (nodes.Text(" 값"), nodes.Text(", 값"), nodes.emphasis("", "값")):
        document = page("language-ko", formula(), behind)
        together.keep(None, document)
        assert not list(document.findall(nodes.inline))
    document = page("language-ko", nodes.Text("값 "), formula())
    together.keep(None, document)
    assert not list(document.findall(nodes.inline))


def test_pages_in_another_language_are_left_alone(together):
    document = page("other", formula(), nodes.Text("에서"))
    together.keep(None, document)
    assert not list(document.findall(nodes.inline))
