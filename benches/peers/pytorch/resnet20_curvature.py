"""Measures the curvature of a ResNet-20's loss with PyTorch and curvlinops on the CPU; prints one JSON object.

    pip install torch numpy scipy safetensors curvlinops-for-pytorch
    python3 benches/peers/pytorch/resnet20_curvature.py --weights runs/1/checkpoint.safetensors [--data FOLDER]

The weights are a Hillshade checkpoint's; the samples are the first records of data_batch_1.bin, normalized as Hillshade
does, in one batch; the loss is the mean cross-entropy without weight decay. FOLDER holds
cifar10/cifar-10-binary.tar.gz; without it, $HILLSHADE_DATA, or data.

Loss and gradient norm are computed in float64, times are measured in float32. Hessian products for the rest are in
float32, or with --double in float64; vectors are kept, orthogonalized and multiplied in float64 either way. Eigenvalues
are those of curvlinops' operator. Trace and density take hundreds of products with the same matrix, by differentiating
one kept graph of PyTorch's gradient, several times faster; the two are compared on one vector (`products_differ`).
A difference of 1e-3 between float32 and float64 need not be an error: it takes one activation near zero whose sign
rounding decides. Probes are Hillshade's, for the same seed: estimates by them agree too, not only their expectations.
"""

import argparse
import copy
import importlib.metadata
import json
import math
import os
import pathlib
import statistics
import sys
import tarfile
import time

import numpy
import torch
from curvlinops import GGNLinearOperator, HessianLinearOperator
from resnet20_step import Block, resnet20
from safetensors.torch import load_file
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

RECORD = 1 + 3 * 32 * 32


def read_cifar(folder, count):
    """The first `count` records of data_batch_1.bin: images [n, 3, 32, 32] and labels [n].

    Normalized by mean and population deviation of each channel over all training records that are there.
    """
    with tarfile.open(folder / "cifar10" / "cifar-10-binary.tar.gz") as archive:
        members = {pathlib.PurePath(member.name).name: member for member in archive.getmembers()}
        names = [f"data_batch_{index}.bin" for index in range(1, 6) if f"data_batch_{index}.bin" in members]
        raw = b"".join(archive.extractfile(members[name]).read() for name in names)
    records = numpy.frombuffer(raw, numpy.uint8).reshape(-1, RECORD)
    assert names[0] == "data_batch_1.bin" and count <= len(records), f"{len(records)} records in {names}"
    planes = records[:, 1:].reshape(-1, 3, 1024)
    values = planes.size // 3
    total = planes.sum((0, 2), dtype=numpy.int64)
    squares = (planes.astype(numpy.int32) ** 2).sum((0, 2), dtype=numpy.int64)
    # Exact in integers, as Hillshade's.
    spread = [values * int(square) - int(sum) ** 2 for sum, square in zip(total, squares)]
    mean = torch.tensor([int(sum) / values / 255 for sum in total])
    std = torch.tensor([max(math.sqrt(s) / values, 1) / 255 for s in spread])
    pixels = torch.from_numpy(records[:count, 1:].reshape(-1, 3, 32, 32).copy()).float()
    images = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    return images, torch.from_numpy(records[:count, 0].astype(numpy.int64)), mean.tolist(), std.tolist()


def layers(net):
    """Hillshade's name of each layer with weights."""
    found = {"stem.conv": net[0], "stem.norm": net[1], "head": net[-1]}
    for index, block in enumerate(module for module in net if isinstance(module, Block)):
        path = f"stage{index // 3}.block{index % 3}"
        parts = {name: getattr(block, name) for name in ["conv1", "norm1", "conv2", "norm2"]}
        if isinstance(block.shortcut, nn.Sequential):
            parts |= {"shortcut.conv": block.shortcut[0], "shortcut.norm": block.shortcut[1]}
        found |= {f"{path}.{name}": layer for name, layer in parts.items()}
    return found


