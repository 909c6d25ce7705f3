"""The configuration of a run, as its folder stores it."""

from pathlib import Path

from seq2seq.config import RunConfig, build, known_layer, parse_toml
from seq2seq.runs.folder import Manifest, read_file


def read_stored_config(run: Path, manifest: Manifest) -> RunConfig:
    """Read a run's configuration. A length penalty that training chose is in the manifest, not here.

    Raises:
        UserError: as ``read_file``, or it is not a configuration (78).
    """
    toml = run / manifest.config
    return build(known_layer(parse_toml(read_file(run, manifest, toml.name), toml)), where=str(toml))
