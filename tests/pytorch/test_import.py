"""Importing: only on demand, and with a clear word where torch is missing."""

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['torch'] = None\n"


def run(script, cwd):
    return subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True)


def test_without_torch_it_says_how_to_get_it(request):
    script = WITHOUT + "import bn, bn.reference\ntry:\n    import bn.pytorch\n"
    script += "except ModuleNotFoundError as error:\n    print(error.name, error)"
    made = run(script, request.config.rootpath)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("torch bn.pytorch needs PyTorch")
    assert "pip install torch" in made.stdout


@pytest.mark.parametrize("module", ["bn", "bn.reference", "bn.layers"])
def test_the_rest_does_not_load_torch(module, request):
    made = run(f"import sys, {module}; print('torch' in sys.modules)", request.config.rootpath)
    assert made.stdout.strip() == "False", made.stderr
