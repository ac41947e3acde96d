"""Source separation with deep generative priors.

One signal, K sources mixed in it: ``m = g(x)``. Given generative models that know what sources look like, `separate`
draws samples from p(x | m).

Names are imported when they are first asked for (PEP 562), so that `import basis` is light.
"""

from basis.runs import orphans  # noqa: F401  # isort: skip  # first: a worker watches its parent while it imports

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for type checkers and editors; the table below says the same to Python
    from basis.api import generate, separate, stream
    from basis.assets.examples import example
    from basis.core.assessment import Assessment
    from basis.core.errors import BasisError, DataError, DivergenceError, UnlikelyMixtureWarning, UsageError
    from basis.core.metric import align, reorder
    from basis.core.mixing import Mixing
    from basis.core.modes import Modes, find_modes
    from basis.core.plausibility import Calibration
    from basis.core.posterior import Posterior
    from basis.core.prior import DensityPrior, Prior, Product, ScorePrior, Wrapper
    from basis.core.sampler import Sampler, State
    from basis.core.schedule import geometric, karras
    from basis.core.separator import Run, Separation, Separator
    from basis.core.version import VERSION as __version__  # noqa: F401
    from basis.evaluate.calibration import calibrate, save_calibration
    from basis.evaluate.counting import Counting, count_sources
    from basis.io.checkpoint import load_prior, save_prior
    from basis.io.learned import Learned, load_separator, save_separator
    from basis.metrics.log_likelihood import likelihoods
    from basis.metrics.psnr import psnr
    from basis.mixings.clipped import Clipped
    from basis.mixings.grayscale import Grayscale
    from basis.mixings.weighted_sum import WeightedSum
    from basis.posteriors.annealed import AnnealedPosterior
    from basis.posteriors.ddnm import DDNM
    from basis.posteriors.mmps import MMPS
    from basis.posteriors.msdm import MSDM
    from basis.posteriors.unknown_weights import UnknownWeights, fit_weights
    from basis.priors._flow import flow_log_prob
    from basis.priors._function import as_prior
    from basis.priors.gaussian import GaussianMixture
    from basis.priors.glow import Glow
    from basis.priors.ncsn import NCSN
    from basis.priors.wrappers.accelerated import Accelerated
    from basis.priors.wrappers.bounded import Bounded
    from basis.priors.wrappers.rescaled import Rescaled
    from basis.priors.wrappers.windowed import Windowed
    from basis.samplers.ancestral import Ancestral
    from basis.samplers.annealed_langevin import AnnealedLangevin
    from basis.samplers.heun import Heun
    from basis.samplers.predictor_corrector import PredictorCorrector
    from basis.separators.adversarial import Adversarial
    from basis.separators.average import Average
    from basis.separators.basis import BASIS
    from basis.separators.best_of import BestOf
    from basis.separators.blind import Blind
    from basis.separators.neural_egg import NeuralEgg
    from basis.separators.nmf import NMF
    from basis.separators.sample import Sample
    from basis.separators.search import Search
    from basis.separators.supervised import Supervised

_NAMES = {  # the public names of each module
    "basis.api": "generate separate stream",
    "basis.assets.examples": "example",
    "basis.core.assessment": "Assessment",
    "basis.core.errors": "BasisError DataError DivergenceError UnlikelyMixtureWarning UsageError",
    "basis.core.metric": "align reorder",
    "basis.core.mixing": "Mixing",
    "basis.core.modes": "Modes find_modes",
    "basis.core.plausibility": "Calibration",
    "basis.core.posterior": "Posterior",
    "basis.core.prior": "DensityPrior Prior Product ScorePrior Wrapper",
    "basis.core.sampler": "Sampler State",
    "basis.core.schedule": "geometric karras",
    "basis.core.separator": "Run Separation Separator",
    "basis.core.version": "VERSION",
    "basis.evaluate.calibration": "calibrate save_calibration",
    "basis.evaluate.counting": "Counting count_sources",
    "basis.io.checkpoint": "load_prior save_prior",
    "basis.io.learned": "Learned load_separator save_separator",
    "basis.metrics.log_likelihood": "likelihoods",
    "basis.metrics.psnr": "psnr",
    "basis.mixings.clipped": "Clipped",
    "basis.mixings.grayscale": "Grayscale",
    "basis.mixings.weighted_sum": "WeightedSum",
    "basis.posteriors.annealed": "AnnealedPosterior",
    "basis.posteriors.ddnm": "DDNM",
    "basis.posteriors.mmps": "MMPS",
    "basis.posteriors.msdm": "MSDM",
    "basis.posteriors.unknown_weights": "UnknownWeights fit_weights",
    "basis.priors._flow": "flow_log_prob",
    "basis.priors._function": "as_prior",
    "basis.priors.gaussian": "GaussianMixture",
    "basis.priors.glow": "Glow",
    "basis.priors.ncsn": "NCSN",
    "basis.priors.wrappers.accelerated": "Accelerated",
    "basis.priors.wrappers.bounded": "Bounded",
    "basis.priors.wrappers.rescaled": "Rescaled",
    "basis.priors.wrappers.windowed": "Windowed",
    "basis.samplers.ancestral": "Ancestral",
    "basis.samplers.annealed_langevin": "AnnealedLangevin",
    "basis.samplers.heun": "Heun",
    "basis.samplers.predictor_corrector": "PredictorCorrector",
    "basis.separators.adversarial": "Adversarial",
    "basis.separators.average": "Average",
    "basis.separators.basis": "BASIS",
    "basis.separators.best_of": "BestOf",
    "basis.separators.blind": "Blind",
    "basis.separators.neural_egg": "NeuralEgg",
    "basis.separators.nmf": "NMF",
    "basis.separators.sample": "Sample",
    "basis.separators.search": "Search",
    "basis.separators.supervised": "Supervised",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = [
    "BASIS",
    "DDNM",
    "MMPS",
    "MSDM",
    "NCSN",
    "NMF",
    "Accelerated",
    "Adversarial",
    "Ancestral",
    "AnnealedLangevin",
    "AnnealedPosterior",
    "Assessment",
    "Average",
    "BasisError",
    "BestOf",
    "Blind",
    "Bounded",
    "Calibration",
    "Clipped",
    "Counting",
    "DataError",
    "DensityPrior",
    "DivergenceError",
    "GaussianMixture",
    "Glow",
    "Grayscale",
    "Heun",
    "Learned",
    "Mixing",
    "Modes",
    "NeuralEgg",
    "Posterior",
    "PredictorCorrector",
    "Prior",
    "Product",
    "Rescaled",
    "Run",
    "Sample",
    "Sampler",
    "ScorePrior",
    "Search",
    "Separation",
    "Separator",
    "State",
    "Supervised",
    "UnknownWeights",
    "UnlikelyMixtureWarning",
    "UsageError",
    "WeightedSum",
    "Windowed",
    "Wrapper",
    "align",
    "as_prior",
    "calibrate",
    "count_sources",
    "example",
    "find_modes",
    "fit_weights",
    "flow_log_prob",
    "generate",
    "geometric",
    "karras",
    "likelihoods",
    "load_prior",
    "load_separator",
    "psnr",
    "reorder",
    "save_calibration",
    "save_prior",
    "save_separator",
    "separate",
    "stream",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for."""
    original = "VERSION" if name == "__version__" else name
    if original not in _MODULES:
        raise AttributeError(f"module 'basis' has no attribute '{name}'")
    value = getattr(import_module(_MODULES[original]), original)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
