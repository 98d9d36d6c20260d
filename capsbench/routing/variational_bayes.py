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
from capsbench_kernels import Moments, Parents, log_normaliser, recentred, unnoticed


class VariationalBayesRouting(Routing):
    """Variational Bayes routing of Ribeiro, Leontidis and Kollias 2020, with diagonal precisions.

    Parents are the components of a mixture of Gaussians whose parameters have a distribution too: a Dirichlet prior over the
    mixing proportions pi, and for each parent a Gaussian-Wishart prior over its mean and precision L. An iteration is a vote
    pass and the update of the posterior (`posterior_of`) from its moments, and the next pass shares each child by

        ln r_ij = E[ln pi_j] + 1/2 E[ln |L_j|] - 1/2 E[(V_ij - mu_j)^T L_j (V_ij - mu_j)] + const

    A parent's pose is its posterior mean. Its activation is ``sigmoid(-exp(E[ln pi_j]) entropy_j)``, with the entropy of a
    Gaussian whose precision has the log-determinant ``E[ln |L_j|]``: votes that agree make a narrow one. Poses, and activations
    before the sigmoid, go through a batch norm a parent, without scale and shift.

    The authors' code with its default, ``cov='diag'``, has this but for three things. Its two offsets of the activation, beta_a
    and beta_u, are taken out again by the batch norm, so that they have no effect and no gradient. It divides densities by their
    sum, or by 1e-11 where that is more, so that a child far from all parents is shared out in part; here shares are computed from
    their logarithms and sum to 1, as in the paper. Its class coordinates are ``(row + 1) / (10 H)``; those of matrix capsules
    are ``(row + 0.5) / H``. Its ``cov='full'`` would need the sum of ``w_ij V_ij V_ij^T``, H times as many moments, and a
    quadratic form a vote, which the vote pass does not have.

    Args:
        alpha0: of the Dirichlet prior, the same for all parents.
        kappa0: how many votes the prior mean of 0 weighs.
        psi0: the diagonal of the inverse of the Wishart prior's scale matrix, in units of a vote squared.
        nu0: the degrees of freedom of the Wishart prior beyond the H values of a vote.
        normalise: whether a child of convolutional capsules is shared among the parents of each ``window`` anew, or once among
            ``all`` parents that see it (the authors' code). In the first pass shares are equal in each window.
    """

    network = "matrix-capsules"
    separate_activations = True
    # Glorot's rule is the authors'. In narrow networks its votes are small beside a prior scatter of 1, and more than one
    # iteration stays at chance; five times as large, with a prior to match, they train (docs/protocol.md).
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"psi0": 25.0, "network.transform_init": "glorot", "network.transform_sigma": 5.0},
        "small": {"psi0": 25.0, "network.transform_init": "glorot", "network.transform_sigma": 5.0},
        "paper": {"network.transform_init": "glorot", "network.transform_sigma": 1.0},
    }

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
        posterior = self._posterior(poses, weights, Parents(), activations, offset)
        for _ in range(self.iterations - 1):
            parents = posterior.parents()
            log_sums = None
            if windows is not None:
                log_sums = windows.log_sum_exp(log_normaliser(poses, weights, parents, offset, self.backend))
            posterior = self._posterior(poses, weights, parents, activations, offset, log_sums)
        means = self.pose_norm(posterior.mean).unflatten(2, (poses.shape[2], weights.shape[3]))
        return means, self._activations(-posterior.log_mixing.exp() * posterior.entropy)

    def _posterior(
        self,
        poses: Tensor,
        weights: Tensor,
        parents: Parents,
        activations: Tensor,
        offset: Tensor | None,
        log_sums: Tensor | None = None,
    ) -> Posterior:
        """The posterior from one vote pass, or two where a parent has moved too far for its scatter to be told from one."""

        def share_out(belief: Parents) -> Moments:
            return self.vote_pass(poses, weights, belief, activations, offset, log_normaliser=log_sums)

        moments = share_out(parents)
        posterior = posterior_of(moments, parents.centre, self.prior)
        moments, centre = recentred(
            moments, parents, posterior.mean, posterior.scatter, torch.ones_like(moments.mass[0, 0]), share_out
        )
        if centre is parents.centre:
            return posterior
        with unnoticed():
            return posterior_of(moments, centre, self.prior)

    def _activations(self, logits: Tensor) -> Tensor:
        norm = self.activation_norm
        if self.training and len(logits) == 1:  # one problem alone has no variance over the batch
            return torch.sigmoid(F.batch_norm(logits, norm.running_mean, norm.running_var, eps=norm.eps))
        return torch.sigmoid(norm(logits))


class Prior(NamedTuple):
    """The parameters of the priors, as `VariationalBayesRouting` explains them."""

    alpha0: float
    kappa0: float
    psi0: float
    nu0: float


class Posterior(NamedTuple):
    """What is believed of the parents after a pass.

    - ``mean`` [N, J, H]: of a parent's mean, m_j
    - ``scatter`` [N, J, H]: the inverse of the diagonal of the Wishart's scale matrix
    - ``kappa``, ``nu`` [N, J]: votes that the mean weighs, degrees of freedom of the precision
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
        """Of a Gaussian with the log-determinant of the expected precision, ``[N, J]``, in nats."""
        return 0.5 * (self.mean.shape[2] * math.log(2 * math.pi * math.e) - self.log_precision)

    def parents(self) -> Parents:
        """The belief that makes the next pass share children by these expectations."""
        return Parents(
            bias=self.log_mixing + 0.5 * (self.log_precision - self.mean.shape[2] / self.kappa),
            mean=self.mean,
            precision=self.nu.unsqueeze(2) / self.scatter,
            centre=self.mean.detach(),
        )


def posterior_of(moments: Moments, centre: Tensor | None, prior: Prior) -> Posterior:
    """The posterior from the moments of the votes about ``centre`` (Bishop 2006, section 10.2.1, with diagonal scale matrices).

    With R_j the mass of a parent and the prior mean 0,

        alpha_j = alpha0 + R_j    kappa_j = kappa0 + R_j    nu_j = H + nu0 + R_j    m_j = sum_i w_ij V_ij / kappa_j
        scatter_jh = psi0 + sum_i w_ij (V_ijh - m_jh)^2 + kappa0 m_jh^2

    which needs no division by the mass: a parent without children has the prior.
    """
    mass, first, second = moments
    values = first.shape[2]
    alpha, kappa, nu = prior.alpha0 + mass, prior.kappa0 + mass, values + prior.nu0 + mass
    share = mass.unsqueeze(2)
    mean = (first if centre is None else first + share * centre) / kappa.unsqueeze(2)
    shift = mean if centre is None else mean - centre
    around_mean = (second - shift * (2 * first - share * shift)).clamp_min(0)
    scatter = prior.psi0 + around_mean + prior.kappa0 * mean.square()
    degrees = nu.unsqueeze(2) - torch.arange(values, dtype=nu.dtype, device=nu.device)
    return Posterior(
        mean,
        scatter,
        kappa,
        nu,
        log_mixing=torch.digamma(alpha) - torch.digamma(alpha.sum(dim=1, keepdim=True)),
        log_precision=torch.digamma(degrees / 2).sum(dim=2) + values * math.log(2) - scatter.log().sum(dim=2),
    )
