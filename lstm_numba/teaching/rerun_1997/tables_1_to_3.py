"""The rows of Tables 1 to 3: the embedded Reber grammar, and long time lags with and without distractors."""

from typing import Any

from lstm_numba.historic import Architecture, one_cell, sequences
from lstm_numba.teaching.rerun_1997.row import Row
from lstm_numba.teaching.rerun_1997.runners import end_of_sequence, reber, reber_recurrent, single_cell, three_numbers

_CHECKED = "success is looked at after every 100 training sequences; the paper does not say how often"
_FIRST_OF_RUN = (
    "counted is where the run of 10,000 right sequences begins: the published counts of 2a and 2b are below 10,000"
)
_SUMMED = "changes are summed over a string and applied after it; @at-once applies them at every step"
_RNN = (
    "the paper's rival is quoted; ours is a tanh network with full backpropagation through time, the same gradient as "
    "real-time recurrent learning, with updates clipped to norm 1"
)


def reber_rows() -> list[Row]:
    """Table 1."""
    rows: list[Row] = []
    for number, (blocks, cells, gates, rate, after, share) in enumerate(
        [
            (4, 1, (-1, -2, -3, -4), 0.1, 39_740, 1.00),
            (3, 2, (-1, -2, -3), 0.1, 21_730, 1.00),
            (3, 2, (-1, -2, -3), 0.2, 14_060, 0.97),
            (4, 1, (-1, -2, -3, -4), 0.5, 9_500, 0.97),
            (3, 2, (-1, -2, -3), 0.5, 8_440, 1.00),
        ],
        start=1,
    ):
        label = f"LSTM, {blocks} blocks of {cells}, rate {rate}"
        common: dict[str, Any] = {
            "table": 1,
            "published": {"after": after, "share": share},
            "trials": 30,
            "cap": 60_000,
            "cost": 1.2,
        }
        name = f"hs97-1-{number}"
        rows.append(
            Row(
                name=name,
                label=label,
                run=reber(blocks, cells, gates, rate, cap=60_000),
                deviations=(_CHECKED, _SUMMED, "given up after 60,000 sequences"),
                **common,
            )
        )
        rows.append(
            Row(
                name=f"{name}@whole",
                label=f"{label}, whole gradient",
                of=name,
                reading="control",
                run=reber(blocks, cells, gates, rate, cap=60_000, whole=True),
                deviations=(_CHECKED, "the paths that the paper's rule cuts are not cut"),
                **common,
            )
        )
        if number == 5:
            reber_readings: tuple[tuple[str, str, float, dict[str, bool]], ...] = (
                ("at-once", "weights change at every step", rate, {"at_once": True}),
                ("factor-2", "factor 2", 2 * rate, {}),
                ("swapped", "g in [-1, 1] and h in [-2, 2], as in the caption of Table 10", rate, {"swapped": True}),
                ("different", "no two of the 512 strings are the same", rate, {"different": True}),
                ("in-order", "training strings in a fixed order", rate, {"in_order": True}),
            )
            for end, words, its_rate, options in reber_readings:
                rows.append(
                    Row(
                        name=f"{name}@{end}",
                        label=label,
                        of=name,
                        reading=words,
                        run=reber(blocks, cells, gates, its_rate, cap=60_000, **options),
                        deviations=(_CHECKED,) if end == "at-once" else (_CHECKED, _SUMMED),
                        **common,
                    )
                )
            rows.append(
                Row(
                    name=f"{name}@shortcuts",
                    label=f"{label}, inputs wired to outputs",
                    of=name,
                    reading="control",
                    run=reber(blocks, cells, gates, rate, cap=60_000, shortcuts=True),
                    deviations=(_CHECKED, "49 weights more than in the paper, as in Gers et al. (2000)"),
                    **common,
                )
            )
    rows.append(
        Row(
            "hs97-1-open",
            1,
            "LSTM, 3 blocks of 2, rate 0.5, output gates held open",
            reber(3, 2, (-1, -2, -3), 0.5, cap=50_000, open_gates=True),
            of="hs97-1-5",
            reading="control",
            cap=50_000,
            deviations=(_CHECKED, "the paper says only that learning was not fast without output gates"),
        )
    )
    published: dict[str, float]
    for name, label, hidden, rate, published, cap in (
        ("hs97-1-rtrl-3", "RTRL, 3 hidden units", 3, 0.05, {"after": 173_000.0}, 400_000),
        ("hs97-1-rtrl-12", "RTRL, 12 hidden units", 12, 0.1, {"after": 25_000.0}, 60_000),
        ("hs97-1-elman", "Elman network, 15 hidden units", 15, 0.1, {"share": 0.0}, 60_000),
    ):
        rows.append(
            Row(name, 1, label, reber_recurrent(hidden, rate, cap=cap), published, cap=cap, cost=8, deviations=(_RNN,))
        )
    rows.append(
        Row(
            "hs97-1-rcc",
            1,
            "Recurrent cascade-correlation, 7 to 9 hidden units",
            None,
            {"after": 182_000, "share": 0.5},
            deviations=("quoted only: a network that grows unit by unit, with a learning rule of its own",),
        )
    )
    return rows


