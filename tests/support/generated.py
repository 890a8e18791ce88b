"""Small networks to be drawn at random, whose sizes stand in the code, in attributes, or come from shapes."""

import paddle
from paddle import nn
from paddle.nn import functional as F


def conv(inner, outer, k=3, groups=1):
    layers = [nn.Conv2D(inner, outer, k, padding=k // 2, groups=groups, bias_attr=False), nn.BatchNorm2D(outer)]
    return nn.Sequential(*layers, nn.ReLU())


def first_part(style, width, size):
    """How many channels of `width` the first part has, and a function of (block, x) that says so."""
    half = width // 2
    return {
        "written": (size, lambda block, x: size),
        "attribute": (size, lambda block, x: block.size),
        "rest": (size, lambda block, x: x.shape[1] - block.other),
        "sum": (size, lambda block, x: block.parts[0] + block.parts[1]),
        "shape": (half, lambda block, x: x.shape[1] // 2),
        "float": (half, lambda block, x: int(x.shape[1] * 0.5)),
        "quotient": (half, lambda block, x: int(x.shape[1] / 2)),
        "declared": (half, lambda block, x: block.before[0]._out_channels // 2),
        "weight": (half, lambda block, x: block.before[0].weight.shape[0] // 2),
    }[style]


STYLES = ("written", "attribute", "rest", "sum", "shape", "float", "quotient", "declared", "weight")


def halves(x, size, cut):
    """The first `size` channels and the others, in one of the ways to write it."""
    if cut == "split":
        return paddle.split(x, [size, -1], axis=1)
    if cut == "sections":
        return paddle.split(x, [size, x.shape[1] - size], axis=1)
    if cut == "end":
        return x[:, :size], x[:, size - x.shape[1] :]
    return x[:, :size], x[:, size:]


CUTS = ("split", "sections", "slices", "end")


class Cut(nn.Layer):
    """Cuts what its first convolution gives in two, works on the parts, and puts them together again."""

    def __init__(self, width, style, size, cut, join):
        super().__init__()
        out = 2 * width if join == "cross" else width
        self.before = conv(width, out)
        size, self.number = first_part(style, out, min(max(1, size), out - 1))
        self.size, self.other, self.parts = size, out - size, (1, size - 1)
        if join == "cross":
            size, self.number = first_part("shape", out, 0)
        self.how, self.join = cut, join
        self.left, self.right = conv(size, size, 1), conv(out - size, size, 1)
        self.after = conv({"add": size, "cross": out, "concat": out, "one": size}[join], width, 1)

    def forward(self, x):
        x = self.before(x)
        left, right = halves(x, self.number(self, x), self.how)
        if self.join == "add":
            x = self.left(left) + self.right(right)
        elif self.join == "cross":
            x = paddle.concat([left, self.left(right + self.right(right))], 1)
        elif self.join == "concat":
            x = paddle.concat([self.left(left), F.sigmoid(right)], 1)
        else:
            x = self.left(left)
        return self.after(x)


class Dual(nn.Layer):
    """Dual paths: a part of what each step gives is added, the rest is appended; the sizes are numbers."""

    def __init__(self, width, added, grown, written):
        super().__init__()
        self.added, self.grown = added, grown
        self.sizes = lambda block: (added, grown) if written else (block.added, block.grown)
        self.match = nn.Conv2D(width, added + 2 * grown, 1)
        self.steps = nn.LayerList([conv(added + (2 + k) * grown, added + grown) for k in range(2)])
        self.after = conv(added + 4 * grown, width, 1)

    def forward(self, x):
        added, grown = self.sizes(self)
        total, dense = paddle.split(self.match(x), [added, 2 * grown], axis=1)
        for step in self.steps:
            extra, more = paddle.split(step(paddle.concat([total, dense], 1)), [added, grown], axis=1)
            total, dense = total + extra, paddle.concat([dense, more], 1)
        return self.after(paddle.concat([total, dense], 1))


class Residual(nn.Layer):
    """x + convolutions of x, the middle one depthwise or grouped, by a layer or by the functional call."""

    def __init__(self, width, middle, kind):
        super().__init__()
        self.kind = kind
        self.groups = {"depthwise": middle, "grouped": 2, "functional": middle, "plain": 1}[kind]
        self.a, self.c = conv(width, middle, 1), conv(middle, width, 1)
        self.b = nn.Conv2D(middle, middle, 3, padding=1, groups=self.groups)

    def forward(self, x):
        y = self.a(x)
        alone = self.kind == "functional"
        y = F.conv2d(y, self.b.weight, padding=1, groups=y.shape[1]) if alone else self.b(y)
        return x + self.c(y)


class Shuffle(nn.Layer):
    """Channels of two groups in turn, with numbers from everywhere."""

    def __init__(self, width, style):
        super().__init__()
        self.before, self.after = conv(width, width), conv(width, width, 1)
        self.groups, self.style, self.each = 2, style, width // 2
        self.layer = nn.ChannelShuffle(2)

    def forward(self, x):
        x = self.before(x)
        b, c, h, w = x.shape
        if self.style == "layer":
            return self.after(self.layer(x))
        each = self.each if self.style == "attribute" else c // self.groups
        groups = 2 if self.style == "written" else self.groups
        return self.after(x.reshape([b, groups, each, h, w]).transpose([0, 2, 1, 3, 4]).reshape([b, c, h, w]))


class Excite(nn.Layer):
    """Channels are scaled by what a small network makes of their means."""

    def __init__(self, width, style):
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)
        self.width, self.style, self.after = width, style, conv(width, width)
        self.number = {"written": lambda c: width, "attribute": lambda c: self.width}.get(style, lambda c: c)

    def forward(self, x):
        b, c = x.shape[:2]
        scale = F.sigmoid(self.up(F.relu(self.down(x.mean([2, 3])))))
        return self.after(x * scale.reshape([b, self.number(c), 1, 1]))


class Padded(nn.Layer):
    """A shortcut that is padded with channels of zeros."""

    def __init__(self, width, more, written):
        super().__init__()
        self.wide, self.after, self.more = conv(width, width + more), conv(width + more, width, 1), more
        self.number = (lambda: more) if written else (lambda: self.more)

    def forward(self, x):
        return self.after(self.wide(x) + F.pad(x, [0, 0, 0, self.number(), 0, 0, 0, 0]))


class Dense(nn.Layer):
    """What is computed is appended, and half of it left out again."""

    def __init__(self, width, grown):
        super().__init__()
        self.grow, self.after, self.kept = conv(width, grown), conv(width + grown // 2, width, 1), grown // 2

    def forward(self, x):
        y = self.grow(x)
        return self.after(paddle.concat([x, y[:, : self.kept]], 1))


class Branch(nn.Layer):
    """Looks at how many channels there are."""

    def __init__(self, width, limit):
        super().__init__()
        self.limit, self.before, self.after = limit, conv(width, width), conv(width, width, 1)

    def forward(self, x):
        x = self.before(x)
        return self.after(x * 2 if x.shape[1] > self.limit else F.sigmoid(x))


KINDS = ("cut", "dual", "residual", "shuffle", "excite", "padded", "dense", "branch", "grow")


def block(width, kind, a, b, c):
    """A block of `width` channels in and out, by three numbers from 0 to 7."""
    if kind == "cut":
        return Cut(width, STYLES[(a + c) % 9], 1 + b, CUTS[a % 4], ("add", "cross", "concat", "one")[c % 4])
    if kind == "dual":
        return Dual(width, 3 + a, 2 + b % 3, c == 0)
    if kind == "residual":
        return Residual(width, 4 + 2 * a, ("plain", "depthwise", "grouped", "functional")[c % 4])
    if kind == "shuffle":
        return Shuffle(width, ("shape", "attribute", "written", "layer")[c % 4])
    if kind == "excite":
        return Excite(width, ("shape", "attribute", "written")[c % 3])
    if kind == "padded":
        return Padded(width, 2 + a, c == 0)
    if kind == "dense":
        return Dense(width, 4 + a)
    return Branch(width, 2 + a) if kind == "branch" else conv(width, width)


class Generated(nn.Layer):
    """A stem, blocks, and a head that flattens to a number from somewhere."""

    def __init__(self, width, blocks, head):
        super().__init__()
        self.stem = conv(3, width)
        self.blocks = nn.LayerList([block(width, *numbers) for numbers in blocks])
        self.last, self.pool, self.fc = conv(width, 6), nn.AdaptiveAvgPool2D(2), nn.Linear(24, 3)
        self.features, self.head = 24, head

    def forward(self, x):
        x = self.stem(x)
        for step in self.blocks:
            x = step(x)
        x = self.pool(self.last(x))
        size = {"written": 24, "attribute": self.features, "shape": 4 * x.shape[1]}[self.head]
        return self.fc(x.reshape([-1, size]))


HEADS = ("written", "attribute", "shape")
