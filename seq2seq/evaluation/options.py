"""Options of scoring that a run and a file of hypotheses share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation.metrics import MetricOptions
from seq2seq.evaluation.significance import check_seed
from seq2seq.runs import run_files
from seq2seq.text import refuse_overwriting


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What translations are compared with, and how."""

    tokenize: str | None = None
    """BLEU's tokenizer, one of ``TOKENIZERS``; None: the one for the language."""
    lowercase: bool = False
    """Ignore case in BLEU and chrF."""
    references: Sequence[Path] = ()
    """Files of further references, for a single corpus. A blank line is a missing reference."""
    against: Sequence[Path] = ()
    """Systems to compare with: run folders, or files with translations of a single corpus."""
    report: Path | None = None
    """File for a page with everything."""

    @property
    def detailed(self) -> bool:
        """Whether more than scores is needed."""
        return bool(self.against) or self.report is not None

    def of_metrics(self, metrics: Sequence[str]) -> MetricOptions:
        """The options of these metrics.

        Raises:
            UserError: they do not fit (2).
        """
        return MetricOptions(self.tokenize, self.lowercase).checked(metrics)

    def check(self, corpora: Sequence[str], read: Iterable[Path], written: Path | None = None) -> None:
        """Check the options before anything is read or translated.

        Args:
            corpora: CORPUS words.
            read: files that are read.
            written: file for the translations.

        Raises:
            UserError: they do not fit (2); a run of ``against`` is missing (66) or damaged (78).
        """
        if self.references and len(corpora) > 1:
            raise UserError(
                f"`references={self.references[0]}` holds the references of one corpus",
                mend="run eval once for each corpus",
                code=ExitCode.USAGE,
            )
        if self.against:
            check_seed()
        if self.report is not None and str(self.report) == "-":
            raise UserError("`report=-` must name a file: scores go to stdout", mend="name a file", code=ExitCode.USAGE)
        if self.report is not None and written is not None and self.report.absolute() == written.absolute():
            raise UserError(
                f"`report={self.report}` and `output={written}` are the same file",
                mend="name two files",
                code=ExitCode.USAGE,
            )
        others = [path for place in self.against for path in (run_files(place) if place.is_dir() else [place])]
        inputs = [*read, *self.references, *others]
        for place, key in ((written, "output"), (self.report, "report"), ("-", "output")):  # scores go to stdout
            if place is not None:
                refuse_overwriting(place, inputs, key=key)
        if self.references and len(corpora) > 1:
            raise UserError(
                f"`references={self.references[0]}` holds the references of one corpus",
                mend="run eval once for each corpus",
                code=ExitCode.USAGE,
            )
