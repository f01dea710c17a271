"""Which warnings are errors here (pyproject.toml): those that our own code causes."""

import warnings

import pytest

WARN = "import warnings; warnings.warn('planted', category, stacklevel=level)"
CALL = "warn()"
#: The last: a Sphinx extension of the book, which is imported by its bare name.
OURS = ["bn", "bn.kernels.planted", "tests.planted", "tools", "book.figures", "paper_map"]
OTHERS = ["torch._dynamo.guards", "triton", "bnx", "numpy.tests", "mytools"]


def in_module(name, code, **names):
    """Run code as if it stood in the module of that name."""
    exec(compile(code, f"{name}.py", "exec"), {"__name__": name, **names})


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, FutureWarning])
def test_one_of_ours_is_an_error(name, category):
    with pytest.raises(category, match="planted"):
        in_module(name, WARN, category=category, level=1)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, RuntimeWarning])
def test_one_inside_another_package_is_listed_only(name, category):
    with warnings.catch_warnings(record=True) as listed:
        in_module(name, WARN, category=category, level=1)
    assert [str(warning.message) for warning in listed] == ["planted"]


def test_one_that_another_package_attributes_to_our_call_is_an_error():
    def warn():
        in_module("torch", WARN, category=FutureWarning, level=3)

    with pytest.raises(FutureWarning, match="planted"):
        in_module("bn.pytorch", CALL, warn=warn)


def test_numpys_warnings_belong_to_the_line_that_computes():
    code = "import numpy; numpy.float32(3e38) * numpy.float32(3e38)"
    with pytest.raises(RuntimeWarning, match="overflow"):
        in_module("bn.reference.planted", code)
    with warnings.catch_warnings(record=True) as listed:
        in_module("keras.planted", code)
    assert len(listed) == 1


def test_what_nobody_could_catch_is_an_error():
    with pytest.raises(pytest.PytestUnraisableExceptionWarning):
        in_module(
            "_pytest.unraisableexception",
            WARN,
            category=pytest.PytestUnraisableExceptionWarning,
            level=1,
        )
