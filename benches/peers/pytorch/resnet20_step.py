"""Times training steps of the CIFAR ResNet-20 with PyTorch; prints one JSON line per memory format.

    pip install torch numpy
    python3 benches/peers/pytorch/resnet20_step.py [--batch 128] [--device cuda] [--tf32]

The network is He et al. 2015, section 4.2, with option B: 1x1 convolutions with batch norm where the width changes.
A step is forward, loss, backward and SGD with momentum; the data are random and always the same.
"""

import argparse
import json
import os
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

FORMATS = {"channels_first": torch.contiguous_format, "channels_last": torch.channels_last}


class Block(nn.Module):
    """Two 3x3 convolutions around which the input is added back."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def resnet20():
    """Three stages of three blocks, 16, 32 and 64 channels wide."""
    layers = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for inputs, outputs in [(16, 16), (16, 32), (32, 64)]:
        layers += [Block(inputs, outputs, outputs // inputs), Block(outputs, outputs, 1), Block(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def main():
    parser = argparse.ArgumentParser(description="ResNet-20 training steps, PyTorch")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--tf32", action="store_true", help="allow TF32 on CUDA")
    parser.add_argument("--format", choices=list(FORMATS), help="default: each in turn")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32

    for name in [options.format] if options.format else FORMATS:
        torch.manual_seed(0)
        net = resnet20().to(options.device, memory_format=FORMATS[name])
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
        x = torch.randn(options.batch, 3, 32, 32, device=options.device).contiguous(memory_format=FORMATS[name])
        labels = torch.randint(10, (options.batch,), device=options.device)
        milliseconds = []
        for _ in range(options.warmup + options.steps):
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(net(x), labels).backward()
            optimizer.step()
            if options.device == "cuda":
                torch.cuda.synchronize()
            milliseconds.append(1e3 * (time.perf_counter() - start))
        timed = sorted(milliseconds[options.warmup :])
        result = {
            "peer": "pytorch",
            "version": torch.__version__,
            "device": options.device,
            "tf32": options.tf32,
            "row": f"training step resnet20 {options.batch}x32x32x3",
            "parameters": sum(p.numel() for p in net.parameters()),
            "threads": torch.get_num_threads(),
            "batch": options.batch,
            "memory_format": name,
            "steps": options.steps,
            "ms": round(statistics.median(timed), 3),
            "ms_fastest": round(timed[0], 3),
            "ms_slowest": round(timed[-1], 3),
        }
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
