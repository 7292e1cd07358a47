"""Writes `resnet20.safetensors`: the curvature of a ResNet-20's loss, in float64 by PyTorch.

    pip install torch numpy scipy safetensors curvlinops-for-pytorch
    python3 tests/golden/resnet20.py [--check]

With `--check` nothing is written: all is computed anew and compared with the file. It was made with PyTorch 2.15.0,
curvlinops 3.0.1, SciPy 1.17, safetensors 0.8.0 and Python 3.11 on the CPU.

Weights and images are waves, so that nobody has to store them: element i of the tensor that is number t of the sorted names, in
Hillshade's layout, is a s + b for s = sin(0.7 i + 1.3 i^2 / 1009 + t), in float64, rounded to float32. For a convolution
[kh, kw, ci, co] and the dense [in, out], a = 1.2 / sqrt(fan in) and b = 0; gains 0.3 and 1, biases 0.2 and 0, running means 0.2
and 0, running variances 0.4 and 1. The images [8, 32, 32, 3] are tensor 1008 with a = 1.5, b = 0; label i is (i^2 + 2 i) mod 10; the direction is made of tensors 2000 + t with a = 1, b = 0. The loss is the mean cross-entropy, without weight decay.

For mode `eval` (running statistics) and `batch`, the statistics of the 8 images:

    mode.loss  mode.norm   L and the norm of its gradient
    mode.product           every 997th entry of H v, in the order of Hillshade's names, not sorted
    mode.product_norm      the norm of H v
    mode.eig               the three largest eigenvalues of H
"""

import argparse
import math
import pathlib
import sys

import numpy
import torch
from make import FOLDER, write
from safetensors import safe_open
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benches" / "peers" / "pytorch"))
from resnet20_curvature import hessian, layers, top_eigenvalues, use_statistics  # noqa: E402
from resnet20_step import resnet20  # noqa: E402

IMAGES, EACH = 8, 997


def wave(shape, number, scale, shift=0.0):
    """A tensor in Hillshade's layout, of numbers that float32 has."""
    i = numpy.arange(math.prod(shape), dtype=numpy.float64)
    values = scale * numpy.sin(0.7 * i + 1.3 * i * i / 1009 + number) + shift
    return torch.from_numpy(values.astype(numpy.float32).astype(numpy.float64)).reshape(shape)


def to_torch(tensor):
    """From Hillshade's layout to PyTorch's."""
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor


def from_torch(tensor):
    """The other way."""
    return tensor.permute(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor


def amplitude(name, shape):
    """Scale and shift of a tensor."""
    if name.endswith("running_mean"):
        return 0.2, 0.0
    if name.endswith("running_var"):
        return 0.4, 1.0
    if len(shape) > 1:
        return 1.2 / math.sqrt(math.prod(shape[:-1])), 0.0
    return (0.3, 1.0) if name.endswith("weight") else (0.2, 0.0)


def network(mode):
    """The network with its weights, and the direction, in the order of PyTorch's parameters."""
    net = resnet20().double()
    named = {f"{layer}.{part}": tensor for layer, module in layers(net).items() for part, tensor in module.state_dict().items()}
    named = {name: tensor for name, tensor in named.items() if not name.endswith("num_batches_tracked")}
    numbers = {name: number for number, name in enumerate(sorted(named))}
    for name, tensor in named.items():
        shape = from_torch(tensor).shape
        tensor.copy_(to_torch(wave(shape, numbers[name], *amplitude(name, shape))))
    own = {id(p): f"{layer}.{part}" for layer, module in layers(net).items() for part, p in module.named_parameters()}
    parameters = list(net.parameters())
    direction = [to_torch(wave(from_torch(p).shape, 2000 + numbers[own[id(p)]], 1.0)).contiguous() for p in parameters]
    return use_statistics(net, mode), direction


def main():
    parser = argparse.ArgumentParser(description="Golden curvature of a ResNet-20")
    parser.add_argument("--check", action="store_true", help="compare with the file, do not write it")
    check = parser.parse_args().check
    torch.manual_seed(0)
    x = wave((IMAGES, 32, 32, 3), 1008, 1.5).permute(0, 3, 1, 2).contiguous()
    y = torch.tensor([(i * i + 2 * i) % 10 for i in range(IMAGES)])
    loss, tensors = nn.CrossEntropyLoss(), {}
    for mode in ["eval", "batch"]:
        net, direction = network(mode)
        parameters = list(net.parameters())
        value = loss(net(x), y)
        gradient = torch.autograd.grad(value, parameters, create_graph=True)
        product = torch.autograd.grad(gradient, parameters, direction)
        flat = torch.cat([from_torch(part).flatten() for part in product])
        norm = torch.cat([part.flatten() for part in gradient]).norm()
        top = top_eigenvalues(hessian(net, loss, x, y), 3, 1e-9, 0)
        print(mode, value.item(), norm.item(), flat.norm().item(), top)
        tensors |= {
            f"{mode}.loss": value.detach().reshape(1),
            f"{mode}.norm": norm.detach().reshape(1),
            f"{mode}.product": flat[::EACH].clone(),
            f"{mode}.product_norm": flat.norm().reshape(1),
            f"{mode}.eig": torch.tensor(top["eigenvalues"], dtype=torch.float64),
        }
    if not check:
        write("resnet20", tensors, {})
        return
    with safe_open(FOLDER / "resnet20.safetensors", "pt") as stored:
        for name, tensor in tensors.items():
            error = (stored.get_tensor(name).double() - tensor).abs().max() / tensor.abs().max()
            print(f"{name}: {error:.1e}")
            assert error < 1e-6, name


if __name__ == "__main__":
    main()
