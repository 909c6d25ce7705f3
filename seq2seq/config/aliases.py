"""Names of configuration keys in other toolkits, and suggestions for unknown keys."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from seq2seq.config.keys import known_keys
from seq2seq.config.tables import TABLES


class Alias(NamedTuple):
    """Names for one of our keys, or for several, in fairseq, OpenNMT, Sockeye, JoeyNMT, Marian and Transformers."""

    keys: str
    """Our keys, separated by spaces."""
    names: str
    """Names in other toolkits in lower case, separated by spaces. If a name is in several rows, the first row with a
    key of the table that the user named is used; without a table, the first row."""
    note: str = ""
    """How the unit or the values of our key differ, if they do."""


ALIASES = (
    Alias("data.langs", "languages lang_pair language_pair src_tgt source_lang target_lang src_lang tgt_lang src trg"),
    Alias("data.train", "train_data trainpref train_set train_sets train_files training_data corpus corpora"),
    Alias("data.valid", "validation valid_data valid_set valid_sets validpref dev dev_data dev_set eval_data"),
    Alias("data.tokenizer", "spm_model sentencepiece_model tokenizer_path tokenizer_file vocab_file vocabs"),
    Alias("data.tokenizer_type", "bpe unigram subword subwords subword_type subword_model", "bpe or unigram"),
    Alias("data.normalization", "unicode_normalization normalize nfc nfkc"),
    Alias("data.vocab_size", "vocab vocabulary dim_vocabs voc_limit bpe_size vocabulary_size num_merges",
          "pieces of one vocabulary for both languages"),
    Alias("data.subword_sampling", "bpe_dropout sentencepiece_alphas subword_regularization"),
    Alias("data.max_length", "max_seq_len max_seq_length max_sent_length max_source_length max_target_length "
          "max_len max_source_positions max_target_positions", "in tokens"),
    Alias("model.architecture", "arch model_type network"),
    Alias("model.d_model", "hidden_size hidden_dim dim_emb emb_dim embed_dim embedding_dim embedding_size "
          "embed_size model_dim model_size rnn_size dim_rnn word_vec_size encoder_embed_dim decoder_embed_dim "
          "width dim"),
    Alias("model.d_ff", "ffn ff ff_size ffn_dim ffn_size dim_ffn dim_feedforward feed_forward_size feedforward "
          "ffn_embed_dim encoder_ffn_dim decoder_ffn_dim encoder_ffn_embed_dim decoder_ffn_embed_dim "
          "transformer_ff transformer_dim_ffn intermediate_size"),
    Alias("model.n_heads", "heads num_heads nhead n_head num_attention_heads attention_heads transformer_heads "
          "encoder_attention_heads decoder_attention_heads"),
    Alias("model.encoder_layers model.decoder_layers",
          "layers num_layers n_layers n_layer nlayers depth num_hidden_layers",
          "encoder and decoder have one key each"),
    Alias("model.encoder_layers", "enc_layers num_encoder_layers n_encoder_layers enc_depth encoder"),
    Alias("model.decoder_layers", "dec_layers num_decoder_layers n_decoder_layers dec_depth decoder"),
    Alias("model.dropout", "drop p_drop dropout_rate dropout_prob hidden_dropout transformer_dropout "
          "attention_dropout activation_dropout relu_dropout residual_dropout hidden_dropout_prob",
          "one value for the embeddings and all sublayers"),
    Alias("model.attention", "attention_type global_attention self_attn_type"),
    Alias("model.positions", "position_encoding positional_encoding positional_embedding pos_enc pos_emb rope "
          "position_embedding_type positional_embedding_type rotary"),
    Alias("model.max_positions", "max_position_embeddings n_positions"),
    Alias("model.rnn.cell", "cell_type rnn_type rnn_cell_type enc_cell dec_cell"),
    Alias("model.cnn.kernel_size", "cnn_kernel_width kernel_width conv_kernel"),
    Alias("model.norm_order", "pre_norm prenorm post_norm postnorm normalize_before encoder_normalize_before "
          "layer_norm_position norm_first", "pre or post"),
    Alias("model.norm", "layer_norm layernorm rmsnorm normalization_layer"),
    Alias("model.activation", "activation_fn activation_function act hidden_act pos_ffn_activation_fn"),
    Alias("model.tied_embeddings", "tie tie_embeddings tied_embeddings_all tie_word_embeddings share_embeddings "
          "share_all_embeddings share_decoder_embeddings share_decoder_input_output_embed weight_tying"),
    Alias("training.batch_tokens", "batch_size batchsize bsz batch mini_batch minibatch train_batch_size "
          "per_device_train_batch_size max_sentences", "in target tokens, not in sentences"),
    Alias("training.batch_tokens", "max_tokens tokens_per_batch mini_batch_words", "in target tokens"),
    Alias("training.batch_tokens", "update_freq accum_count accumulate grad_accumulation batch_multiplier "
          "optimizer_delay gradient_accumulation gradient_accumulation_steps accum_grad update_interval",
          "in target tokens of the whole update, however many passes it takes"),
    Alias("training.micro_batch_tokens", "micro_batch micro_batch_size", "in padded tokens, not in sentences"),
    Alias("training.learning_rate", "lr max_lr peak_lr base_lr init_lr learn_rate learning_rate_max "
          "initial_learning_rate", "its peak"),
    Alias("training.schedule", "scheduler scheduling lr_scheduler lr_scheduler_type lr_schedule lr_decay decay_method "
          "learning_rate_schedule learning_rate_scheduler_type learning_rate_decay"),
    Alias("training.warmup_updates", "warmup warm_up warmup_steps lr_warmup learning_rate_warmup "
          "num_warmup_steps warmup_ratio warmup_epochs warmup_init_lr", "in updates"),
    Alias("training.cooldown", "cool_down decay_fraction", "a fraction of all updates"),
    Alias("training.betas", "adam_betas beta1 beta2 beta_1 beta_2 adam_beta1 adam_beta2 optimizer_betas",
          "both in one list, as [0.9, 0.98]"),
    Alias("training.learning_rate training.betas training.weight_decay",
          "optimizer optim optimiser optimizer_type optimizer_params adam adamw",
          "the keys of the optimizer, which is always AdamW"),
    Alias("training.weight_decay", "wd decay l2 weight_decay_rate"),
    Alias("training.clip_norm", "clip grad_clip gradient_clip gradient_clipping max_grad_norm clip_grad_norm clipnorm "
          "clip_grad gradient_clipping_threshold gradient_clipping_type grad_norm max_norm clip_value"),
    Alias("training.label_smoothing", "smoothing ls label_smooth label_smoothing_factor "
          "label_smoothing_epsilon epsilon"),
    Alias("training.r_drop", "rdrop_alpha rdrop_weight reg_alpha"),
    Alias("training.averaging", "ema exponential_smoothing average average_decay model_averaging checkpoint_averaging",
          "ema, last or none"),
    Alias("training.average_last", "num_checkpoints_average last_n"),
    Alias("training.max_updates", "steps max_steps num_steps n_steps train_steps total_steps max_update updates "
          "num_updates n_updates total_num_update max_iterations iterations iters", "optimizer steps"),
    Alias("training.max_epochs", "epochs epoch num_epochs n_epochs nb_epochs max_epoch num_train_epochs after_epochs "
          "max_num_epochs passes"),
    Alias("training.time_budget", "time max_time time_limit stop_time_hours max_seconds duration minutes hours",
          "in seconds"),
    Alias("training.patience", "early_stopping early_stop early_stopping_patience max_num_checkpoint_not_improved"),
    Alias("training.best_metric", "metric optimized_metric early_stopping_metric early_stopping_metrics "
          "metric_for_best_model best_checkpoint_metric eval_metric valid_metrics"),
    Alias("training.report_every", "log_interval log_every logging_steps logging_freq disp_freq", "in updates"),
    Alias("training.valid_every", "valid_freq valid_steps validation_freq validation_interval eval_steps eval_every "
          "validate_interval validate_interval_updates valid_interval checkpoint_interval", "in updates"),
    Alias("training.save_every", "save_freq save_steps save_checkpoint_steps save_interval save_interval_updates "
          "checkpoint_every", "in updates"),
    Alias("training.keep_checkpoints", "keep_checkpoint keep_last_epochs keep_best_ckpts keep_last_params "
          "save_total_limit keep_interval_updates keep_last"),
    Alias("training.samples", "print_valid_sents num_samples show_samples"),
    Alias("training.seed", "random_seed rng_seed manual_seed"),
    Alias("training.precision", "fp16 bf16 amp half mixed_precision dtype model_dtype", "auto, fp32, bf16 or fp16"),
    Alias("decoding.beam_size", "beam beams num_beams n_beams beam_width"),
    Alias("decoding.length_penalty", "lenpen alpha length_alpha length_penalty_alpha beam_alpha normalize len_pen "
          "brevity_penalty length_normalization"),
    Alias("decoding.n_best", "nbest nbest_size num_return_sequences"),
    Alias("decoding.stopping", "early_stopping"),
    Alias("decoding.max_length", "max_len max_len_a max_len_b max_output_length max_new_tokens "
          "max_output_length_num_stds", "in tokens"),
    Alias("decoding.batch_tokens", "batch_size eval_batch_size max_tokens mini_batch mini_batch_words",
          "in padded source tokens, not in sentences"),
    Alias("decoding.shortlist", "lexical_shortlist vocab_selection restrict_lexicon"),
)  # fmt: skip
"""All known names. ``test_aliases.py`` tests each of them."""

_MIN_SIMILARITY, _MIN_ALIAS_SIMILARITY = 0.7, 0.85
"""Min similarity of a misspelt word to one of our keys, and to a name in another toolkit."""


def keys_named(word: str) -> tuple[list[str], str]:
    """The keys with this name, here or in another toolkit, and a note on how their unit or values differ.

    Args:
        word: ``table.key``, perhaps with a wrong table, or only a key.
    """
    table, name = _parts(word)
    if own := [key for key in known_keys() if key.rpartition(".")[2] == name]:
        return own, ""
    rows = [row for row in ALIASES if name in row.names.split()]
    rows = [row for row in rows if row.keys.startswith(f"{table}.")] or rows
    return (rows[0].keys.split(), rows[0].note) if rows else ([], "")


def did_you_mean(word: str) -> str:
    """A suggestion for an unknown key or table.

    Args:
        word: as for ``keys_named``, perhaps misspelt.
    """
    keys, note = keys_named(word)
    if not keys:
        keys, note = _keys_like(word)
    if not keys:
        return "see `seq2seq config`, which lists every key"
    *others, last = keys
    listed = f"{', '.join(others)} or {last}" if others else last
    return f"did you mean {listed}?" + (f" ({note})" if note else "")


def _keys_like(word: str) -> tuple[list[str], str]:
    """The key or table that is most similar to a misspelt word. Keys of the table that it names come first."""
    table, name = _parts(word)
    of_table = [key for key in known_keys() if key.startswith(f"{table}.")]
    for keys in (of_table, [*known_keys(), *TABLES]):
        by_name = {key.rpartition(".")[2]: key for key in reversed(keys)}
        if near := difflib.get_close_matches(name, by_name, n=1, cutoff=_MIN_SIMILARITY):
            return [by_name[near[0]]], ""
    names = {name for row in ALIASES for name in row.names.split()}
    near = difflib.get_close_matches(name, sorted(names), n=1, cutoff=_MIN_ALIAS_SIMILARITY)
    return keys_named(f"{table}.{near[0]}") if near else ([], "")


def _parts(word: str) -> tuple[str, str]:
    table, _, name = word.lower().replace("-", "_").rpartition(".")
    return table, name


def choose_among(word: str, choices: Sequence[str]) -> str:
    """Advice for a word that is not among the choices. It suggests the most similar choice, if there is one."""
    near = difflib.get_close_matches(word.lower(), choices, n=1)
    listed = f"choose among {', '.join(choices)}" if len(choices) > 2 else f"choose {' or '.join(choices)}"
    return f"did you mean {near[0]}? {listed[0].upper()}{listed[1:]}" if near else listed
