"""Gather with constant indices: picked channels follow their source, and the indices count the kept ones in front."""

import numpy as np
import pytest
from nets import analysed, assert_cut_equals_mask, frozen_reasons, group_sizes, net


@pytest.mark.parametrize("indices", ["7, 2, 5, 0, 4, 1, 6, 3", "-1, 2, 5, -8, 4, 1, 6, 3"])
def test_a_permutation_of_channels(indices: str) -> None:
    model = net(f"""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, int64[8] i = {{{indices}}}, float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            g = Gather<axis = 1>(c, i)
            r = Sigmoid(g)
            y = Conv(r, w1)
        }}""")
    assert group_sizes(model) == [8]
    keep = {"c": np.array([True, False, True, True, False, True, False, True])}
    checked = assert_cut_equals_mask(model, keep)
    # Kept are 0, 2, 3, 5, 7, in the order 7, 2, 5, 0, 3.
    assert list(checked.value("i")) == [4, 1, 3, 0, 2]
    assert checked.shape("w1") == (4, 5, 1, 1)


def test_channels_that_are_not_picked_form_a_group_of_their_own() -> None:
    model = net("""(float[n, 3, 5, 5] x) => (float[n, 4, 5, 5] y)
        <float[8, 3, 1, 1] w0, int64[3] i = {6, 1, 4}, float[4, 3, 1, 1] w1, float[4, 8, 1, 1] w2> {
            c = Conv(x, w0)
            g = Gather<axis = -3>(c, i)
            a = Conv(g, w1)
            b = Conv(c, w2)
            y = Add(a, b)
        }""")
    assert group_sizes(model) == [3, 5]
    for seed in range(3):
        assert_cut_equals_mask(model, seed=seed)


def test_a_channel_picked_twice_goes_with_both_copies() -> None:
    model = net("""(float[n, 3, 5] x) => (float[n, 3, 4] y)
        <float[5, 4] w0, int64[6] i = {0, 3, 0, 2, 1, 3}, float[6, 4] w1> {
            c = MatMul(x, w0)
            g = Gather<axis = 2>(c, i)
            y = MatMul(g, w1)
        }""")
    assert group_sizes(model) == [2, 2]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("w0") == (5, 2)
    assert checked.shape("w1") == (3, 4)


def test_the_axes_around_the_picked_one_pass() -> None:
    model = net("""(float[n, 3, 6] x) => (float[n, 2, 4] y)
        <float[6, 8] w0, int64[2] i = {2, 0}, float[8, 4] w1> {
            c = MatMul(x, w0)
            g = Gather<axis = 1>(c, i)
            y = MatMul(g, w1)
        }""")
    assert group_sizes(model) == [8]
    assert list(assert_cut_equals_mask(model).value("i")) == [2, 0]


@pytest.mark.parametrize(("axis", "dims"), [(1, "n, 6"), (0, "3, 6")])
def test_a_single_token_picked_by_number_lets_the_channels_move_up(axis: int, dims: str) -> None:
    model = net(f"""(float[{"n" if axis else "4"}, 3, 6] x) => (float[{dims}] y)
        <float[6, 8] w0, int64 i = {{1}}, float[8, 6] w1> {{
            c = MatMul(x, w0)
            g = Gather<axis = {axis}>(c, i)
            y = MatMul(g, w1)
        }}""")
    assert group_sizes(model) == [8]
    assert_cut_equals_mask(model)


