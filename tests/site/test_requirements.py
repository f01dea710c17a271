"""requirements.txt and pyproject.toml may name the same package; then they must agree."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def in_requirements() -> dict[str, Requirement]:
    found = {}
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        text = re.split(r"\s#|^#", line)[0].strip()
        if text and not text.startswith("-"):
            requirement = Requirement(text)
            found[canonicalize_name(requirement.name)] = requirement
    return found


def in_pyproject() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"].values()
    return [Requirement(t) for texts in (project["dependencies"], *optional) for t in texts]


def test_bounds_agree() -> None:
    pins = in_requirements()
    shared = [r for r in in_pyproject() if canonicalize_name(r.name) in pins]
    assert shared, "nothing to compare: has the layout of one file changed?"
    for requirement in shared:
        pin = pins[canonicalize_name(requirement.name)]
        exact = [s.version for s in pin.specifier if s.operator == "=="]
        if exact:  # an exact pin must lie within the package's own bounds
            assert requirement.specifier.contains(exact[0]), f"{pin} is outside {requirement}"
        else:
            assert pin.specifier == requirement.specifier, f"{pin} is not {requirement}"


def test_one_package_has_one_bound_within_pyproject() -> None:
    bounds: dict[str, str] = {}
    for requirement in in_pyproject():
        name = canonicalize_name(requirement.name)
        assert bounds.setdefault(name, str(requirement.specifier)) == str(requirement.specifier)


def test_every_requirement_has_its_reason_beside_it() -> None:
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        if line.strip() and not line.startswith(("#", "-")):
            assert re.search(r"\S+\s+# \S", line), f"no reason beside: {line}"
