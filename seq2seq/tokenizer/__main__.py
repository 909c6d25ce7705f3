"""``python -m seq2seq.tokenizer REQUEST``: the child process of ``train_tokenizer``."""

import sys

from seq2seq.tokenizer.train import answer

if __name__ == "__main__":
    sys.exit(answer(sys.argv[1]))