def test_a_table_of_embeddings_follows_on_its_columns() -> None:
    model = net("""(int64[n, 3] i, float[n, 3, 6] x) => (float[n, 3, 4] y)
        <float[9, 8] table, float[6, 8] w0, float[8, 4] w1> {
            zero = Sub(i, i)
            e = Gather(table, zero)
            c = MatMul(x, w0)
            d = Add(c, e)
            y = MatMul(d, w1)
        }""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("table") == (9, 4)


@pytest.mark.parametrize(
    ("inputs", "weights", "indices", "shape", "reason"),
    [
        (
            ", int64 i",
            "",
            "i",
            "n, 5",
            "Gather (node 1), where it has a position picked by a number computed at run time",
        ),
        (", int64[3] i", "", "i", "n, 3, 5", "Gather (node 1), where it is picked by indices computed at run time"),
    ],
)
def test_other_picks_of_channels_freeze(inputs: str, weights: str, indices: str, shape: str, reason: str) -> None:
    model = net(f"""(float[n, 3, 5] x{inputs}) => (float[{shape}] y)
        <float[8, 3, 1] w0{", " if weights else ""}{weights}> {{
            c = Conv(x, w0)
            y = Gather<axis = 1>(c, {indices})
        }}""")
    assert frozen_reasons(model)["c"] == f"c:1 meets {reason}"


def test_a_view_written_as_a_table_of_positions() -> None:
    """The dynamo exporter's as_strided: Gather(x, [[[[0]], [[1]], ...]]) is a reshape to [1, C, 1, 1]."""
    table = ", ".join(map(str, range(8)))
    model = net(f"""(float[1, 3, 5] x) => (float[1, 4, 1, 1] y)
        <float[8, 3, 1] w0, int64[2] t = {{0, 2}}, int64[1] one = {{8}}, int64[1, 8, 1, 1] i = {{{table}}},
        float[4, 8, 1, 1] w1> {{
            c = Conv(x, w0)
            m = ReduceMean<axes = [0, 2], keepdims = 0>(c)
            g = Gather<axis = 0>(m, i)
            y = Conv(g, w1)
        }}""")
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model, {"c": np.array([True, False, False, True, True, True, False, True])})
    assert checked.value("i").tolist() == [[[[0]], [[1]], [[2]], [[3]], [[4]]]]


@pytest.mark.parametrize(
    "table",
    [
        "0, 1, 2, 3, 4, 5, 6, 7",  # a reshape to [2, 4]
        "0, -4, 1, 5, 2, 6, 3, 7",
        "7, 6, 5, 4, 3, 2, 1, 0",
    ],
)
def test_a_table_of_positions_is_cut_along_one_of_its_axes(table: str) -> None:
    model = net(f"""(float[n, 3, 5] x) => (float[n, 5, 2, 3] y)
        <float[8, 3, 1] w0, int64[2, 4] i = {{{table}}}, float[4, 3] w1> {{
            c = Conv(x, w0)
            g = Gather<axis = 1>(c, i)
            t = Transpose<perm = [0, 3, 1, 2]>(g)
            y = MatMul(t, w1)
        }}""")
    assert group_sizes(model) == [4]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("i") == (2, 2)
    assert checked.shape("w0") == (4, 3, 1)
    positions = np.array([int(part) % 8 for part in table.split(",")]).reshape(2, 4)
    group = checked.analysis.prunable[0]
    kept = np.flatnonzero(checked.keep[group.name])
    rows = {frozenset(row) for row in positions.T.tolist()}
    channels = next(member.positions for member in group.members if member.axis.ref.name == "c")
    assert {frozenset(channel) for channel in channels.tolist()} == rows
    left = sorted(int(position) for channel in channels[kept] for position in channel)
    columns = [column for column in positions.T.tolist() if column[0] in left]
    assert checked.value("i").T.tolist() == [[left.index(position) for position in column] for column in columns]


def test_a_table_cut_along_its_rows_and_one_that_repeats_itself() -> None:
    """Rows are read by a product, and position 1 stands in two rows, which ties them."""
    model = net("""(float[n, 3, 5] x) => (float[n, 5, 2, 6] y)
        <float[8, 3, 1] w0, int64[4, 2] i = {0, 1, 2, 3, 4, 1, 5, 6}, float[4, 6] w1> {
            c = Conv(x, w0)
            g = Gather<axis = 1>(c, i)
            t = Transpose<perm = [0, 3, 2, 1]>(g)
            y = MatMul(t, w1)
        }""")
    # Rows 0 and 2 share position 1; the columns reach the graph output; position 7 is read by nobody.
    assert group_sizes(model) == [2]
    checked = assert_cut_equals_mask(model)
    assert checked.shape("i") == (3, 2)
    assert checked.shape("w0") == (6, 3, 1)


def test_both_axes_of_a_table_are_not_cut_at_once() -> None:
    """Another layer brings channels of its own along the rows while the table goes along its columns."""
    model = net("""(float[n, 3, 8] x, float[n, 3, 4, 8] z) => (float[n, 4, 6] y)
        <float[8, 3, 1] w0, int64[2, 4] i = {0, 1, 2, 3, 4, 5, 6, 7}, float[2, 3, 1, 1] w1, int64[3] t = {0, 8, 8},
        float[4, 8, 1] w2, float[8, 6] w3> {
            c = Conv(x, w0)
            g = Gather<axis = 1>(c, i)
            p = Conv(z, w1)
            a = Add(g, p)
            s = Sigmoid(a)
            f = Reshape(s, t)
            d = Conv(f, w2)
            y = MatMul(d, w3)
        }""")
    assert group_sizes(model) in ([2], [4])
    checked = assert_cut_equals_mask(model)
    rows, columns = checked.shape("i")
    assert (rows, columns) in ((2, 2), (1, 4))


