import pytest

from mmadapt.recipe.arguments import generate_problems, train_problems
from mmadapt.recipe.text import parse


def train(text):
    return [str(problem) for problem in train_problems(parse(f"train: {text}", "r.yaml"))]


def generate(text):
    node = parse(f"evaluate: {{generate: {text}}}", "r.yaml")
    return [str(problem) for problem in generate_problems(node)]


@pytest.mark.parametrize(
    "text",
    [
        "{max_steps: 5, learning_rate: 9e-3, num_train_epochs: 3, seed: 0, bf16: true}",
        "{warmup_steps: 0.1, save_steps: 50, eval_strategy: steps, lr_scheduler_type: cosine}",
        "{optim: adamw_torch, report_to: [tensorboard], gradient_checkpointing: true}",
        "{report_to: none, fsdp_config: {a: b}, unfreeze: [], early_stopping_patience: 3}",
    ],
)
def test_good_keys_pass(text):
    assert train(text) == []


def test_the_keys_of_training_arguments_build_them(tmp_path):
    """What passes here is what transformers takes."""
    from transformers import TrainingArguments

    assert train("{max_steps: 5, eval_strategy: steps, optim: sgd}") == []
    TrainingArguments(str(tmp_path), max_steps=5, eval_strategy="steps", optim="sgd")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{max_step: 5}", "r.yaml:1:9: train.max_step: unknown key of "
         "transformers.TrainingArguments; did you mean 'max_steps'?"),
        ("{unfreze: []}", "did you mean 'unfreeze'?"),
        ("{batch_size: 5}", "did you mean 'per_device_train_batch_size'?"),
        ("{max_steps: 5.5}", "r.yaml:1:20: train.max_steps: wrong type (5.5); expected a whole"),
        ("{max_steps: '5'}", "wrong type ('5'); expected a whole number"),
        ("{learning_rate: fast}", "train.learning_rate: wrong type ('fast'); expected a number"),
        ("{learning_rate: -1}", "r.yaml:1:24: train.learning_rate: out of range (-1); "
         "expected more than 0"),
        ("{learning_rate: 0}", "out of range (0); expected more than 0"),
        ("{num_train_epochs: 0}", "out of range (0); expected more than 0"),
        ("{max_steps: -3}", "r.yaml:1:20: train.max_steps: out of range (-3); expected at least 1"),
        ("{max_steps: 0}", "train.max_steps: out of range (0); expected at least 1"),
        ("{gradient_accumulation_steps: 0}", "out of range (0); expected at least 1"),
        ("{per_device_eval_batch_size: -2}", "out of range (-2); expected at least 1"),
        ("{per_device_train_batch_size: 0}", "out of range (0); expected at least 1"),
        ("{eval_strategy: stepz}", "expected 'no', 'steps' or 'epoch'; did you mean 'steps'?"),
        ("{bf16: yes}", "train.bf16: wrong type ('yes'); expected true or false"),
        ("{output_dir: x}", "'output_dir' cannot be set here; name the folder with --output-dir"),
        ("{hub_token: x}", "a recipe is no place for a secret"),
    ],
)  # fmt: skip
def test_bad_train_keys(text, expected):
    [line] = train(text)
    assert expected in line


def test_good_generate_keys_pass():
    text = (
        "{max_new_tokens: 24, num_beams: 3, do_sample: true, temperature: 0.7, eos_token_id: [1]}"
    )
    assert generate(text) == []
    for text in (
        "{eos_token_id: 2, pad_token_id: null, suppress_tokens: [3], bad_words_ids: [[1, 2]]}",
        "{sequence_bias: [[[5], -1.5]], exponential_decay_length_penalty: [2, 1.1]}",
        "{cache_implementation: static, max_cache_len: 64, prompt_lookup_num_tokens: 3}",
    ):
        assert generate(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{max_new_token: 24}", "unknown key of transformers.GenerationConfig; "
         "did you mean 'max_new_tokens'?"),
        ("{max_new_tokens: 0}", "out of range (0); expected at least 1"),
        ("{num_beams: two}", "wrong type ('two'); expected a whole number"),
        ("{do_sample: 'yes'}", "expected true or false"),
        ("{temperature: 0}", "out of range (0); expected more than 0"),
        ("{early_stopping: maybe}", "evaluate.generate.early_stopping"),
        ("{_from_model_config: true}", "unknown key"),
        ("{cache_implementation: statc}", "did you mean 'static'?"),
        ("{cache_implementation: 3}", "generate.cache_implementation"),
        ("{eos_token_id: text}", "wrong type ('text'); expected a whole number"),
        ("{bad_words_ids: [1]}", "expected a list"),
        ("{sequence_bias: [1]}", "generate.sequence_bias"),
        ("{suppress_tokens: [a]}", "expected a whole number"),
        ("{max_time: -1}", "out of range (-1); expected more than 0"),
        ("{penalty_alpha: 0.6, top_k: 4}", "'penalty_alpha' cannot be set here; transformers needs"
         " code of the hub for it; use num_beams or do_sample"),
        ("{num_beam_groups: 2, num_beams: 4}", "needs code of the hub"),
        ("{dola_layers: low}", "needs code of the hub"),
        ("{return_dict_in_generate: true}", "an answer is its text"),
        ("{output_scores: true}", "an answer is its text"),
        ("{watermarking_config: 1}", "it takes a Python object"),
        ("{assistant_early_exit: 1}", "where media may enter"),
    ],
)  # fmt: skip
def test_bad_generate_keys(text, expected):
    [line] = generate(text)
    assert expected in line
