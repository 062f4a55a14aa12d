from mmadapt.report import example_lines, score_table


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