def test_a_table_read_at_run_time_freezes_the_axis_it_picks_from() -> None:
    model = net("""(float[n, 3, 5] x, int64[2, 2] i) => (float[n, 2, 2, 5] y) <float[8, 3, 1] w0> {
            c = Conv(x, w0)
            y = Gather<axis = 1>(c, i)
        }""")
    assert frozen_reasons(model)["c"] == "c:1 meets Gather (node 1), where it is picked by indices computed at run time"


EMBEDDED = """(int64[n, 7] ids) => (float[n, 7, 5] y) <float[20, 8] table, float[7, 8] places, float[8, 5] w0> {
        e = Gather(table, ids)
        p = Add(e, places)
        r = Sigmoid(p)
        y = MatMul(r, w0)
    }"""


def test_an_embedding_makes_channels() -> None:
    model = net(EMBEDDED)
    assert group_sizes(model) == [8]
    checked = assert_cut_equals_mask(model)
    assert [checked.shape(name) for name in ("table", "places", "w0")] == [(20, 4), (7, 4), (4, 5)]


def test_an_embedding_that_also_makes_the_scores_is_cut_in_each_place() -> None:
    model = net(
        """(int64[n, 7] ids) => (float[n, 7, 20] y) <float[20, 8] table, float[8, 6] w0> {
            e = Gather(table, ids)
            c = MatMul(e, w0)
            r = Relu(c)
            t = Transpose<perm = [1, 0]>(table)
            f = MatMul(r, v)
            y = MatMul(f, t)
        }""".replace("w0>", "w0, float[6, 8] v>")
    )
    assert group_sizes(model) == [6, 8, 8]
    assert_cut_equals_mask(model)


def test_a_table_of_scalars_and_a_picked_last_axis_make_none() -> None:
    model = net(
        """(int64[n] ids, float[n, 4] x) => (float[n, 4] y, float[5, n] z) <float[4] table, float[5, 8] wide> {
            e = Gather(table, ids)
            u = Unsqueeze(e, one)
            y = Mul(x, u)
            z = Gather<axis = 1>(wide, ids)
        }""".replace("wide>", "wide, int64[1] one = {1}>")
    )
    assert not analysed(model).groups


@pytest.mark.parametrize(("picks", "size"), [((5, 2), 6), ((-1, 0), 6), ((3, 3), 7)])
def test_a_single_channel_picked_by_number_stays_and_others_may_go(picks: tuple[int, int], size: int) -> None:
    model = net(f"""(float[n, 3, 5] x) => (float[n, 5] a, float[n, 5] b, float[n, 4, 5] y)
        <float[8, 3, 1] w0, int64 i = {{{picks[0]}}}, int64 j = {{{picks[1]}}}, float[4, 8, 1] w1> {{
            c = Conv(x, w0)
            a = Gather<axis = 1>(c, i)
            b = Gather<axis = 1>(c, j)
            y = Conv(c, w1)
        }}""")
    assert group_sizes(model) == [size]
    reasons = [reason for reason in frozen_reasons(model).values() if "Gather" in reason]
    assert reasons == ["c:1 meets Gather (node 1), where it has this position picked by number"]
    for seed in range(3):
        assert_cut_equals_mask(model, seed=seed)


def test_rows_picked_by_constants_that_were_not_computed_are_picked_at_run_time() -> None:
    """Token types of a BERT export: the reference of GatherElements gives up on that many columns."""
    types = ", ".join(str(number % 2) for number in range(70))
    model = net(f"""(float[1, 3, 5] x) => (float[1, 3, 4] y)
        <float[2, 8] table, int64[1, 70] types = {{{types}}}, int64[1, 3] places = {{0, 1, 3}}, float[5, 8] w0,
         float[8, 4] w1> {{
            ids = GatherElements<axis = 1>(types, places)
            e = Gather(table, ids)
            a = MatMul(x, w0)
            s = Add(a, e)
            y = MatMul(s, w1)
        }}""")
    assert group_sizes(model) == [8]
    assert assert_cut_equals_mask(model).shape("table") == (2, 4)