def load(net, path):
    """Copies a checkpoint's tensors: convolutions from [kh, kw, ci, co], dense weights from [in, out]."""
    stored = load_file(path)
    for name, layer in layers(net).items():
        for part, tensor in layer.state_dict().items():
            if part == "num_batches_tracked":
                continue
            value = stored[f"{name}.{part}"]
            if value.ndim > 1:
                value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
            assert value.shape == tensor.shape, f"{name}.{part}: {list(value.shape)}, not {list(tensor.shape)}"
            tensor.copy_(value)


def randomize(net):
    """Gains, biases and running statistics that differ between channels, as after training."""
    for layer in layers(net).values():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.2)
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)


def use_statistics(net, mode):
    """Running statistics, or the batch's without a trace: a running average written in place has no derivative."""
    if mode == "eval":
        return net.eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = module.num_batches_tracked = None
    return net.train()


def milliseconds(run, steps):
    """The median of `steps` runs, after a warm-up."""
    run()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(times), 2)


class WrittenOutNorm(nn.Module):
    """Batch norm with the batch's statistics, in elementary operations."""

    def __init__(self, norm):
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps

    def forward(self, x):
        x = x - x.mean((0, 2, 3), keepdim=True)
        x = x * ((x * x).mean((0, 2, 3), keepdim=True) + self.eps).rsqrt()
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def write_out(module):
    """Replaces the batch norms within."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, WrittenOutNorm(child))
        else:
            write_out(child)
    return module


def hessian(net, loss, x, y):
    """curvlinops' operator for the mean loss.

    It differentiates torch.func.jacrev forward, which in PyTorch 2.15 loses the derivative of the batch's statistics in
    the rows that belong to the gains of PyTorch's own batch norm; so with the batch's statistics that is written out.
    """
    if net.training:
        net = write_out(copy.deepcopy(net))
    return HessianLinearOperator(net, loss, list(net.parameters()), [(x, y)], check_deterministic=False)


def kept_graph(net, loss, x, y):
    """v -> H v on lists of tensors, by differentiating the graph of the gradient again and again."""
    parameters = list(net.parameters())
    graph = torch.autograd.grad(loss(net(x), y), parameters, create_graph=True)
    return lambda v: torch.autograd.grad(graph, parameters, v, retain_graph=True)


def speed(net, loss, x, y, steps):
    """Times of a gradient and of products: by curvlinops, and by differentiating PyTorch's gradient once more."""
    parameters = list(net.parameters())
    vector = [torch.randn_like(p) for p in parameters]
    ggn = GGNLinearOperator(net, loss, parameters, [(x, y)], check_deterministic=False)
    exact, again = hessian(net, loss, x, y), kept_graph(net, loss, x, y)
    runs = {
        "ms_gradient": lambda: torch.autograd.grad(loss(net(x), y), parameters),
        "ms_hessian": lambda: exact @ vector,
        "ms_ggn": lambda: ggn @ vector,
        "ms_hessian_double_backward": lambda: kept_graph(net, loss, x, y)(vector),
        "ms_hessian_kept_graph": lambda: again(vector),
    }
    return {name: milliseconds(run, steps) for name, run in runs.items()}


class Product:
    """v -> H v on flat float64 vectors, counted."""

    def __init__(self, net, of_lists):
        self.parameters, self.of_lists, self.calls = list(net.parameters()), of_lists, 0

    def __call__(self, v):
        self.calls += 1
        pieces = v.to(self.parameters[0].dtype).split([p.numel() for p in self.parameters])
        parts = self.of_lists([piece.reshape(p.shape) for piece, p in zip(pieces, self.parameters)])
        return torch.cat([part.flatten() for part in parts]).double()


