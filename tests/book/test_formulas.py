"""The style sheet of the formulas keeps the glyphs that are shown, whole."""

import sys


def test_a_brace_in_a_string_ends_no_rule(root):
    sys.path.insert(0, str(root / "book" / "_ext"))
    from formulas import Setter

    setter = Setter.__new__(Setter)
    setter.html = {"": '<mjx-c class="mjx-c7C"></mjx-c><mjx-c class="mjx-c2211 TEX-S2"></mjx-c>'}
    kept = [
        "mjx-c {\n  display: inline-block;\n}\n",
        '\nmjx-c.mjx-c7C::before {\n  content: "|";\n}',
        '\nmjx-c.mjx-c2211.TEX-S2::before {\n  content: "\\2211";\n}',
    ]
    left_out = [
        'mjx-c.mjx-c7B::before {\n  content: "{";\n}\n',
        '\nmjx-c.mjx-c22::before {\n  content: "\\"";\n}',
        '\nmjx-c.mjx-c7D.TEX-S2::before {\n  content: "}";\n}',
    ]
    setter.css = kept[0] + left_out[0] + kept[1] + left_out[1] + left_out[2] + kept[2]
    assert setter.style() == "".join(kept)
