"""The style sheet of the formulas: each glyph that a page shows has its rule, whole."""

import json

import pytest


@pytest.fixture(scope="module")
def setter(tmp_path_factory, formulas):
    """Return one that has set some glyphs, the braces among them."""
    made = formulas.Setter(tmp_path_factory.mktemp("formulas") / "store.json")
    made.set([(r"\{x\} |y|", False), (r"\sum_i", True)])
    return made


def test_rules_with_a_brace_in_quotes(formulas):
    css = 'a {\n  content: "{";\n}\n\nb {\n  content: "}";\n}\n\nc {\n  content: "\\"";\n}'
    assert [rule.split()[0] for rule in formulas.RULE.findall(css)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("name", "glyph"),
    [("c7B", "{"), ("c7C", "|"), ("c7D", "}"), ("c2211.TEX-S2", "\\2211")],
)
def test_a_glyph_that_is_shown_has_its_rule(formulas, setter, name, glyph):
    rules = formulas.RULE.findall(setter.style())
    assert "".join(rules) == setter.style()
    (rule,) = (r for r in rules if r.lstrip().startswith(f"mjx-c.mjx-{name}::before"))
    assert f"content: {json.dumps(glyph).replace(chr(92) * 2, chr(92))};" in rule


def test_other_glyphs_have_none(setter):
    assert "mjx-c7E:" not in setter.style()
    assert len(setter.style()) < len(setter.css) / 4