def philox(blocks, words, key):
    """Philox4x32-10 (Salmon et al. 2011) for counters [0..blocks, *words]: words [blocks, 4]."""
    low = numpy.uint64(0xFFFFFFFF)
    c = [numpy.arange(blocks, dtype=numpy.uint64), *(numpy.full(blocks, word, numpy.uint64) for word in words)]
    for _ in range(10):
        p, q = c[0] * numpy.uint64(0xD2511F53), c[2] * numpy.uint64(0xCD9E8D57)
        keys = [numpy.uint64(k) for k in key]
        c = [(q >> numpy.uint64(32)) ^ c[1] ^ keys[0], q & low, (p >> numpy.uint64(32)) ^ c[3] ^ keys[1], p & low]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return numpy.stack(c, 1)


def rademacher(net, seed, index, rows=1):
    """Hillshade's draw `index` of `rows` vectors of signs, in the order of PyTorch's parameters."""
    shapes = [tuple(p.shape) for p in net.parameters()]
    n = sum(map(math.prod, shapes))
    words = philox(-(-rows * n // 4), [int.from_bytes(b"prob", "big"), index, 0], [seed & 0xFFFFFFFF, seed >> 32])
    signs = torch.from_numpy(1.0 - 2.0 * (words.reshape(-1)[: rows * n] >> numpy.uint64(31)))
    for row in signs.reshape(rows, n):
        parts = []
        for shape, part in zip(shapes, row.split([math.prod(shape) for shape in shapes])):
            if len(shape) == 4:
                part = part.reshape(shape[2], shape[3], shape[1], shape[0]).permute(3, 2, 0, 1)
            elif len(shape) == 2:
                part = part.reshape(shape[1], shape[0]).T
            parts.append(part.flatten())
        yield torch.cat(parts)


def top_eigenvalues(operator, count, tolerance, seed):
    """The largest by SciPy, the norm of each residual H v - lambda v for the unit vector v, and products used."""
    scipy, calls = operator.to_scipy(), 0

    def matvec(v):
        nonlocal calls
        calls += 1
        return scipy.matvec(v)

    n = scipy.shape[0]
    start = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    matrix = LinearOperator(scipy.shape, matvec=matvec, dtype=numpy.float64)
    values, vectors = eigsh(matrix, k=count, which="LA", tol=tolerance, v0=start)
    residuals = [numpy.linalg.norm(scipy.matvec(v) - value * v) for value, v in zip(values, vectors.T)]
    return {
        "eigenvalues": values[::-1].tolist(),
        "eigenvalue_residuals": list(map(float, residuals[::-1])),
        "eigenvalue_products": calls,
    }


def trace(product, net, probes, seed, width):
    """Hutchinson's estimate with its standard error."""
    draws = range(-(-probes // width))
    vectors = (z for index in draws for z in rademacher(net, seed, index, min(width, probes - index * width)))
    values = [(z @ product(z)).item() for z in vectors]
    return {
        "trace": statistics.fmean(values),
        "trace_standard_error": statistics.stdev(values) / math.sqrt(probes),
        "trace_probes": probes,
    }


def lanczos(product, start, steps):
    """Diagonal and off-diagonal of the tridiagonal matrix, each new vector orthogonalized twice against all before."""
    basis = torch.empty(steps, len(start), dtype=torch.float64)
    basis[0] = start / start.norm()
    diagonal, off = [], []
    for step in range(steps):
        w = product(basis[step])
        diagonal.append((basis[step] @ w).item())
        known = basis[: step + 1]
        for _ in range(2):
            w -= known.T @ (known @ w)
        norm = w.norm().item()
        if step + 1 == steps or norm <= 1e-12 * max(map(abs, diagonal)):
            break
        off.append(norm)
        basis[step + 1] = w / norm
    return numpy.array(diagonal), numpy.array(off)


def density(product, net, probes, steps, seed):
    """Stochastic Lanczos quadrature: nodes and weights of each probe. The weights of a probe sum to 1."""
    nodes, weights = [], []
    for index in range(probes):
        diagonal, off = lanczos(product, next(rademacher(net, seed, index)), steps)
        values, vectors = numpy.linalg.eigh(numpy.diag(diagonal) + numpy.diag(off, 1) + numpy.diag(off, -1))
        nodes.append(values.tolist())
        weights.append((vectors[0] ** 2).tolist())
    return {"density_steps": steps, "density_nodes": nodes, "density_weights": weights}


def main():
    parser = argparse.ArgumentParser(description="Curvature of ResNet-20, PyTorch and curvlinops on the CPU")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=pathlib.Path, help="a Hillshade checkpoint")
    source.add_argument("--random", action="store_true", help="random weights instead")
    parser.add_argument("--data", type=pathlib.Path, help="default: $HILLSHADE_DATA")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--mode", choices=["eval", "batch"], default="eval", help="statistics of batch norm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="timed repetitions; 0 for none")
    parser.add_argument("--channels-last", action="store_true", help="memory format")
    parser.add_argument("--double", action="store_true", help="eigenvalues, trace and density in float64")
    parser.add_argument("--seed", type=int, default=0, help="of probes, starts and random weights")
    for part in ["eigs", "trace", "density"]:
        parser.add_argument(f"--no-{part}", dest=part, action="store_false")
    parser.add_argument("--eigenvalues", type=int, default=5)
    parser.add_argument("--tolerance", type=float, default=1e-5, help="of eigenvalues")
    parser.add_argument("--trace-probes", type=int, default=200)
    parser.add_argument("--trace-width", type=int, default=8, help="probes that Hillshade draws at once")
    parser.add_argument("--density-probes", type=int, default=4)
    parser.add_argument("--density-steps", type=int, default=80)
    options = parser.parse_args()
    folder = options.data or pathlib.Path(os.environ.get("HILLSHADE_DATA") or "data")

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    net = resnet20()
    if options.random:
        randomize(net)
    else:
        load(net, options.weights)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    net = use_statistics(net, options.mode).to(memory_format=layout)
    x, y, mean, std = read_cifar(folder, options.batch)
    x = x.contiguous(memory_format=layout)
    loss, n = nn.CrossEntropyLoss(), sum(p.numel() for p in net.parameters())

    result = {
        "peer": "pytorch, curvlinops",
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            "torch": torch.__version__,
            "curvlinops": importlib.metadata.version("curvlinops-for-pytorch"),
            "scipy": importlib.metadata.version("scipy"),
            "numpy": numpy.__version__,
        },
        "model": "resnet20",
        "parameters": n,
        "weights": "random" if options.random else options.weights.name,
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "statistics": options.mode,
        "memory_format": "channels_last" if options.channels_last else "channels_first",
        "products": "float64" if options.double else "float32",
        "seed": options.seed,
        "channel_mean": mean,
        "channel_std": std,
    }
    if options.steps:
        result |= {"steps": options.steps} | speed(net, loss, x, y, options.steps)

    if options.double:
        net, x = net.double(), x.double()
    if options.eigs:
        result |= top_eigenvalues(hessian(net, loss, x, y), options.eigenvalues, options.tolerance, options.seed)
    if options.trace or options.density:
        product = Product(net, kept_graph(net, loss, x, y))
        z = next(rademacher(net, options.seed, 0))
        other = Product(net, lambda v: hessian(net, loss, x, y) @ v)(z)
        result["products_differ"] = ((product(z) - other).norm() / other.norm()).item()
    if options.trace:
        result |= trace(product, net, options.trace_probes, options.seed, options.trace_width)
    if options.density:
        result |= density(product, net, options.density_probes, options.density_steps, options.seed)

    # Last, since this turns the network's parameters themselves to float64.
    net, x = net.double(), x.double()
    gradient, value = hessian(net, loss, x, y).gradient_and_loss()
    result["loss"] = value.item()
    result["gradient_norm"] = math.sqrt(sum((part**2).sum().item() for part in gradient))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
