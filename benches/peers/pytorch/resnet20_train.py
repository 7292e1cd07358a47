"""Trains ResNet-20 on CIFAR-10 with PyTorch on the CPU and prints one JSON line per seed: the test accuracy.

    pip install torch numpy
    python3 benches/peers/pytorch/resnet20_train.py [FOLDER] [--epochs 10] [--seeds 0 1 2]

FOLDER holds cifar-10-binary.tar.gz; without it, $HILLSHADE_DATA/cifar10. The recipe is that of

    hillshade train --data cifar10 --model resnet20 --epochs 10 --batch 128 --lr 0.1 --crop 4 --flip --seed 0
"""

import argparse
import json
import math
import os
import pathlib
import tarfile
import time

import numpy
import torch
from torch import nn
from torch.nn import functional

from resnet20_step import resnet20


def read(archive, prefix):
    """Images [n, 3, 32, 32] as floats up to 255 and labels [n] of all members whose names begin so."""
    with tarfile.open(archive) as members:
        names = sorted(name for name in members.getnames() if pathlib.Path(name).name.startswith(prefix))
        data = b"".join(members.extractfile(name).read() for name in names)
    records = torch.from_numpy(numpy.frombuffer(data, dtype=numpy.uint8).reshape(-1, 3073).copy())
    return records[:, 1:].reshape(-1, 3, 32, 32).float(), records[:, 0].long()


def initialize(net):
    """As Hillshade: variance 2/fan-in (He et al. 2015), normal in convolutions and uniform in the last layer."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    nn.init.kaiming_uniform_(net[-1].weight, nonlinearity="relu")
    nn.init.zeros_(net[-1].bias)


def augment(x, generator):
    """Shifts each image by up to 4 pixels each way, zeros beyond the margin, and mirrors half of them."""
    n = len(x)
    padded = functional.pad(x, (4, 4, 4, 4))
    down, right, mirrored = (torch.randint(k, (n,), generator=generator) for k in (9, 9, 2))
    rows = (down[:, None] + torch.arange(32))[:, :, None]
    columns = right[:, None] + torch.arange(32)
    columns = torch.where(mirrored[:, None] == 1, columns.flip(1), columns)[:, None, :]
    return padded.permute(0, 2, 3, 1)[torch.arange(n)[:, None, None], rows, columns].permute(0, 3, 1, 2)


def main():
    parser = argparse.ArgumentParser(description="CIFAR-10, ResNet-20, PyTorch on the CPU")
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="default: $HILLSHADE_DATA/cifar10")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=20, help="steps over which the rate rises first")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.folder or pathlib.Path(os.environ["HILLSHADE_DATA"]) / "cifar10"
    archive = folder / "cifar-10-binary.tar.gz"
    (x, labels), (test_x, test_labels) = read(archive, "data_batch"), read(archive, "test_batch")
    mean = x.mean((0, 2, 3), keepdim=True)
    std = (x - mean).pow(2).mean((0, 2, 3), keepdim=True).sqrt()
    x, test_x = (x - mean) / std, (test_x - mean) / std

    steps = len(x) // options.batch
    total = options.epochs * steps
    for seed in options.seeds:
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        net = resnet20().to(memory_format=torch.channels_last)
        initialize(net)
        decayed = [p for p in net.parameters() if p.ndim > 1]
        others = [p for p in net.parameters() if p.ndim == 1]
        groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=options.lr, momentum=0.9, nesterov=True)
        begin, step = time.perf_counter(), 0
        for _ in range(options.epochs):
            net.train()
            order = torch.randperm(len(x), generator=generator)
            for index in order[: steps * options.batch].split(options.batch):
                rest = (step - options.warmup) / max(total - options.warmup, 1)
                rate = (step + 1) / options.warmup if rest < 0 else 0.5 * (1 + math.cos(math.pi * rest))
                for group in optimizer.param_groups:
                    group["lr"] = options.lr * rate
                images = augment(x[index], generator).contiguous(memory_format=torch.channels_last)
                optimizer.zero_grad(set_to_none=True)
                functional.cross_entropy(net(images), labels[index]).backward()
                optimizer.step()
                step += 1
        seconds = time.perf_counter() - begin
        net.eval()
        with torch.no_grad():
            guesses = torch.cat([net(part).argmax(1) for part in test_x.split(250)])
        result = {
            "peer": "pytorch",
            "version": torch.__version__,
            "row": f"resnet20 on cifar10, {options.epochs} epochs of {len(x)} images",
            "seed": seed,
            "test_accuracy": (guesses == test_labels).float().mean().item(),
            "seconds": round(seconds, 1),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
