"""JSON schemas of what `--json` prints, one for each kind of result; the docs have them as files.

`format` in a result is the number of these schemas. It grows where a name goes or changes its meaning; new names come
without that, so readers have to pass over names that they do not know.
"""

from collections.abc import Mapping
from typing import Any, get_args

from onnxprune._version import RESULT_FORMAT
from onnxprune.errors import CODES
from onnxprune.values.conditions import MEASURES
from onnxprune.values.equality import Place, Proof, Status
from onnxprune.values.promise import State
from onnxprune.values.trials import COLUMNS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": schema}


def by_name(schema: Schema) -> Schema:
    """Return the schema of an object with any names."""
    return {"type": "object", "additionalProperties": schema}


def record(about: str = "", /, **fields: Schema) -> Schema:
    """Return the schema of an object that has all of these names."""
    found: Schema = {"type": "object", "properties": fields, "required": list(fields)}
    return {"description": about, **found} if about else found


def one_of(values: tuple[str, ...]) -> Schema:
    """Return the schema of one of some words."""
    return {"enum": list(values)}


def told(schema: Schema, about: str) -> Schema:
    """Return a schema with a description."""
    return {**schema, "description": about}


INTERVAL: Schema = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
FIGURES = record(
    "Size and speed of a model.",
    params=told(WHOLE, "elements of its floating-point constants"),
    macs=told(NUMBER, "multiply-adds for one sample"),
    size=told(WHOLE, "bytes of its files"),
    channels=told(WHOLE, "channels that can be pruned"),
    latency_ms=told(maybe(NUMBER), "median milliseconds for one sample"),
    single_ms=told(maybe(NUMBER), "the same on one thread"),
)
SPEEDUP = record("How many times as fast.", times=maybe(NUMBER), p10=NUMBER, p90=NUMBER)
ACCURACY = record(
    "Top-1 as counts and a share.",
    top1=SHARE,
    interval95=INTERVAL,
    correct=WHOLE,
    total=WHOLE,
    class_correct=many(WHOLE),
    class_total=many(WHOLE),
)
QUALITY = record(
    "What became of the answers, on data that no score saw. Shares, not percent.",
    source=TEXT,
    samples=WHOLE,
    before=maybe(ACCURACY),
    after=maybe(ACCURACY),
    change=maybe(NUMBER),
    change_interval95=maybe(INTERVAL),
    classes=many(record(name=TEXT, before=SHARE, after=SHARE, samples=WHOLE)),
    drift=maybe(by_name(maybe(NUMBER))),
    agreement=maybe(by_name(SHARE)),
    moved=maybe(NUMBER),
    bounds=told(by_name(maybe(NUMBER)), "the most that was lost at the confidence, by limit"),
    steps=many(record(name=TEXT, top1=maybe(SHARE), drift=maybe(NUMBER), error=maybe(NUMBER), taken=FLAG)),
    among=told(many(TEXT), "the chosen classes, where both models tell only these apart"),
)
VERIFICATION = record(
    "The check that the cut model equals the masked original.",
    status=one_of(get_args(Status)),
    error=maybe(NUMBER),
    tolerance=NUMBER,
    power=maybe(NUMBER),
    noise=maybe(NUMBER),
    where=one_of(get_args(Place)),
    tensor=TEXT,
    dtype=TEXT,
    steps=WHOLE,
    proof=one_of(get_args(Proof)),
)
OPINION = record("What another runtime says.", oracle=TEXT, cut=NUMBER, tolerance=NUMBER, power=NUMBER, written=NUMBER)
MEASURED: Schema = {
    "type": "object",
    "description": "What --fail-if can ask for; what was not measured is missing.",
    "properties": {name: told(maybe(NUMBER), meaning) for name, meaning in MEASURES.items()},
}
PROMISE = record(
    "Whether the limits on the loss hold, and how sure that is.",
    state=one_of(get_args(State)),
    limits=by_name(NUMBER),
    bounds=by_name(maybe(NUMBER)),
    confidence=SHARE,
    samples=WHOLE,
    enough=maybe(WHOLE),
)
TRIAL = record(
    "A plan that was tried.", **{name: maybe(FLAG if name in ("holds", "chosen") else NUMBER) for name in COLUMNS}
)
EFFECT = record(size=NUMBER, latency=maybe(NUMBER), top1=maybe(NUMBER), interval=maybe(INTERVAL), drift=maybe(NUMBER))
ABOUT = {"version": told(TEXT, "of onnxprune"), "format": told({"const": RESULT_FORMAT}, "of this object")}

