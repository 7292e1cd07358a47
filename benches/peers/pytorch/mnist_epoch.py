"""Trains Hillshade's small MNIST network with PyTorch on the CPU and prints one JSON line.

    pip install torch numpy
    python3 benches/peers/pytorch/mnist_epoch.py [FOLDER] [--epochs 3]

FOLDER holds the four IDX files as published (gzip); without it, $HILLSHADE_DATA/mnist. A full epoch is 60,000 images;
the last, incomplete batch is dropped. Reading the files and measuring the accuracy are not timed.
"""

import argparse
import gzip
import json
import math
import os
import pathlib
import struct
import time

import torch
from torch import nn
from torch.nn import functional


def read_idx(path):
    """An IDX file of unsigned bytes as a uint8 tensor."""
    data = gzip.decompress(path.read_bytes())
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    assert (zero, kind) == (0, 8), f"{path}: not an IDX file of unsigned bytes"
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    values = torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=4 + 4 * rank)
    assert values.numel() == math.prod(shape), f"{path}: truncated"
    return values.reshape(shape)


def read_split(folder, name):
    """Normalized images [n, 1, 28, 28] and labels [n]."""
    images = read_idx(folder / f"{name}-images-idx3-ubyte.gz").float().div(255).sub(0.1307).div(0.3081)
    return images.unsqueeze(1), read_idx(folder / f"{name}-labels-idx1-ubyte.gz").long()


def network():
    """Three 3x3 convolutions with batch norm and ReLU, two of them pooled, and a dense layer."""

    def block(inputs, outputs):
        return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*block(1, 16), nn.MaxPool2d(2), *block(16, 32), nn.MaxPool2d(2), *block(32, 64)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(7 * 7 * 64, 10))


def main():
    parser = argparse.ArgumentParser(description="MNIST, one small CNN, PyTorch on the CPU")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="default: $HILLSHADE_DATA/mnist")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--channels-last", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--images", type=int, help="train on the first so many only")
    options = parser.parse_args()
    folder = options.folder
    if folder is None:
        if "HILLSHADE_DATA" not in os.environ:
            parser.error("name a folder, or set HILLSHADE_DATA")
        folder = pathlib.Path(os.environ["HILLSHADE_DATA"]) / "mnist"

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    images, labels = read_split(folder, "train")
    images, labels = images[: options.images], labels[: options.images]
    net = network().to(memory_format=layout)
    optimizer = torch.optim.SGD(net.parameters(), lr=options.lr, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = len(images) // options.batch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * steps)

    seconds = []
    for _ in range(options.epochs):
        start = time.perf_counter()
        order = torch.randperm(len(images))[: steps * options.batch]
        for batch in order.split(options.batch):
            x = images[batch].contiguous(memory_format=layout)
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(net(x), labels[batch]).backward()
            optimizer.step()
            schedule.step()
        seconds.append(round(time.perf_counter() - start, 3))

    net.eval()
    images, labels = read_split(folder, "t10k")
    with torch.inference_mode():
        right = sum(
            (net(x.contiguous(memory_format=layout)).argmax(1) == y).sum().item()
            for x, y in zip(images.split(1000), labels.split(1000))
        )
    result = {
        "peer": "pytorch",
        "version": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch": options.batch,
        "lr": options.lr,
        "channels_last": options.channels_last,
        "images": steps * options.batch,
        "seconds_per_epoch": seconds,
        "test_accuracy": right / len(images),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
