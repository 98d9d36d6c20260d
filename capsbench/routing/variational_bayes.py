"""Variational Bayes routing (Ribeiro, Leontidis, Kollias 2020, "Capsule Routing via Variational Bayes")."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capsbench.errors import ArgumentError, check_choice
from capsbench.routing.base import Routing
from capsbench.routing.windows import Windows
from capsbench.stats.spaces import Range
from capsbench_kernels import Moments, Parents, log_normaliser, recentred, unnoticed


class VariationalBayesRouting(Routing):
    """Variational Bayes routing of Ribeiro, Leontidis and Kollias 2020, with diagonal precisions.

    Parents are the components of a Bayesian mixture of Gaussians. The mixing proportions pi have a Dirichlet prior, and the mean
    and precision L of each parent have a Gaussian-Wishart prior. An iteration is a vote pass and an update of the posterior
    (`update_posterior`) from the moments. The shares of the next pass are

        ln r_ij = E[ln pi_j] + 1/2 E[ln |L_j|] - 1/2 E[(V_ij - mu_j)^T L_j (V_ij - mu_j)] + const

    The pose of a parent is its posterior mean. Its activation is ``sigmoid(-exp(E[ln pi_j]) entropy_j)``, where entropy_j is
    the entropy of a Gaussian whose precision has log-determinant ``E[ln |L_j|]``: votes that agree give a low entropy. One batch
    norm per parent, without scale and shift, normalises poses and the logits of activations.

    The authors' code with its default, ``cov='diag'``, differs in three ways. It adds two offsets, beta_a and beta_u, to the
    logit of the activation; the batch norm removes them, so that they have no effect and no gradient. It divides densities by
    the larger of their sum and 1e-11, so that the shares of a child far from all parents sum to less than 1; here shares are
    computed in the log domain and sum to 1, as in the paper. Its class coordinates are ``(row + 1) / (10 H)``; those of matrix
    capsules are ``(row + 0.5) / H``. Its ``cov='full'`` is not available: it needs the sum of ``w_ij V_ij V_ij^T``, H times as
    many moments, and a full quadratic form per vote, which the vote pass does not compute.

    Args:
        alpha0: the concentration of the Dirichlet prior, equal for all parents.
        kappa0: the weight of the prior mean, 0, as a number of votes.
        psi0: the diagonal of the inverse of the Wishart prior's scale matrix, in units of a squared vote.
        nu0: the degrees of freedom of the Wishart prior beyond H, the number of values of a vote.
        normalise: the parents among which a child of convolutional capsules is divided: those of each ``window`` separately, or
            ``all`` parents that see the child (the authors' code). In the first pass, shares are equal in each window.
    """

    network = "matrix-capsules"
    separate_activations = True
    # The authors use Glorot's rule. In narrow networks it gives votes that are small relative to a prior scatter of 1, and with
    # more than one iteration accuracy stays at chance. Matrices five times as large, with psi0 = 5^2 to match, train
    # (docs/protocol.md).
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"psi0": 25.0, "network.transform_init": "glorot", "network.transform_sigma": 5.0},
        "small": {"psi0": 25.0, "network.transform_init": "glorot", "network.transform_sigma": 5.0},
        "paper": {"network.transform_init": "glorot", "network.transform_sigma": 1.0},
    }
    spaces = {"psi0": Range(1.0, 100.0)}

    def __init__(
        self,
        children: int,
        parents: int,
        *,
        iterations: int = 3,
        backend: str = "auto",
        alpha0: float = 1.0,
        kappa0: float = 1.0,
        psi0: float = 1.0,
        nu0: float = 1.0,
        normalise: str = "all",
    ) -> None:
        super().__init__(children, parents, iterations=iterations, backend=backend)
        check_choice("normalise", normalise, ("window", "all"))
        self.prior = Prior(alpha0, kappa0, psi0, nu0)
        for name, value in self.prior._asdict().items():
            if value <= 0:
                raise ArgumentError(name, "a number above 0", value)
        self.across_windows = normalise == "all"
        # Statistics are per parent: over the problems of a batch and, for poses, also over the values of a pose.
        self.pose_norm = nn.BatchNorm1d(parents, affine=False)
        self.activation_norm = nn.BatchNorm1d(parents, affine=False)

    def forward(
        self,
        poses: Tensor,
        weights: Tensor,
        activations: Tensor,
        offset: Tensor | None = None,
        windows: Windows | None = None,
    ) -> tuple[Tensor, Tensor]:
        # The first pass has no belief yet and divides every child equally.
        posterior = self._infer_posterior(poses, weights, Parents(), activations, offset)
        for _ in range(self.iterations - 1):
            parents = posterior.to_parents()
            log_sums = None
            if windows is not None:  # normalise over all parents that see a child, not only those of its window
                log_sums = windows.log_sum_exp(log_normaliser(poses, weights, parents, offset, self.backend))
            posterior = self._infer_posterior(poses, weights, parents, activations, offset, log_sums)
        means = self.pose_norm(posterior.mean).unflatten(2, (poses.shape[2], weights.shape[3]))
        return means, self._squash_logits(-posterior.log_mixing.exp() * posterior.entropy)

    def _infer_posterior(
        self,
        poses: Tensor,
        weights: Tensor,
        parents: Parents,
        activations: Tensor,
        offset: Tensor | None,
        log_sums: Tensor | None = None,
    ) -> Posterior:
        """Returns the posterior after one vote pass, or two if a parent moved too far for one pass to resolve its scatter."""

        def pass_votes(belief: Parents) -> Moments:
            return self.vote_pass(poses, weights, belief, activations, offset, log_normaliser=log_sums)

        moments = pass_votes(parents)
        posterior = update_posterior(moments, parents.centre, self.prior)
        # The scatter about the new mean is a difference of second moments. It loses its digits in float32 if the new mean is far
        # from the centre that the moments were taken about; `recentred` then repeats the pass about the new mean.
        moments, centre = recentred(
            moments, parents, posterior.mean, posterior.scatter, torch.ones_like(moments.mass[0, 0]), pass_votes
        )
        if centre is parents.centre:
            return posterior
        with unnoticed():
            return update_posterior(moments, centre, self.prior)

    def _squash_logits(self, logits: Tensor) -> Tensor:
        """Returns activations in [0, 1] from logits ``[N, J]``, through the batch norm."""
        norm = self.activation_norm
        if self.training and len(logits) == 1:  # a single problem has no variance over the batch
            return torch.sigmoid(F.batch_norm(logits, norm.running_mean, norm.running_var, eps=norm.eps))
        return torch.sigmoid(norm(logits))


class Prior(NamedTuple):
    """The parameters of the priors; `VariationalBayesRouting` explains them."""

    alpha0: float
    kappa0: float
    psi0: float
    nu0: float


class Posterior(NamedTuple):
    """The posterior distribution of the parents after a pass.

    - ``mean`` [N, J, H]: m_j, the posterior mean of the parent's mean
    - ``scatter`` [N, J, H]: the inverse of the diagonal of the Wishart's scale matrix
    - ``kappa`` [N, J]: the weight of the mean, as a number of votes
    - ``nu`` [N, J]: the degrees of freedom of the precision
    - ``log_mixing`` [N, J]: E[ln pi_j]
    - ``log_precision`` [N, J]: E[ln |L_j|]
    """

    mean: Tensor
    scatter: Tensor
    kappa: Tensor
    nu: Tensor
    log_mixing: Tensor
    log_precision: Tensor

    @property
    def entropy(self) -> Tensor:
        """Entropy ``[N, J]`` of a Gaussian whose precision has log-determinant ``log_precision``, in nats."""
        return 0.5 * (self.mean.shape[2] * math.log(2 * math.pi * math.e) - self.log_precision)

    def to_parents(self) -> Parents:
        """Returns the belief that makes the next pass compute the shares of this posterior."""
        # E[(V - mu)^T L (V - mu)] = H / kappa + nu (V - m)^T W (V - m), Bishop 2006, equation 10.64. The first term does not
        # depend on the vote and goes into the bias.
        return Parents(
            bias=self.log_mixing + 0.5 * (self.log_precision - self.mean.shape[2] / self.kappa),
            mean=self.mean,
            precision=self.nu.unsqueeze(2) / self.scatter,
            centre=self.mean.detach(),
        )


def update_posterior(moments: Moments, centre: Tensor | None, prior: Prior) -> Posterior:
    """Returns the posterior, given the moments of the votes about ``centre``.

    The update is that of Bishop 2006, section 10.2.1, for diagonal scale matrices. With mass R_j and prior mean 0,

        alpha_j = alpha0 + R_j    kappa_j = kappa0 + R_j    nu_j = H + nu0 + R_j    m_j = sum_i w_ij V_ij / kappa_j
        scatter_jh = psi0 + sum_i w_ij (V_ijh - m_jh)^2 + kappa0 m_jh^2

    No term divides by the mass, so that a parent without children keeps the prior.
    """
    mass, first, second = moments
    values = first.shape[2]
    alpha, kappa, nu = prior.alpha0 + mass, prior.kappa0 + mass, values + prior.nu0 + mass
    share = mass.unsqueeze(2)
    # Moments about a centre c give sums about 0: sum_i w_ij V_ij = first + R_j c.
    mean = (first if centre is None else first + share * centre) / kappa.unsqueeze(2)
    shift = mean if centre is None else mean - centre
    # With s = m - c and V - m = (V - c) - s: sum w (V - m)^2 = second - 2 s first + R s^2. Rounding can make it negative.
    around_mean = (second - shift * (2 * first - share * shift)).clamp_min(0)
    scatter = prior.psi0 + around_mean + prior.kappa0 * mean.square()
    # E[ln |L|] = sum_d digamma((nu + 1 - d) / 2) + H ln 2 + ln |W|, d = 1, ..., H: Bishop 2006, equation 10.65.
    degrees = nu.unsqueeze(2) - torch.arange(values, dtype=nu.dtype, device=nu.device)
    return Posterior(
        mean,
        scatter,
        kappa,
        nu,
        log_mixing=torch.digamma(alpha) - torch.digamma(alpha.sum(dim=1, keepdim=True)),
        log_precision=torch.digamma(degrees / 2).sum(dim=2) + values * math.log(2) - scatter.log().sum(dim=2),
    )
