"""Random small networks of every kind of layer and of every way to tie channels, for the property test and the fuzzer.

Every choice comes from one `Random`: hypothesis hands in one whose draws it can shrink, the fuzzer a seeded one.
"""

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

import onnx
from nets import Checked, analysed, assert_cut_equals_mask, net
from own_mask import own_masked

SIDE = 4
WIDTHS = (2, 3, 4, 6, 8, 12)


@dataclass
class Draft:
    """A graph in the making: text lines, declared constants, and the live tensors with their numbers of channels.

    Beside the picture x there is a style z [1, 6], which kernels can be computed from.
    """

    lines: list[str] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=lambda: {"x": 3})

    def new(self, width: int) -> str:
        name = f"t{len(self.widths)}"
        self.widths[name] = width
        return name

    def constant(self, name: str, kind: str, value: str = "") -> str:
        self.constants[name] = f"{kind} {name}{value}"
        return name

    def target(self, name: str, *dims: int) -> str:
        """Declare the target of a reshape that leaves the batch as it is."""
        sizes = ", ".join(map(str, (0, *dims)))
        return self.constant(name, f"int64[{1 + len(dims)}]", f" = {{{sizes}}}")

    def conv(self, source: str, width: int, *, group: int = 1, size: int = 1, bias: str = "") -> str:
        inner = self.widths[source] // group
        name = self.new(width)
        weight = self.constant(f"w_{name}", f"float[{width}, {inner}, {size}, {size}]")
        pads = ", ".join([str(size // 2)] * 4)
        operands = ", ".join([source, weight, *([bias] if bias else [])])
        self.lines.append(f"{name} = Conv<group = {group}, pads = [{pads}]>({operands})")
        return name

    def styled(self, weight: str, *shape: int, along: int) -> str:
        """Return a weight of this shape whose positions along one axis are scaled by what is made of z."""
        size = shape[along]
        matrix = self.constant(f"m_{weight}", f"float[6, {size}]")
        places = [size if axis == along else 1 for axis in range(len(shape))]
        target = self.constant(f"s_{weight}", f"int64[{len(shape)}]", f" = {{{', '.join(map(str, places))}}}")
        self.constant(f"w_{weight}", f"float[{', '.join(map(str, shape))}]")
        self.lines += [
            f"g_{weight} = MatMul(z, {matrix})",
            f"r_{weight} = Reshape(g_{weight}, {target})",
            f"{weight} = Mul(w_{weight}, r_{weight})",
        ]
        return weight


def draw_step(rng: Random, draft: Draft) -> None:  # noqa: C901 (a branch for each kind of step)
    """Add one node, or a small pattern of nodes, on top of a live tensor."""
    source = rng.choice(sorted(draft.widths)[-4:])
    width = draft.widths[source]
    kind = rng.choice(STEPS)
    if kind == "conv":
        out = rng.choice(WIDTHS)
        bias = rng.choice(["", "own", "shared"])
        name = {"": "", "own": f"bias{len(draft.lines)}", "shared": f"shared{out}"}[bias]
        if name:
            draft.constant(name, f"float[{out}]")
        draft.conv(source, out, size=rng.choice([1, 3]), bias=name)
    elif kind == "one channel":
        draft.conv(source, 1)
    elif kind == "grouped":
        groups = [g for g in (2, 3, 4) if width % g == 0 and width > g]
        if groups:
            group = rng.choice(groups)
            draft.conv(source, group * rng.choice([1, 2, 3]), group=group)
    elif kind == "depthwise" and width > 1:
        draft.conv(source, width * rng.choice([1, 1, 2]), group=width, size=3)
    elif kind == "unary":
        function = rng.choice(["Relu", "Sigmoid", "HardSwish", "Identity"])
        draft.lines.append(f"{draft.new(width)} = {function}({source})")
    elif kind == "merge":
        others = [name for name, other in draft.widths.items() if other in (1, width)]
        other = rng.choice(others)
        op = rng.choice(["Add", "Mul", "Max"])
        draft.lines.append(f"{draft.new(width)} = {op}({source}, {other})")
    elif kind == "norm":
        vectors = [draft.constant(f"norm_{letter}{width}", f"float[{width}]") for letter in "sbmv"]
        draft.lines.append(f"{draft.new(width)} = BatchNormalization({', '.join([source, *vectors])})")
    elif kind == "concat":
        other = rng.choice(sorted(draft.widths))
        draft.lines.append(f"{draft.new(width + draft.widths[other])} = Concat<axis = 1>({source}, {other})")
    elif kind == "split" and width > 1:
        first = rng.randint(1, width - 1)
        one, two = draft.new(first), draft.new(width - first)
        sizes = draft.constant(f"sizes_{first}_{width - first}", "int64[2]", f" = {{{first}, {width - first}}}")
        equal = 2 * first == width and rng.random() < 0.5
        draft.lines.append(f"{one}, {two} = Split<axis = 1>({source}{'' if equal else ', ' + sizes})")
    elif kind == "slice" and width > 1:
        start = rng.randint(0, width - 1)
        stop = rng.randint(start + 1, width)
        bounds = [
            start - width if rng.random() < 0.5 else start,
            stop - width if stop < width and rng.random() < 0.5 else stop,
        ]
        names = [draft.constant(f"at{str(b).replace('-', 'm')}", "int64[1]", f" = {{{b}}}") for b in (*bounds, 1)]
        draft.lines.append(f"{draft.new(stop - start)} = Slice({', '.join([source, *names])})")
    elif kind == "pad":
        before, after = rng.choice([(0, 2), (1, 1), (2, 0), (3, 1)])
        value = f" = {{0, {before}, 0, 0, 0, {after}, 0, 0}}"
        pads = draft.constant(f"pads_{before}_{after}", "int64[8]", value)
        draft.lines.append(f"{draft.new(width + before + after)} = Pad({source}, {pads})")
    elif kind == "shuffle":
        groups = [g for g in (2, 3, 4) if width % g == 0]
        if groups:
            group = rng.choice(groups)
            number = len(draft.lines)
            there = draft.target(f"there{number}", group, width // group, SIDE, SIDE)
            back = draft.target(f"back{number}", width, SIDE, SIDE)
            draft.lines += [
                f"s{number} = Reshape({source}, {there})",
                f"u{number} = Transpose<perm = [0, 2, 1, 3, 4]>(s{number})",
                f"{draft.new(width)} = Reshape(u{number}, {back})",
            ]
    elif kind == "gate":
        number = len(draft.lines)
        back = draft.target(f"gate{number}", width, 1, 1)
        matrix = draft.constant(f"m{number}", f"float[{width}, {width}]")
        draft.lines += [
            f"p{number} = GlobalAveragePool({source})",
            f"f{number} = Flatten(p{number})",
            f"g{number} = MatMul(f{number}, {matrix})",
            f"r{number} = Reshape(g{number}, {back})",
            f"{draft.new(width)} = Mul({source}, r{number})",
        ]
    elif kind == "last":
        number = len(draft.lines)
        matrix = draft.constant(f"k{number}", f"float[{width}, {width}]")
        draft.lines += [
            f"h{number} = Transpose<perm = [0, 2, 3, 1]>({source})",
            f"q{number} = MatMul(h{number}, {matrix})",
            f"{draft.new(width)} = Transpose<perm = [0, 3, 1, 2]>(q{number})",
        ]
    elif kind == "styled":
        draw_product(rng, draft, source)
    elif kind == "group norm":
        draw_group_norm(rng, draft, source)
    elif kind == "integers":
        draw_integers(rng, draft, source)
    elif kind == "heads":
        draw_heads(rng, draft, source)
    elif kind == "flat":
        draw_flat(rng, draft, source)


def draw_group_norm(rng: Random, draft: Draft, source: str) -> None:
    """Add a normalisation over groups of channels, as exporters write it out."""
    width, number = draft.widths[source], len(draft.lines)
    group = rng.choice([g for g in (1, 2, 3, 4, 6) if width % g == 0])
    there = draft.target(f"grouped{number}", group, -1)
    back = draft.target(f"back{number}", width, SIDE, SIDE)
    ones, zeros = (
        draft.constant(f"{word}{group}", f"float[{group}]", f" = {{{', '.join([text] * group)}}}")
        for word, text in (("ones", "1"), ("zeros", "0"))
    )
    scale = draft.constant(f"scale{number}", f"float[{width}, 1, 1]")
    draft.lines += [
        f"a{number} = Reshape({source}, {there})",
        f"b{number} = InstanceNormalization(a{number}, {ones}, {zeros})",
        f"c{number} = Reshape(b{number}, {back})",
        f"{draft.new(width)} = Mul(c{number}, {scale})",
    ]


def draw_heads(rng: Random, draft: Draft, source: str) -> None:
    """Add an attention over all places of the map: heads and their dimensions share an axis."""
    width, number, places = draft.widths[source], len(draft.lines), SIDE * SIDE
    heads, wide = rng.choice([1, 2, 3]), rng.choice([2, 4, 5])
    rows = draft.target(f"rows{number}", width, places)
    split = draft.target(f"split{number}", places, heads, wide)
    flat = draft.target(f"flat{number}", places, heads * wide)
    back = draft.target(f"back{number}", width, SIDE, SIDE)
    draft.lines += [f"x{number} = Reshape({source}, {rows})", f"h{number} = Transpose<perm = [0, 2, 1]>(x{number})"]
    for letter, order in (("q", "0, 2, 1, 3"), ("k", "0, 2, 3, 1"), ("v", "0, 2, 1, 3")):
        weight = draft.constant(f"w{letter}{number}", f"float[{width}, {heads * wide}]")
        draft.lines += [
            f"m{letter}{number} = MatMul(h{number}, {weight})",
            f"r{letter}{number} = Reshape(m{letter}{number}, {split})",
            f"{letter}{number} = Transpose<perm = [{order}]>(r{letter}{number})",
        ]
    projection = draft.constant(f"wo{number}", f"float[{heads * wide}, {width}]")
    draft.lines += [
        f"s{number} = MatMul(q{number}, k{number})",
        f"p{number} = Softmax<axis = -1>(s{number})",
        f"mo{number} = MatMul(p{number}, v{number})",
        f"to{number} = Transpose<perm = [0, 2, 1, 3]>(mo{number})",
        f"fo{number} = Reshape(to{number}, {flat})",
        f"o{number} = MatMul(fo{number}, {projection})",
        f"u{number} = Transpose<perm = [0, 2, 1]>(o{number})",
        f"{draft.new(width)} = Reshape(u{number}, {back})",
    ]


def draw_flat(rng: Random, draft: Draft, source: str) -> None:
    """Add a layer over places and one over all channels at all of them: both share the axis in front of the second."""
    width, number, places, out = draft.widths[source], len(draft.lines), rng.choice([2, 3]), rng.choice(WIDTHS)
    rows = draft.target(f"rows{number}", width, SIDE * SIDE)
    flat = draft.target(f"flat{number}", width * places)
    back = draft.target(f"back{number}", out, SIDE, SIDE)
    first = draft.constant(f"first{number}", f"float[{SIDE * SIDE}, {places}]")
    second = draft.constant(f"second{number}", f"float[{width * places}, {out * SIDE * SIDE}]")
    draft.lines += [
        f"x{number} = Reshape({source}, {rows})",
        f"a{number} = MatMul(x{number}, {first})",
        f"f{number} = Reshape(a{number}, {flat})",
        f"b{number} = MatMul(f{number}, {second})",
        f"{draft.new(out)} = Reshape(b{number}, {back})",
    ]


def draw_integers(rng: Random, draft: Draft, source: str) -> None:
    """Add a convolution whose weight is integers, cast and multiplied by a scale."""
    width, out, number = draft.widths[source], rng.choice(WIDTHS), len(draft.lines)
    values = ", ".join(str(rng.randint(-9, 9)) for _ in range(width * out))
    integers = draft.constant(f"i{number}", f"int8[{out}, {width}, 1, 1]", f" = {{{values}}}")
    along = rng.choice([f"{out}, 1", f"1, {width}"])
    scale = draft.constant(f"scale{number}", f"float[{along}, 1, 1]")
    draft.lines += [
        f"f{number} = Cast<to = 1>({integers})",
        f"w{number} = Mul(f{number}, {scale})",
        f"{draft.new(out)} = Conv({source}, w{number})",
    ]


def draw_product(rng: Random, draft: Draft, source: str) -> None:
    """Add a sum of products of a weight that is computed from z with a live tensor and with a constant one."""
    width, out, number = draft.widths[source], rng.choice(WIDTHS), len(draft.lines)
    weight, name = f"k{number}", draft.new(out)
    constant = draft.constant(f"d{number}", f"float[1, {width}, {SIDE}, {SIDE}]")
    along = rng.choice([0, 1])
    kind = rng.choice(["Conv", "ConvTranspose", "MatMul", "MatMul reversed"])
    shape = (out, width) if kind in ("Conv", "MatMul reversed") else (width, out)
    square = kind.startswith("Conv")
    draft.styled(weight, *shape, *([1, 1] if square else []), along=along)
    flat = draft.target(f"flat{number}", width, SIDE * SIDE)
    back = draft.target(f"back{number}", out, SIDE, SIDE)
    for end, data in (("a", source), ("b", constant)):
        if square:
            draft.lines.append(f"{end}{number} = {kind}({data}, {weight})")
            continue
        draft.lines.append(f"f{end}{number} = Reshape({data}, {flat})")
        if kind == "MatMul":
            draft.lines += [
                f"t{end}{number} = Transpose<perm = [0, 2, 1]>(f{end}{number})",
                f"p{end}{number} = MatMul(t{end}{number}, {weight})",
                f"q{end}{number} = Transpose<perm = [0, 2, 1]>(p{end}{number})",
            ]
        else:
            draft.lines.append(f"q{end}{number} = MatMul({weight}, f{end}{number})")
        draft.lines.append(f"{end}{number} = Reshape(q{end}{number}, {back})")
    draft.lines.append(f"{name} = Add(a{number}, b{number})")


STEPS = ["one channel", "group norm", *"""
    conv conv conv grouped depthwise unary merge merge norm concat split slice pad shuffle gate last styled integers
    heads flat
""".split()]  # fmt: skip


def draw_net(rng: Random) -> onnx.ModelProto:
    draft = Draft()
    draft.conv("x", rng.choice(WIDTHS))
    for _ in range(rng.randint(2, 9)):
        draw_step(rng, draft)
    # Every tensor that nobody reads ends in the output: no branch stays unseen.
    read = {name for line in draft.lines for name in re.findall(r"\w+", line.split(" = ", 1)[1])}
    loose = [name for name in draft.widths if name != "x" and name not in read]
    ends = [draft.conv(name, 2) for name in loose]
    draft.lines.append(f"y = Sum({', '.join(ends)})")
    return net(
        f"""(float[n, 3, {SIDE}, {SIDE}] x, float[1, 6] z) => (float[n, 2, {SIDE}, {SIDE}] y)
        <{", ".join(draft.constants.values())}> {{ {chr(10).join(draft.lines)} }}"""
    )


def check_net(rng: Random, model: onnx.ModelProto) -> Checked | None:
    """Cut all groups of `model` at random, then one of them alone; None where there is nothing to cut.

    The first cut is compared with masks of the tests' own making, the second with those of the project.
    """
    analysis = analysed(model)
    if not analysis.prunable:
        return None
    ratio = rng.choice([0.25, 0.5, 0.8])
    seed = rng.randint(0, 99)
    # A random net may well hide the cut channels behind dead units, so power is not asked of every single one.
    settings: dict[str, Any] = {"seed": seed, "powerful": False, "analysis": analysis}
    checked = assert_cut_equals_mask(model, ratio=ratio, masked_by=own_masked, **settings)
    assert analysis.macs(checked.keep) == analysed(checked.model).macs()
    alone = rng.choice(sorted(checked.keep))
    assert_cut_equals_mask(model, {alone: checked.keep[alone]}, **settings)
    return checked
