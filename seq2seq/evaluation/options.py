"""Options of scoring that a run and a file of hypotheses share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seq2seq.errors import ExitCode, UserError
from seq2seq.evaluation.metrics import MetricOptions


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What translations are compared with, and how."""

    tokenize: str | None = None
    """BLEU's tokenizer, one of ``TOKENIZERS``; None: the one for the language."""
    lowercase: bool = False
    """Ignore case in BLEU and chrF."""
    references: Sequence[Path] = ()
    """Files of further references, for a single corpus. A blank line is a missing reference."""

    def of_metrics(self, metrics: Sequence[str]) -> MetricOptions:
        """The options of these metrics.

        Raises:
            UserError: they do not fit (2).
        """
        return MetricOptions(self.tokenize, self.lowercase).checked(metrics)

    def check_corpora(self, corpora: Sequence[str]) -> None:
        """Refuse files that belong to one corpus if there are several corpora.

        Raises:
            UserError: there are (2).
        """
        if self.references and len(corpora) > 1:
            raise UserError(
                f"`references={self.references[0]}` holds the references of one corpus",
                mend="run eval once for each corpus",
                code=ExitCode.USAGE,
            )
