"""Trains ResNet-20 of CIFAR (He et al. 2016, section 4.2) in torch; runs in an environment that has torch and NumPy.

    python torch_cifar.py DATA.npz OUT.npz --epochs 15 [--threads 2] [--bfloat16]

`cifar10_start.py` makes DATA.npz, calls this, and turns OUT.npz into weights of this toolkit. SGD with Nesterov's
momentum, random crops and flips, a learning rate that rises for a fifth of the steps and falls to zero. Every epoch is
saved beside OUT.npz; the same command goes on from the last one, and ends as it would have without a stop.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from common import emit
from torch import nn
from torch.nn import functional as F

WIDTHS, BLOCKS = (16, 32, 64), 3
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
MOMENTUM, DECAY, PADDING = 0.9, 5e-4, 4
RISING = 0.2


class ConvNorm(nn.Module):
    """A 3 x 3 convolution and its batch norm, called as in `ppcls_compress.models`."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.bn(self.conv(x))


class Block(nn.Module):
    """Two convolutions, added to the input, which gets channels of zeros where it has fewer (option A)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride = 1 if inputs == outputs else 2
        self.missing = outputs - inputs
        self.conv0 = ConvNorm(inputs, outputs, self.stride)
        self.conv1 = ConvNorm(outputs, outputs)

    def forward(self, x):
        """[N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y = self.conv1(F.relu(self.conv0(x)))
        short = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return F.relu(y + short)


class ResNet20(nn.Module):
    """Stem, three stages of three blocks, global pooling, classifier."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = ConvNorm(3, WIDTHS[0])
        blocks, channels = [], WIDTHS[0]
        for width in WIDTHS:
            for _ in range(BLOCKS):
                blocks.append(Block(channels, width))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        """Images [N, 3, 32, 32] to logits [N, classes]."""
        return self.fc(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def normalized(images: np.ndarray) -> torch.Tensor:
    """uint8 [N, 3, H, W] to what the network reads, float32."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (torch.from_numpy(images).float() / 255 - mean) / deviation


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image cropped from one with a border of black, half of them flipped; uint8 [N, 3, 32, 32]."""
    size = images.shape[-1]
    border = ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING))
    padded, out = np.pad(images, border), np.empty_like(images)
    corners = rng.integers(0, 2 * PADDING + 1, (len(images), 2))
    for index, ((top, left), flipped) in enumerate(zip(corners, rng.random(len(images)) < 0.5, strict=True)):
        part = padded[index, :, top : top + size, left : left + size]
        out[index] = part[:, :, ::-1] if flipped else part
    return out


def rate_at(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step."""
    rising = RISING * steps
    return peak * (step / rising if step < rising else (steps - step) / (steps - rising))


def train_epoch(net, optimizer, data: dict[str, np.ndarray], epoch: int, args: argparse.Namespace) -> float:
    """One pass over the training images in an order of the epoch's own; the mean loss."""
    rng = np.random.default_rng([args.seed, epoch])
    order = rng.permutation(len(data["train_images"]))
    batches = len(order) // args.batch
    net.train()
    total = 0.0
    for number in range(batches):
        rate = rate_at(epoch * batches + number, args.epochs * batches, args.rate)
        optimizer.param_groups[0]["lr"] = rate
        chosen = np.sort(order[number * args.batch : (number + 1) * args.batch])
        images = normalized(augmented(data["train_images"][chosen], rng)).to(memory_format=torch.channels_last)
        labels = torch.from_numpy(data["train_labels"][chosen])
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            logits = net(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / batches


@torch.no_grad()
def logits_of(net, images: np.ndarray) -> np.ndarray:
    """Logits in single precision, [N, classes]."""
    net.eval()
    return np.concatenate(
        [net(normalized(images[start : start + 500])).numpy() for start in range(0, len(images), 500)]
    )


def main() -> None:
    """Train, then write weights by name, and logits of the first validation images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.2, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bfloat16", action="store_true", help="convolutions in bfloat16 while training")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    data = dict(np.load(args.data))
    net = ResNet20().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), args.rate, MOMENTUM, weight_decay=DECAY, nesterov=True)
    kept, first = args.out.with_suffix(".pt"), 0
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
    for epoch in range(first, args.epochs):
        begun = time.perf_counter()
        loss = train_epoch(net, optimizer, data, epoch, args)
        top1 = float((logits_of(net, data["val_images"]).argmax(1) == data["val_labels"]).mean())
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}, f"{kept}.part")
        Path(f"{kept}.part").replace(kept)
        print(
            f"epoch {epoch + 1}/{args.epochs} loss {loss:.4f} top-1 {100 * top1:.2f} "
            f"{time.perf_counter() - begun:.0f} s",
            flush=True,
        )
    logits = logits_of(net, data["val_images"])
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    np.savez(args.out, logits=logits[:500], **weights)
    emit({"top-1": float((logits.argmax(1) == data["val_labels"]).mean()), "epochs": args.epochs})


if __name__ == "__main__":
    main()