PRUNE = record(
    "The result of `onnxprune prune` and `onnxprune apply`.",
    **ABOUT,
    model=TEXT,
    output=maybe(TEXT),
    plan=maybe(TEXT),
    labels=maybe(TEXT),
    curve=by_name(TEXT),
    method=TEXT,
    options={"type": "object"},
    requested={"type": "object"},
    reached=told(by_name(NUMBER), "shares of the original that are left"),
    before=FIGURES,
    after=maybe(FIGURES),
    foreseen=maybe(FIGURES),
    layers=many(record(name=TEXT, op=TEXT, before=NUMBER, after=NUMBER)),
    quality=maybe(QUALITY),
    promise=maybe(PROMISE),
    speedup=maybe(SPEEDUP),
    single_speedup=maybe(SPEEDUP),
    measures=MEASURED,
    quantized=maybe(
        record(output=TEXT, scheme=TEXT, size=WHOLE, latency_ms=maybe(NUMBER), quality=QUALITY, effects=by_name(EFFECT))
    ),
    verification=maybe(VERIFICATION),
    opinion=maybe(OPINION),
    groups=by_name(record(size=WHOLE, kept=WHOLE)),
    frozen=told(by_name(TEXT), "why groups stay whole"),
    recovery={"type": "object"},
    classes=told(by_name(WHOLE), "the chosen classes and their outputs"),
    search=maybe(record(limits=by_name(NUMBER), source=TEXT, trials=many(TRIAL))),
    skipped=many(TEXT),
    warnings=many(TEXT),
    notes=many(TEXT),
)
DATA = record(
    calibration=WHOLE,
    measured=WHOLE,
    held=maybe(WHOLE),
    scaling=TEXT,
    presets=many(record(name=TEXT, top1=SHARE, log_probability=NUMBER)),
    original=maybe(ACCURACY),
    classes=by_name(WHOLE),
    others=WHOLE,
    skipped=many(TEXT),
    converted=by_name(WHOLE),
)
COMPARE = record(
    "The result of `onnxprune compare`: `before` is of the first model, `after` of the second.",
    **ABOUT,
    model=TEXT,
    other=TEXT,
    before=FIGURES,
    after=FIGURES,
    speedup=maybe(SPEEDUP),
    single_speedup=maybe(SPEEDUP),
    threads=maybe(WHOLE),
    quality=QUALITY,
    agreement=told(maybe(SHARE), "of the samples to which both give the same class"),
    drift=by_name(maybe(NUMBER)),
    not_compared=by_name(TEXT),
    ops=many(record(op=TEXT, before=WHOLE, after=WHOLE)),
    data=DATA,
    confidence=SHARE,
    measures=MEASURED,
    notes=many(TEXT),
)
CHECK = record(
    "The result of `onnxprune check`.",
    **ABOUT,
    model=TEXT,
    against=TEXT,
    plan=TEXT,
    verification=VERIFICATION,
    opinion=maybe(OPINION),
    tensors=WHOLE,
    changed=told(WHOLE, "tensors with other values than the cut, by recovery or training"),
)
ERROR = record("Why a command failed.", error=TEXT, code=one_of(tuple(CODES)), exit=WHOLE)

SCHEMAS: Mapping[str, Schema] = {"prune": PRUNE, "compare": COMPARE, "check": CHECK, "error": ERROR}


def published(name: str) -> Schema:
    """Return a schema as it is published."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"onnxprune {name}"}
    return {**head, **SCHEMAS[name]}
