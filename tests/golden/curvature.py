"""Writes `curvature.safetensors`: products with Hessian, Gauss-Newton matrix and empirical Fisher, in float64.

    pip install torch numpy safetensors curvlinops-for-pytorch
    python3 tests/golden/curvature.py [--check]

With `--check` nothing is written: all is computed anew and compared with the file. It was made with PyTorch 2.15.0,
curvlinops 3.0.1, safetensors 0.8.0 and Python 3.11 on the CPU.

Each case is a network with n parameters, N samples and a loss L = (1/N) sum_i l_i. Parameters, inputs and directions
are drawn in float32, so they are the same numbers in every precision; all else is computed and stored in float64.
Names and layouts are Hillshade's: activations [n, h, w, c], dense weights [in, out], convolution weights
[kh, kw, ci, co]. Of a case `c`, with P for each parameter in the order of the layers (as in the metadata):

    c.P  c.x  c.y          parameters; inputs; labels, or the targets of the squared error
    c.v.P                  a direction v
    c.loss  c.g.P          L and its gradient
    c.Hv.P                 H v, H = the second derivative of L
    c.Gv.P                 G v = (1/N) sum_i J_i^T B_i J_i v, J_i = dz_i/dp of the outputs z_i, B_i = d2 l_i/dz_i^2
    c.Ev.P                 E v = (1/N) sum_i J_i^T r_i r_i^T J_i v, r_i = dl_i/dz_i
    c.eig  c.trace         the eigenvalues of H, ascending [n], and their sum

l is the cross-entropy of softmax z (r = softmax z - onehot y), or in `mse` half the sum of squares of z - y (r is
z - y). In `bn` a batch norm takes its statistics, mean and biased variance, from the batch: then J is the derivative of all
outputs together, J_i its rows of sample i, and differentiating goes through the statistics. In `bn_eval` the same
network has running statistics, which are constants.

Gradients and products come from curvlinops and are held against dense derivatives of the loss and of the outputs as
functions of one flat vector, which also give `eig` and `trace`.
"""

import argparse
from importlib.metadata import version

import torch
from curvlinops import EFLinearOperator, GGNLinearOperator, HessianLinearOperator
from make import FOLDER, channels_first, channels_last, normal, write
from safetensors import safe_open
from torch import nn
from torch.nn import functional

NAME, EPS = "curvature", 1e-5


def close(what, got, want, tolerance):
    """Asserts that tensors agree, relative to the largest element."""
    error = (got - want).abs().max() / want.abs().max()
    assert error <= tolerance, f"{what}: off by {error:.1e}, allowed {tolerance:.0e}"
    return error.item()


class Dense(nn.Module):
    """z = x w + b"""

    def __init__(self, generator, ins, outs):
        super().__init__()
        self.weight = nn.Parameter(normal(generator, ins, outs, scale=1.5 * ins**-0.5))
        self.bias = nn.Parameter(normal(generator, outs, scale=0.5))

    def forward(self, x):
        return x @ self.weight + self.bias


class Conv(nn.Module):
    """3x3, padding 1, no bias."""

    def __init__(self, generator, ins, outs):
        super().__init__()
        self.weight = nn.Parameter(normal(generator, 3, 3, ins, outs, scale=0.4))

    def forward(self, x):
        return channels_last(functional.conv2d(channels_first(x), self.weight.permute(3, 2, 0, 1), padding=1))


class Norm(nn.Module):
    """Batch norm over all axes but the last: with the batch's statistics, or with running ones."""

    def __init__(self, generator, channels, running):
        super().__init__()
        self.weight = nn.Parameter((1 + normal(generator, channels, scale=0.3)).float().double())
        self.bias = nn.Parameter(normal(generator, channels, scale=0.5))
        self.running = running
        if running:
            generator = torch.Generator().manual_seed(503)
            self.register_buffer("running_mean", normal(generator, channels, scale=0.3))
            self.register_buffer("running_var", (0.5 + normal(generator, channels) ** 2).float().double())

    def forward(self, x):
        if self.running:
            mean, variance = self.running_mean, self.running_var
        else:
            mean = x.mean((0, 1, 2))
            variance = ((x - mean) ** 2).mean((0, 1, 2))
        return (x - mean) / (variance + EPS).sqrt() * self.weight + self.bias


