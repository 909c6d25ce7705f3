"""Speed on a GPU: python tests/benchmarks/gpu_speed.py CORPUS LANGS [RUN [PROFILE]].

Without RUN it measures training on CORPUS: target tokens a second of model R (small), base and big, with and without
torch.compile. With RUN, the folder of a trained model, it measures the translation of thirty copies of CORPUS, from
text to text, in turn with CTranslate2 if that is installed and finds the GPU. With a word PROFILE it profiles training
(RUN is -) or translation.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from sentencepiece import SentencePieceProcessor
from torch.profiler import ProfilerActivity, profile
from train_speed import endless, prepared_corpus

from seq2seq.config import PRESETS, RunConfig, build, merge
from seq2seq.corpus import read_pairs
from seq2seq.evaluation import score
from seq2seq.interop.ctranslate2 import export_run
from seq2seq.training.loader import Loader
from seq2seq.training.step import TrainStep
from seq2seq.translation import Translator, read_langs

WARM, TIMED, COPIES = 12, 40, 30


def bf16_rate() -> float:
    """TFLOP/s of a product of two bf16 matrices of 8192 x 8192."""
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    seconds = []
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        a @ a
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * 8192**3 / statistics.median(seconds) / 1e12


def flop_a_token(config: RunConfig, vocabulary: int, src_a_tgt: float) -> float:
    """Operations in the matrix products of a target token and its source, forward and backward."""
    m = config.model
    encoder = m.encoder_layers * (4 * m.d_model**2 + 2 * m.d_model * m.d_ff)
    decoder = m.decoder_layers * (8 * m.d_model**2 + 2 * m.d_model * m.d_ff)
    return 6 * (encoder * src_a_tgt + decoder + m.d_model * vocabulary)


def profiled(work: Callable[[], object]) -> None:
    """Profile some work: where its time goes."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        work()
        torch.cuda.synchronize()
    for order in ("self_cuda_time_total", "self_cpu_time_total"):
        table = found.key_averages().table(sort_by=order, row_limit=22, max_name_column_width=50)
        print("\n".join(line[:52] + line[-110:] for line in table.splitlines()), flush=True)


def learn(work: Path, name: str, corpus: str, langs: str, compiled: bool, profile_it: bool) -> None:
    """Print the training speed of a preset."""
    size = PRESETS[name].get("data", {}).get("vocab_size", 8000)
    config = build(merge([PRESETS[name], {"training": {"max_updates": 100_000}}]), where="the preset")
    config = replace(config, training=replace(config.training, compile=compiled))
    prepared = prepared_corpus(work / str(size), corpus, langs, size)
    loader = Loader(prepared.ids, prepared.tokenizer, config)
    step = TrainStep(config, size, torch.device("cuda"))
    updates = enumerate(endless(loader), start=1)
    began = time.perf_counter()
    for number, pairs in islice(updates, WARM):
        step.update(pairs, number)
    torch.cuda.synchronize()
    warm = time.perf_counter() - began
    if profile_it:
        profiled(lambda: [step.update(pairs, number) for number, pairs in islice(updates, 4)])
    began, n_tokens = time.perf_counter(), 0
    for number, pairs in islice(updates, TIMED):
        step.update(pairs, number)
        n_tokens += pairs.n_tgt_tokens
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    src_a_tgt = (float(prepared.ids.src_lengths.sum(dtype="int64")) + len(prepared.ids)) / prepared.n_tgt_tokens
    share = n_tokens / seconds * flop_a_token(config, size, src_a_tgt) / 1e12 / bf16_rate()
    print(
        f"{name}{' compiled' if compiled else ''}: {n_tokens / seconds:,.0f} target tokens/s, "
        f"{1e3 * seconds / TIMED:.1f} ms an update of {n_tokens / TIMED:,.0f}, {share:.0%} of the bf16 rate, "
        f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB, first {WARM} updates {warm:.1f} s",
        flush=True,
    )
    torch.cuda.reset_peak_memory_stats()


def translate(run: Path, corpus: str, profile_it: bool) -> None:
    """Print the translation speed of a run, and that of CTranslate2."""
    langs = read_langs(run)
    pairs = list(read_pairs(corpus, langs))
    sources, references = [pair.src for pair in pairs] * COPIES, [pair.tgt for pair in pairs] * COPIES
    for beams in (1, 4):
        ours = Translator.load(run, device="cuda", decoding={"beam_size": beams})
        tools: dict[str, Callable[[list[str]], list[str]]] = {"seq2seq bf16": ours.translate}
        with tempfile.TemporaryDirectory() as work, contextlib.suppress(ImportError, RuntimeError, ValueError):
            tools |= theirs(run, Path(work), ours, beams)
        for translating in tools.values():
            translating(sources[:2000])
        found: dict[str, list[float]] = {tool: [] for tool in tools}
        for _ in range(3):
            for tool, translating in tools.items():
                began = time.perf_counter()
                texts = translating(sources)
                seconds = time.perf_counter() - began
                n_tokens = sum(map(len, ours.tokenizer.encode(texts))) + len(texts)
                found[tool].append(n_tokens / seconds)
                bleu = score("bleu", texts[: len(pairs)], references[: len(pairs)], langs[1]).value
                print(f"  {tool}, beam {beams}: {n_tokens / seconds:,.0f} tokens/s, BLEU {bleu:.2f}", flush=True)
        for tool, speeds in found.items():
            middle = statistics.median(speeds)
            print(f"beam {beams}, {tool}: {middle:,.0f} tokens/s ({min(speeds):,.0f}-{max(speeds):,.0f})", flush=True)
        if profile_it:
            profiled(lambda translate=ours.translate: translate(sources))


def theirs(run: Path, work: Path, ours: Translator, beams: int) -> dict[str, Callable[[list[str]], list[str]]]:
    """CTranslate2 on the same GPU; empty if it finds no GPU."""
    import ctranslate2

    export_run(run, work / "exported")
    tokenizer = SentencePieceProcessor(model_file=str(work / "exported" / "tokenizer.model"))
    made = {}
    for compute in ("bfloat16", "float16"):
        translator = ctranslate2.Translator(str(work / "exported"), device="cuda", compute_type=compute)
        options = {"beam_size": beams, "length_penalty": ours.config.alpha, "max_decoding_length": 100}
        for size in (16_384, 65_536):
            batches = {"max_batch_size": size, "batch_type": "tokens", "min_decoding_length": 0}

            def translating(lines: list[str], translator=translator, options=options | batches) -> list[str]:
                found = translator.translate_batch(tokenizer.encode(lines, out_type=str), **options)
                return tokenizer.decode([result.hypotheses[0] for result in found])

            made[f"CTranslate2 {compute}, batches of {size:,}"] = translating
    return made


def main(corpus: str, langs: str, run: str = "-", word: str = "") -> None:
    if not torch.cuda.is_available():
        sys.exit("no GPU that PyTorch's CUDA finds")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, bf16 {bf16_rate():.0f} TFLOP/s", flush=True)
    if run != "-":
        translate(Path(run), corpus, bool(word))
        return
    with tempfile.TemporaryDirectory() as work:
        for compiled in (False, True):
            for name in ("small", "base", "big"):
                learn(Path(work), name, corpus, langs, compiled, bool(word) and not compiled and name == "base")


if __name__ == "__main__":
    main(*sys.argv[1:])
