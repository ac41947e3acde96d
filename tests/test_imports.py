"""`import basis` is quick and brings nothing that a notebook does not need at once."""

import subprocess
import sys

HEAVY = ("matplotlib", "gradio", "ray", "diffusers", "sklearn", "accelerate", "tensorboard", "pooch", "typer", "PIL")
LIMIT = 1.5  # seconds of processor time on top of torch's own import: a busy machine changes little

SCRIPT = f"""
import sys, time
import torch
before = set(sys.modules)
start = time.process_time()
import basis
print(time.process_time() - start)
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}} & set({HEAVY!r})))
"""


def test_import_is_light():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    seconds, heavy = run.stdout.split("\n")[:2]
    assert heavy == ""
    assert float(seconds) < LIMIT


def test_everything_that_is_offered_is_there():
    import basis

    assert len(set(basis.__all__)) == len(basis.__all__)
    assert not [name for name in basis.__all__ if not hasattr(basis, name)]