class Mlp(nn.Module):
    """Dense layers 6-5-4 with tanh between them."""

    def __init__(self, generator):
        super().__init__()
        self.dense0 = Dense(generator, 6, 5)
        self.dense1 = Dense(generator, 5, 4)

    def forward(self, x):
        return self.dense1(self.dense0(x).tanh())


class Cnn(nn.Module):
    """Convolution 1->3, batch norm, softplus, average over the image, dense 3->4."""

    def __init__(self, generator, running):
        super().__init__()
        self.conv = Conv(generator, 1, 3)
        self.norm = Norm(generator, 3, running)
        self.head = Dense(generator, 3, 4)

    def forward(self, x):
        return self.head(functional.softplus(self.norm(self.conv(x))).mean((1, 2)))


def dense_derivatives(net, loss, x, y):
    """Of the flat vector of parameters: gradient and Hessian of the mean loss, Jacobian of the outputs [N, C, n]."""
    shapes = {name: p.shape for name, p in net.named_parameters()}
    start = torch.cat([p.detach().flatten() for p in net.parameters()])

    def outputs(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        named = {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)}
        return torch.func.functional_call(net, named, (x,))

    def mean(flat):
        return loss(outputs(flat), y)

    gradient = torch.func.grad(mean)(start)
    hessian = torch.autograd.functional.hessian(mean, start)
    return gradient, hessian, torch.func.jacrev(outputs)(start)


def explicit_sums(net, half_squares, jacobian, x, y):
    """G and E as sums over samples of dense matrices, from the formulas above."""
    z = net(x).detach()
    if half_squares:
        r, b = z - y, torch.eye(z.shape[1]).double().expand(len(z), -1, -1)
    else:
        p = z.softmax(1)
        r, b = p - functional.one_hot(y, z.shape[1]), torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    g = torch.einsum("sap,sab,sbq->pq", jacobian, b, jacobian) / len(z)
    rows = torch.einsum("sa,sap->sp", r, jacobian)
    return g, rows.T @ rows / len(z)


def case(net, generator, x, y, batches=()):
    """All tensors of a case; real targets ask for half the squared error. `batches` must not change a product."""
    parameters = dict(net.named_parameters())
    directions = {name: normal(generator, *p.shape) for name, p in parameters.items()}
    half_squares = y.is_floating_point()
    # curvlinops knows PyTorch's mean over N C squares: L is C/2 times that, and with r = z - y in place of 2 (z - y)
    # and N in place of N C the empirical Fisher is C/4 times its own.
    loss = nn.MSELoss() if half_squares else nn.CrossEntropyLoss()
    scale, moment = (y.shape[1] / 2, y.shape[1] / 4) if half_squares else (1, 1)

    kinds = {"Hv": (HessianLinearOperator, scale), "Gv": (GGNLinearOperator, scale), "Ev": (EFLinearOperator, moment)}

    def products(data):
        operators = {key: kind(net, loss, list(parameters.values()), data) for key, (kind, _) in kinds.items()}
        gradient, value = operators["Hv"].gradient_and_loss()
        found = {"g": [scale * part for part in gradient]}
        for key, operator in operators.items():
            found[key] = [kinds[key][1] * part for part in operator @ list(directions.values())]
        return found, scale * value

    found, value = products([(x, y)])
    flat = {key: torch.cat([part.detach().flatten() for part in parts]) for key, parts in found.items()}

    # The same from dense derivatives.
    v = torch.cat([part.flatten() for part in directions.values()])
    gradient, hessian, jacobian = dense_derivatives(net, lambda z, y: scale * loss(z, y), x, y)
    g, e = explicit_sums(net, half_squares, jacobian, x, y)
    for key, want in {"g": gradient, "Hv": hessian @ v, "Gv": g @ v, "Ev": e @ v}.items():
        close(key, flat[key], want, 1e-13)
    close("symmetry", hessian, hessian.T, 1e-14)
    # And from smaller batches.
    if batches:
        for key, parts in products(list(zip(x.split(batches), y.split(batches))))[0].items():
            close(f"{key} in batches", torch.cat([part.flatten() for part in parts]), flat[key], 1e-13)

    tensors = parameters | dict(net.named_buffers()) | {"x": x, "y": y, "loss": value.reshape(1)}
    tensors |= {f"v.{name}": part for name, part in directions.items()}
    for key, parts in found.items():
        tensors |= {f"{key}.{name}": part for name, part in zip(parameters, parts)}
    tensors |= {"eig": torch.linalg.eigvalsh(hessian), "trace": hessian.trace().reshape(1)}
    facts = {
        "loss": "half_squared_error" if half_squares else "cross_entropy",
        "reduction": "mean",
        "parameters": ",".join(parameters),
    }
    return tensors, facts


