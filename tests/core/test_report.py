from mmadapt.report import example_lines, score_table, trainable_rows


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


def test_what_trains_is_counted_by_kind_and_by_name():
    parameters = {"a.0.w": 6, "a.1.w": 6, "a.2.w": 4, "b": 1}
    rows = [(what, text.split(None, 1)) for what, text in trainable_rows({"k": 17}, parameters)]
    assert rows == [
        ("k", ["17"]),
        ("  a.*.w", ["16", "(2 x 6 + 1 x 4)"]),
        ("  b", ["1"]),
    ]
