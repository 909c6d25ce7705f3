"""``seq2seq attend``: where a model looks, in the terminal, as SVG or as an HTML page."""

from seq2seq.cli import options


def attend_command(
    run: options.RunFolder,
    texts: options.AttendTexts = None,
    target: options.Target = None,
    kind: options.Kind = "cross",
    layer: options.Layer = None,
    head: options.Head = None,
    output: options.Picture = "-",
    device: options.Device = "auto",
) -> None:
    """Show where a model looks while it translates: self-attention and cross-attention, in every layer and head."""
    from seq2seq.cli.inputs import open_lines, refuse_texts
    from seq2seq.cli.pictures import Wanted, draw_lines, refuse_picture
    from seq2seq.translation import Translator  # keeps torch out of --help

    refuse_texts(texts or [], None, instead="<")
    refuse_picture(output, run, n_texts=len(texts or []), target=target)
    translator = Translator.load(run, device=device)
    wanted = Wanted.checked(translator.model, kind, layer, head)
    with open_lines("-", texts or [], strict=False) as reader:
        draw_lines(translator, reader, wanted, output, target=target, about=str(run))