def mlp(half_squares):
    """Seven samples, in one batch or in batches of 3, 3 and 1."""
    generator = torch.Generator().manual_seed(500)
    net = Mlp(generator)
    x = normal(generator, 7, 6)
    y = normal(generator, 7, 4) if half_squares else torch.tensor([2, 0, 3, 1, 1, 2, 0])
    return case(net, generator, x, y, [3, 3, 1])


def cnn(running):
    """Six images of 5x4; parameters, images and direction are the same whatever the statistics."""
    generator = torch.Generator().manual_seed(501)
    net = Cnn(generator, running)
    x = (0.5 + normal(generator, 6, 5, 4, 1)).float().double()
    y = torch.tensor([1, 3, 0, 2, 3, 1])

    # This batch norm is PyTorch's.
    layer, z = net.norm, net.conv(x)
    statistics = (layer.running_mean, layer.running_var) if running else (None, None)
    want = functional.batch_norm(channels_first(z), *statistics, layer.weight, layer.bias, not running, eps=EPS)
    close("batch norm", layer(z), channels_last(want), 1e-14)

    tensors, facts = case(net, generator, x, y)
    facts |= {"eps": EPS, "statistics": "running" if running else "batch"}
    return tensors, facts


def compute():
    """Every case's tensors and its metadata."""
    cases = {"mlp": mlp(False), "mse": mlp(True), "bn": cnn(False), "bn_eval": cnn(True)}
    tensors = {f"{name}.{key}": value for name, (values, _) in cases.items() for key, value in values.items()}
    metadata = {name: " ".join(f"{key}={value}" for key, value in facts.items()) for name, (_, facts) in cases.items()}
    return {key: value.detach().double() for key, value in tensors.items()}, metadata


def check(tensors, metadata):
    """Compares with the file: what was drawn exactly, what was computed within 1e-11 of its largest element."""
    worst = 0.0
    with safe_open(FOLDER / f"{NAME}.safetensors", framework="pt") as file:
        assert file.metadata() == metadata, "other metadata"
        assert set(file.keys()) == set(tensors), f"other tensors: {set(file.keys()) ^ set(tensors)}"
        for key, value in tensors.items():
            stored = file.get_tensor(key)
            assert stored.dtype == torch.float64 and stored.shape == value.shape, key
            computed = {"g", "Hv", "Gv", "Ev", "loss", "eig", "trace"} & set(key.split("."))
            if computed:
                worst = max(worst, close(key, value, stored, 1e-11))
            else:
                assert torch.equal(value, stored) and torch.equal(stored, stored.float().double()), f"{key} differs"
    print(f"{NAME}.safetensors: {len(tensors)} tensors as computed, within {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description="Curvature reference values from curvlinops")
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"PyTorch {torch.__version__}, curvlinops {version('curvlinops-for-pytorch')}")
    tensors, metadata = compute()
    if options.check:
        check(tensors, metadata)
    else:
        write(NAME, tensors, metadata, torch.float64)


if __name__ == "__main__":
    main()
