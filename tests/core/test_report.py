from mmadapt.report import Report, example_lines, score_table, tensor_rows


def test_rows_and_columns_line_up():
    table = score_table(
        {
            "metrics": {"cider": 9.5, "exact_match": 1.0},
            "blind": {"cider": 0.25},
            "blind_trained": {},
            "seconds": 3,
        }
    )
    assert table.splitlines() == [
        "                cider  exact_match",
        "with media      9.500        1.000",
        "media removed   0.250            -",
    ]


def test_examples_are_spread_over_the_predictions():
    predictions = [
        {"answer": f"a{i}", "references": [f"r{i}", "x"][: 1 + i % 2]} for i in range(10)
    ]
    text = example_lines(predictions, 3)
    assert "a0" in text and "a3" in text and "a6" in text and text.count("answer") == 3
    assert "r3 (and 1 more)" in text
    assert example_lines(predictions[:1], 5).count("answer") == 1
    assert example_lines([{"answer": "a", "references": []}], 1).endswith("reference")


def test_what_trains_is_counted_by_name():
    parameters = {"a.0.w": 6, "a.1.w": 6, "a.2.w": 4, "b": 1}
    rows = [(what, text.split(None, 1)) for what, text in tensor_rows(parameters)]
    assert rows == [
        ("a.*.w", ["16", "(2 x 6 + 1 x 4)"]),
        ("b", ["1"]),
    ]


def report(**changes):
    found = {
        "name": "r",
        "trainable": {"a.0.w": 4, "a.1.w": 6},
        "kinds": {"mine: gates": 10},
        "trainable_parameters": 10,
        "total_parameters": 1000,
        "joints": [],
        "previews": [],
        "departures": [],
        "has_published_method": False,
        "memory_bytes": {"lm": 2**20},
    }
    return Report(**{**found, **changes})


def test_kinds_add_up_to_the_total_under_their_own_heading():
    kinds, tensors = str(report()).split("\n\n")[1:3]
    assert [line.split() for line in kinds.splitlines()] == [
        ["trainable", "parameters"],
        ["mine:", "gates", "10"],
        ["total", "10", "(1.000%", "of", "1,000)"],
    ]
    assert tensors.splitlines()[0] == "the same by tensor" and "a.*.w" in tensors


def test_the_verdict_says_what_stands_in_the_way():
    assert report().verdict == "ok"
    one, two = (report(obstacles=["no data", "no stage"][:count]).verdict for count in (1, 2))
    assert one == "ok, but training will not start: no data"
    assert two == f"{one} (and 1 more)"


def test_no_departures_are_told_only_of_a_published_method():
    assert "departures" not in str(report())
    assert "departures:\n  - none" in str(report(has_published_method=True))
    assert "departures:\n  - Less data." in str(report(departures=["Less data."]))


def test_memory_is_no_part_of_the_text():
    assert "MiB" not in str(report())
    assert "  lm: 1.0 MiB" in report().static_memory()
