"""``seq2seq runs``: a table of run folders, what differs between them, and their learning curves."""

from seq2seq.cli import options


def runs_command(
    folders: options.RunFolders,
    curve: options.CurveName = "bleu",
    picture: options.CurvePicture = None,
    as_json: options.RunsAsJson = False,
) -> None:
    """Compare runs: scores, time, size, settings that differ, mean over seeds, learning curves."""
    from seq2seq.cli.overview import print_overview, refuse_curve
    from seq2seq.runs import find_runs  # torch is not imported

    refuse_curve(curve, picture)
    print_overview(find_runs(folders), curve, picture, as_json=as_json)
