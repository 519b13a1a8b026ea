"""Recurrent layers, a step at a time: ONNX orders and biases the gates otherwise than torch's own layers."""

from collections.abc import Callable

import torch

from onnxprune.finetune.interpreter.ops.site import Run, Site, Value, operator

CellStep = Callable[[torch.Tensor, tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor], tuple[torch.Tensor, ...]]
"""From x W' + both biases where they may be added, the state, R and the bias of the recurrence to the next state."""

_STANDARD = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _lstm(site: Site) -> CellStep:
    if site.has(7):
        raise site.refusal("peepholes are not computed")

    def step(
        wx: torch.Tensor, state: tuple[torch.Tensor, ...], r: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        hidden, cell = state
        i, o, f, c = (wx + hidden @ r.mT + bias).chunk(4, dim=-1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(c)
        return torch.sigmoid(o) * torch.tanh(cell), cell

    return step


def _gru(site: Site) -> CellStep:
    before = not site.attr("linear_before_reset", 0)

    def step(
        wx: torch.Tensor, state: tuple[torch.Tensor, ...], r: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        (hidden,) = state
        size = hidden.shape[-1]
        gates = wx[..., : 2 * size] + hidden @ r[: 2 * size].mT + bias[: 2 * size]
        z, reset = torch.sigmoid(gates).chunk(2, dim=-1)
        if before:
            candidate = (reset * hidden) @ r[2 * size :].mT + bias[2 * size :]
        else:
            candidate = reset * (hidden @ r[2 * size :].mT + bias[2 * size :])
        new = torch.tanh(wx[..., 2 * size :] + candidate)
        return ((1 - z) * new + z * hidden,)

    return step


def _rnn(site: Site) -> CellStep:
    def step(
        wx: torch.Tensor, state: tuple[torch.Tensor, ...], r: torch.Tensor, bias: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return (torch.tanh(wx + state[0] @ r.mT + bias),)

    return step


def _layer(kind: str, make: Callable[[Site], CellStep], states: int) -> Callable[[Site], Run]:
    def build(site: Site) -> Run:
        direction, batch_first = site.attr("direction", "forward"), site.attr("layout", 0)
        activations = [name.decode() if isinstance(name, bytes) else name for name in site.attr("activations") or []]
        count = 2 if direction == "bidirectional" else 1
        if activations not in ([], _STANDARD[kind] * count):
            raise site.refusal(f"activations other than {', '.join(_STANDARD[kind])} are not computed")
        if site.has(4):
            raise site.refusal("sequences of several lengths are not computed")
        if site.attr("clip") or batch_first or site.attr("input_forget"):
            raise site.refusal("clip, layout and input_forget are not computed")
        step = make(site)

        def run(
            x: torch.Tensor, w: torch.Tensor, r: torch.Tensor, b: Value = None, *more: Value
        ) -> tuple[torch.Tensor, ...]:
            steps, batch, size = x.shape[0], x.shape[1], r.shape[-1]
            initial = list(more[1 : 1 + states])
            initial += [None] * (states - len(initial))
            zero = x.new_zeros(len(w), batch, size)
            whole = [zero if value is None else value for value in initial]
            sequences, ends = [], []
            for way in range(len(w)):
                backwards = direction == "reverse" or way == 1
                state = tuple(value[way] for value in whole)
                bias = x.new_zeros(2, w.shape[1]) if b is None else b[way].reshape(2, -1)
                wx = x @ w[way].mT + bias[0]
                outputs: list[torch.Tensor] = []
                for t in range(steps)[::-1] if backwards else range(steps):
                    state = step(wx[t], state, r[way], bias[1])
                    outputs.append(state[0])
                sequences.append(torch.stack(outputs[::-1] if backwards else outputs))
                ends.append(state)
            last = tuple(torch.stack([end[i] for end in ends]) for i in range(states))
            return (torch.stack(sequences, dim=1), *last)

        return run

    return build


operator("LSTM")(_layer("LSTM", _lstm, 2))
operator("GRU")(_layer("GRU", _gru, 1))
operator("RNN")(_layer("RNN", _rnn, 1))
