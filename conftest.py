"""Examples in the docstrings of optional parts run where those are installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("diffusers") else ["src/basis/priors/diffusion.py", "src/basis/formats/diffusers.py"]
