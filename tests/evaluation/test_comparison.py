from facejax.evaluation import comparison


def test_gains_are_positive_where_the_trained_encoder_is_better():
    untrained = {"expression/knn_accuracy": 0.25, "pose/mae_yaw": 20.0, "pose/r2": 0.5, "gone/top1_accuracy": 0.1}
    trained = {"expression/knn_accuracy": 0.75, "pose/mae_yaw": 12.5, "pose/r2": 0.5, "face/new/mae": 3.0}
    rows = {row.metric: row for row in comparison.compare(untrained, trained)}
    assert rows["expression/knn_accuracy"][1:] == (0.25, 0.75, 0.5, True)
    assert rows["pose/mae_yaw"][1:] == (20.0, 12.5, 7.5, True)
    assert rows["pose/r2"].better is False  # equal is not better
    assert rows["gone/top1_accuracy"][1:] == (0.1, None, None, None)
    assert rows["face/new/mae"][1:] == (None, 3.0, None, None)
    assert comparison.compare({"points/nme": 0.25}, {"points/nme": 0.125})[0][3:] == (0.125, True)
    assert comparison.compare({"pose/mae": 5.0}, {"pose/mae": 6.0})[0][3:] == (-1.0, False)


def test_the_table_is_aligned():
    rows = comparison.compare(
        {"a/accuracy": 0.5, "pose/mae": 123.456}, {"a/accuracy": 0.25, "pose/mae": 1.0, "b/r2": 1.0}
    )
    *lines, gap, explanation = comparison.format_table(rows).splitlines()
    assert not gap and "gain: trained - untrained" in explanation
    assert len({len(line) for line in lines}) == 1
    assert [line.split() for line in lines[2:]] == [
        ["a/accuracy", "0.5000", "0.2500", "-0.2500", "no"],
        ["pose/mae", "123.46", "1.00", "+122.46", "yes"],
        ["b/r2", "-", "1.0000", "-", "-"],
    ]


def test_nothing_to_compare_is_said():
    assert comparison.format_table([]).startswith("Nothing was evaluated: ")
