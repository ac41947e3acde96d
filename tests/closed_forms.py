"""Targets in closed form, and whether samples follow them."""

import itertools

import numpy as np
import torch
from scipy.linalg import block_diag
from scipy.stats import kstest, multivariate_normal, norm

import basis

BOUND = 5  # standard errors; a right sampler exceeds it in one of a million figures
KS_LEVEL = 1e-5
N = 4000

GAUSSIAN_3D = ([1.0], [[0.2, 0.5, 0.8]], [[[0.09, 0.03, 0.0], [0.03, 0.06, -0.02], [0.0, -0.02, 0.12]]])
GAUSSIAN_1D = ([1.0], [[0.4]], [[[0.09]]])
MIXTURE_1D = ([0.3, 0.7], [[0.0], [1.0]], [[[0.04]], [[0.02]]])
MIXTURE_2D = ([0.6, 0.4], [[0.1, 0.9], [0.9, 0.2]], [[[0.04, 0.02], [0.02, 0.05]], [[0.03, -0.01], [-0.01, 0.02]]])

CASES = {
    "gaussian K=2 D=3": ([GAUSSIAN_3D] * 2, [1.0, -0.5], [0.1, -0.2, 0.6]),
    "gaussian K=3 D=1, two priors": ([GAUSSIAN_1D, ([1.0], [[0.9]], [[[0.04]]]), GAUSSIAN_1D], [0.8, 0.5, -0.6], [1.1]),
    "mixture K=2 D=1": ([MIXTURE_1D] * 2, [1.0, 0.5], [0.9]),
    "mixture K=2 D=2": ([MIXTURE_2D] * 2, [0.5, 1.0], [0.8, 0.7]),
    "mixture K=3 D=1": ([MIXTURE_1D] * 3, [0.8, 0.5, -0.6], [0.3]),
}


def exact(parts, alphas, m, sigma, gamma):
    """Return weights, means and precisions of the annealed target, one Gaussian for each choice of J^K components."""
    size = len(parts[0][1][0])
    A = np.kron(alphas, np.eye(size))
    logs, means, precisions = [], [], []
    for choice in itertools.product(*(range(len(weights)) for weights, _, _ in parts)):
        picked = [(w[j], mu[j], C[j]) for j, (w, mu, C) in zip(choice, parts, strict=True)]
        mu = np.concatenate([mu for _, mu, _ in picked])
        S = block_diag(*(np.array(C) + sigma**2 * np.eye(size) for _, _, C in picked))
        H = np.linalg.inv(S) + A.T @ A / gamma**2
        evidence = multivariate_normal.logpdf(m, A @ mu, A @ S @ A.T + gamma**2 * np.eye(size))
        logs.append(evidence + sum(np.log(w) for w, _, _ in picked))
        means.append(np.linalg.solve(H, np.linalg.solve(S, mu) + A.T @ np.array(m) / gamma**2))
        precisions.append(H)
    weights = np.exp(np.array(logs) - max(logs))
    return weights / weights.sum(), np.array(means), np.array(precisions)


def agree(x, weights, means, covariances):
    """Assert that samples x, (n, D), come from the Gaussian mixture, within Monte-Carlo error."""
    mean = weights @ means
    spread = means - mean
    covariance = np.einsum("j,jde->de", weights, covariances) + np.einsum("j,jd,je->de", weights, spread, spread)
    d = x - mean
    products = d[:, :, None] * d[:, None]
    assert np.abs(d.mean(0) / np.sqrt(covariance.diagonal() / len(x))).max() < BOUND
    assert np.abs((products.mean(0) - covariance) / (products.std(0) / np.sqrt(len(x)))).max() < BOUND
    for i in range(x.shape[1]):
        sd = np.sqrt(covariances[:, i, i])
        marginal = kstest(x[:, i], lambda t, i=i, sd=sd: norm.cdf(t[:, None], means[:, i], sd) @ weights)
        assert marginal.pvalue > KS_LEVEL


def build(part):
    return basis.GaussianMixture(*(torch.tensor(np.array(p)) for p in part))


def posed(tiled, parts, m, copies):
    """Return the priors, ``copies`` of each side by side, and the mixture as often."""
    made = {}
    priors = [made.setdefault(id(part), tiled(build(part), copies)) for part in parts]
    return priors, torch.tensor(m).expand(copies, -1)


def rows(samples):
    """(1, n, K, copies, D) as numpy rows (n · copies, K · D)."""
    return samples[0].movedim(2, 1).flatten(0, 1).flatten(1).double().numpy()


def near(found, expected):
    """Assert equality up to what float64 and a linear solve stopped at 1e-6 of its residual allow."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def gaussian_of(size, seed):
    """Return a Gaussian prior in float64 with its mean and covariance, standard deviations near 0.3."""
    generator = np.random.default_rng(seed)
    factor = generator.standard_normal((size, size))
    mean, covariance = generator.random(size).round(3), (0.05 * np.eye(size) + 0.02 * factor @ factor.T).round(4)
    prior = basis.GaussianMixture([1.0], torch.tensor(mean)[None], torch.tensor(covariance)[None]).double()
    return prior, prior.means[0].numpy(), (prior.bases[0] * prior.variances[0]).numpy() @ prior.bases[0].T.numpy()


def closed_form(x, m, A, mean, C, sigma, noise):
    """Return the score of x + σ ε at x given m = A x + σ_y n; x, m, mean are flat."""
    gain = C @ A.T @ np.linalg.inv(A @ C @ A.T + noise**2 * np.eye(len(A)))
    mean = mean + gain @ (m - A @ mean)
    covariance = C - gain @ A @ C
    return -np.linalg.solve(covariance + sigma**2 * np.eye(len(C)), x - mean)


def problem(alphas, size=3, count=4, distinct=False):
    """Return product prior, mixing, mixtures, states, and A, mean and covariance of the flattened stack."""
    made = [gaussian_of(size, seed) for seed in range(len(alphas) if distinct else 1)]
    parts = made if distinct else made * len(alphas)
    prior = basis.Product([part[0] for part in parts])
    generator = torch.Generator().manual_seed(1)
    x = 0.5 + torch.randn(count, len(alphas), size, generator=generator, dtype=torch.float64)
    m = 0.5 + torch.randn(count, size, generator=generator, dtype=torch.float64)
    A = np.kron(alphas, np.eye(size))
    mean, C = np.concatenate([part[1] for part in parts]), block_diag(*(part[2] for part in parts))
    return prior, basis.WeightedSum(alphas), m, x, A, mean, C
