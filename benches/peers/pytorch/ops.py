"""Times matrix products, convolutions and batch norm with PyTorch, in the shapes of `cargo bench --bench steps`, and an
MLP's and a small CNN's training step; prints one JSON line each.

    pip install torch
    python3 benches/peers/pytorch/ops.py [--device cuda] [--tf32]

On a CPU all cores take part, with channels last for images; on CUDA times are those of events.
"""

import argparse
import json
import os
import statistics
import time

import torch
from torch import nn
from torch.nn import functional


def median_ms(run, device, rounds):
    """The median time of a call, after three that are not timed."""
    times = []
    for i in range(rounds + 3):
        if device == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def images(device, *shape):
    return torch.randn(*shape, device=device).to(memory_format=torch.channels_last)


def rows(device):
    """(name, call) for each row."""
    for n in [512, 1024]:
        a, b = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
        yield f"matmul {n}", lambda a=a, b=b: a @ b
    for n, h, c in [(32, 32, 16), (32, 8, 64), (32, 32, 64)]:
        x = images(device, n, c, h, h).requires_grad_()
        w = images(device, c, c, 3, 3).requires_grad_()
        name = f"{n}x{h}x{h}x{c}"

        def forward(x=x, w=w):
            with torch.no_grad():
                return functional.conv2d(x, w, padding=1)

        def trained(x=x, w=w):
            y = functional.conv2d(x, w, padding=1)
            return torch.autograd.grad(y, [x, w], y.detach())

        yield f"conv2d forward {name}", forward
        yield f"conv2d forward and backward {name}", trained
        gain, offset = torch.ones(c, device=device, requires_grad=True), torch.zeros(c, device=device, requires_grad=True)

        def normed(x=x, gain=gain, offset=offset):
            y = functional.batch_norm(x, None, None, gain, offset, training=True)
            return torch.autograd.grad(y, [x, gain, offset], y.detach())

        yield f"batch_norm forward and backward {name}", normed
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    yield "training step mlp 128x28x28x1", step(mlp.to(device), images(device, 128, 1, 28, 28))
    yield "training step cnn 64x8x8x1", step(cnn(8).to(device), images(device, 64, 1, 8, 8))
    yield "training step cnn 128x28x28x1", step(cnn(28).to(device), images(device, 128, 1, 28, 28))


def cnn(size):
    layers, channels = [], 1
    for i, width in enumerate([16, 32, 64]):
        layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
        if i < 2:
            layers.append(nn.MaxPool2d(2))
    side = size // 4
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * side * side, 10))


def step(network, x):
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    labels = torch.arange(len(x), device=x.device) % 10

    def run():
        optimizer.zero_grad()
        functional.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return run


def main():
    parser = argparse.ArgumentParser(description="ops and small training steps, PyTorch")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tf32", action="store_true", help="allow TF32 on CUDA")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    torch.manual_seed(0)
    for name, run in rows(options.device):
        ms = median_ms(run, options.device, options.rounds)
        row = {"peer": "pytorch", "version": torch.__version__, "device": options.device, "tf32": options.tf32}
        print(json.dumps({**row, "row": name, "ms": round(ms, 4)}), flush=True)


if __name__ == "__main__":
    main()