def single_cell_rows() -> list[Row]:
    """Table 2."""
    rows: list[Row] = []
    for p, rate, published, cap in (
        (4, 1.0, {"after": 1_043_000, "share": 0.78}, 3_000_000),
        (4, 4.0, {"after": 892_000, "share": 0.56}, 3_000_000),
        (4, 10.0, {"after": 254_000, "share": 0.22}, 3_000_000),
        (10, 1.0, {"share": 0.0}, 500_000),
        (100, 1.0, {"share": 0.0}, 15_000),
    ):
        rows.append(
            Row(
                f"hs97-2a-rtrl-{p}-{rate:g}",
                2,
                f"RTRL, p = {p}, rate {rate:g}",
                single_cell(p, rate=rate, cap=cap, kind=one_cell.LOGISTIC_UNIT),
                published,
                trials=18,
                cap=cap,
                cost=2,
                deviations=(_FIRST_OF_RUN,)
                + ((f"given up after {cap:,} sequences, the paper's limit is 5,000,000",) if cap < 5_000_000 else ()),
            )
        )
    rows.append(
        Row(
            "hs97-2a-bptt-100",
            2,
            "BPTT, p = 100",
            None,
            {"share": 0.0},
            deviations=("the same gradient as RTRL on this network, see hs97-2a-rtrl-100-1",),
        )
    )
    rows.append(
        Row(
            "hs97-2a-chunker",
            2,
            "Neural sequence chunker, p = 100",
            None,
            {"after": 32_400, "share": 0.33},
            deviations=("quoted only: two networks with a learning rule of their own",),
        )
    )
    for variant, after, cap in (("2a", 5_040, 100_000), ("2b", 5_680, 40_000)):
        rows.append(
            Row(
                f"hs97-{variant}",
                2,
                f"LSTM, p = 100 ({variant})",
                single_cell(100, rate=1.0, cap=cap, random_middle=variant == "2b"),
                {"after": after, "share": 1.0},
                trials=18,
                cap=cap,
                cost=1e-4 * cap,
                deviations=(
                    _FIRST_OF_RUN,
                    "the cell is added when the error of 100 sequences is less than 1 per cent below that of the 100 "
                    "before",
                    "changes are summed over a sequence",
                    f"given up after {cap:,} sequences, the paper's limit is 5,000,000",
                ),
            )
        )
    return rows


def distractor_rows() -> list[Row]:
    """Table 3."""
    rows: list[Row] = []
    for q, p, after in (
        (50, 50, 30_000),
        (100, 100, 31_000),
        (200, 200, 33_000),
        (500, 500, 38_000),
        (1000, 1000, 49_000),
        (1000, 500, 49_000),
        (1000, 200, 75_000),
        (1000, 100, 135_000),
        (1000, 50, 203_000),
    ):
        for factor in (1, 2) if q == 50 else (1,):
            name = f"hs97-2c-{q}-{p}"
            rows.append(
                Row(
                    name if factor == 1 else f"{name}@factor-2",
                    3,
                    f"LSTM, at least {q} distractors out of {p}",
                    end_of_sequence(
                        Architecture(p + 4, 2, 2, 1, "none"),
                        sequences.LONG_LAG,
                        three_numbers(p, q),
                        rate=0.01 * factor,
                        init=0.2,
                        tolerance=0.2,
                        cap=400_000,
                        goals={"90 %": 1000, "99 %": 100, "all": 0},
                        window=10_000,
                        minus_window=True,
                    ),
                    {"after": after, "share": 1.0},
                    trials=20,
                    cap=400_000,
                    cost=1.5e-7 * q * (2 * after + 10_000),
                    of="" if factor == 1 else name,
                    reading="" if factor == 1 else "factor 2",
                    deviations=(_FIRST_OF_RUN,),
                )
            )
    return rows
