"""Problems for the backends of the vote pass, and the comparison of their sums and gradients by name."""

import torch

from capsbench_kernels import Parents, log_normaliser, vote_pass

FIELDS = ["bias", "direction", "gaussian", "centre", "activations", "offset", "log_normaliser"]


def draw_problem(sizes, fields, dtype=torch.double, shared_offset=False):
    """Draws a problem of sizes N, I, J, R, D, E with the named fields, as leaves that require gradients."""
    problems, children, parents, rows, depth, columns = sizes
    generator = torch.Generator().manual_seed(sum(sizes))
    shapes = {
        "poses": (problems, children, rows, depth),
        "weights": (children, parents, depth, columns),
        "activations": (problems, children),
        "offset": (1 if shared_offset else problems, children, rows, columns),
        "log_normaliser": (problems, children),
        "bias": (problems, parents),
        **dict.fromkeys(("direction", "mean", "precision", "centre"), (problems, parents, rows * columns)),
    }
    wanted = {"poses", "weights", *fields} | ({"mean", "precision"} if "gaussian" in fields else set())
    made = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator, dtype=torch.double) / 2
        if name in ("activations", "precision"):
            values = values.sigmoid()
        if name in wanted:
            made[name] = values.to(dtype).requires_grad_(name != "centre")
    return made


def run_pass(tensors, backend):
    """Returns the sums by name, with log_normaliser unless it is an input, and the gradients of a random mix of them."""
    belief = Parents(**{name: tensors.get(name) for name in Parents._fields})
    poses, weights, offset = tensors["poses"], tensors["weights"], tensors.get("offset")
    given_normaliser = tensors.get("log_normaliser")
    moments = vote_pass(
        poses, weights, belief, tensors.get("activations"), offset, backend, log_normaliser=given_normaliser
    )
    sums = moments._asdict()
    if given_normaliser is None:
        sums["normaliser"] = log_normaliser(poses, weights, belief, offset, backend)
    generator = torch.Generator().manual_seed(1)
    mix = sum((each * torch.randn(each.shape, generator=generator, dtype=torch.double)).sum() for each in sums.values())
    leaves = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    return sums, dict(zip(leaves, torch.autograd.grad(mix, leaves.values(), allow_unused=True), strict=True))


def assert_close_by_name(ours, theirs, tolerance):
    for name, expected in theirs.items():
        if expected is None:
            continue
        error = (ours[name] - expected).double().norm() / expected.double().norm().clamp_min(1e-9)
        assert error < tolerance, f"{name}: relative error {error:.1e}"
