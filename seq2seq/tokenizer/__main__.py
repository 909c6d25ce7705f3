"""``python -m seq2seq.tokenizer REQUEST``: the child process of ``train_tokenizer``."""

import sys

from seq2seq.tokenizer.train import run_request

if __name__ == "__main__":
    sys.exit(run_request(sys.argv[1]))
