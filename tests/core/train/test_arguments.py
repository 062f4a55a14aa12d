import pytest

from mmadapt.errors import RecipeError
from mmadapt.recipe import TrainConfig
from mmadapt.train.arguments import training_arguments


def arguments(tmp_path, validates=False, metric=None, patience=None, **keys):
    config = TrainConfig(early_stopping_patience=patience, max_steps=100, use_cpu=True, **keys)
    return training_arguments(config, tmp_path, validates=validates, metric=metric, workers=0)


def test_keys_of_the_recipe_go_through_verbatim(tmp_path):
    args = arguments(tmp_path, learning_rate=0.5, warmup_steps=7, lr_scheduler_type="cosine")
    assert (args.learning_rate, args.warmup_steps) == (0.5, 7)
    assert args.lr_scheduler_type == "cosine" and args.output_dir == str(tmp_path)


def test_without_validation_only_checkpoints_are_written(tmp_path):
    args = arguments(tmp_path)
    assert args.eval_strategy == "no" and args.save_strategy == "steps"
    assert not args.load_best_model_at_end and args.save_steps == 0.25
    assert args.report_to == [] and args.disable_tqdm is False


def test_with_validation_the_best_checkpoint_is_kept(tmp_path):
    args = arguments(tmp_path, validates=True, metric="cider")
    assert args.load_best_model_at_end and args.eval_steps == args.save_steps == 0.25
    assert args.metric_for_best_model == "cider" and args.greater_is_better
    loss = arguments(tmp_path, validates=True)
    assert loss.metric_for_best_model == "loss" and not loss.greater_is_better


def test_the_direction_follows_the_metric_that_the_recipe_names(tmp_path):
    named = arguments(tmp_path, validates=True, metric="cider", metric_for_best_model="loss")
    assert not named.greater_is_better
    named = arguments(tmp_path, validates=True, metric="cider", metric_for_best_model="bleu_4")
    assert named.greater_is_better


@pytest.mark.parametrize(
    "keys", [{"save_steps": 10}, {"eval_steps": 10}, {"eval_strategy": "epoch"}]
)
def test_evaluations_and_checkpoints_go_together(tmp_path, keys):
    args = arguments(tmp_path, validates=True, metric="cider", **keys)
    assert args.load_best_model_at_end
    assert (args.eval_strategy == args.save_strategy and args.eval_steps == args.save_steps) or (
        args.eval_strategy == "epoch" == args.save_strategy
    )


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"eval_strategy": "steps"}, "eval_strategy needs data.validation"),
        ({"eval_on_start": True}, "eval_on_start needs data.validation"),
        ({"patience": 2}, "early_stopping_patience needs data.validation"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor is not supported.*remove it"),
        ({"report_to": "wandbb"}, "unknown tracker 'wandbb'; did you mean 'wandb'"),
        ({"report_to": ["zzz"]}, "unknown tracker 'zzz'; known are"),
        ({"fp16": True, "bf16": True}, "train: "),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path, keys, reason):
    with pytest.raises(RecipeError, match=reason):
        arguments(tmp_path, **keys)


def test_a_tracker_that_is_not_installed_is_one_error(tmp_path, monkeypatch):
    from transformers.integrations import integration_utils

    monkeypatch.setattr(
        integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard"]
    )
    assert arguments(tmp_path, report_to="tensorboard").report_to == ["tensorboard"]
    with pytest.raises(RecipeError, match="wandb is not installed; pip install wandb"):
        arguments(tmp_path, report_to=["tensorboard", "wandb"])


def test_a_loss_that_is_no_number_is_not_averaged_away(tmp_path):
    assert arguments(tmp_path).logging_nan_inf_filter is False
