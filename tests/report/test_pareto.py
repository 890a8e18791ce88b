from ppcls_compress.report import pareto


def row(name, lost="", *, front=False, **more):
    about = {"name": name, "round": 0, "candidate": f"fpgm of {name}", "pareto": front, "lost": lost}
    return {**about, "drop_points": 0.5, "drop_bound": 1.25, "bytes_share": 0.147, **more}


def test_a_table_tells_what_was_tried_and_why_it_lost(capsys):
    decided = {"deciding_drop_points": -0.2, "deciding_drop_bound": 0.8}
    failed = {"name": "003-0", "candidate": "unpruned", "pareto": False, "lost": "failed: NaN"}
    pareto.show([row("001-0", front=True, **decided), row("002-0", "two others are better"), failed], cost="bytes")
    text = capsys.readouterr().out
    lines = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in text.splitlines() if "00" in line]
    assert lines[0] == ["001-0 *", "fpgm of 001-0", "14.7", "0.50", "1.25", "-0.20", "0.80", "chosen"]
    assert lines[1] == ["002-0", "fpgm of 002-0", "14.7", "0.50", "1.25", "", "", "two others are better"]
    assert lines[2] == ["003-0", "unpruned", "", "", "", "", "", "failed: NaN"]


def test_brackets_in_a_message_are_printed_as_they_are(capsys):
    told = "failed: [/data/x] is no [batch, 3] of :smile: [conv1]"
    pareto.show([row("001-0", told)], cost="bytes")
    assert told in capsys.readouterr().out


def test_of_very_many_those_are_shown_that_tell_something(capsys):
    many = [row(f"{index:03}-0", "others are better") for index in range(50)]
    pareto.show([*many, row("050-0", "too large", front=True), row("051-0")], cost="bytes")
    text = capsys.readouterr().out
    assert [name for name in ("000-0", "050-0", "051-0") if name in text] == ["050-0", "051-0"]
    assert "50 more are in tried.csv" in text
