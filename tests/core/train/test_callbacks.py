import json
from types import SimpleNamespace

from mmadapt.data.order import EpochSampler
from mmadapt.train.callbacks import EpochOrder, ProgressBar, RunLog


def state(step=0, epoch=0.0):
    return SimpleNamespace(global_step=step, epoch=epoch, max_steps=10, is_world_process_zero=True)


def test_the_epoch_reaches_the_sampler_also_in_the_middle_of_one():
    sampler = EpochSampler(4)
    for epoch, expected in ((None, 0), (0.0, 0), (1.4, 1), (2.0, 2)):
        EpochOrder(sampler).on_epoch_begin(None, state(epoch=epoch), None)
        assert sampler.epoch == expected


def test_a_resumed_log_drops_what_will_be_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    log = RunLog(path)
    for step in (1, 2, 3):
        log.on_log(None, state(step), None, {"loss": step / 2})
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    log.on_train_begin(None, state(2), None)
    log.on_log(None, state(3), None, {"loss": 9.0})
    assert [json.loads(line) for line in path.open()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 9.0},
    ]


def test_the_bar_shows_steps_loss_and_scores(capsys):
    bar = ProgressBar("train")
    bar.on_train_begin(None, state(3), None)
    bar.on_step_end(None, state(7), None)
    logs = {"loss": 0.5, "eval_cider": 1.25, "eval_runtime": 3.0, "grad_norm": 2.0}
    bar.on_log(None, state(7), None, logs)
    assert bar.bar.n == 7 and bar.shown == {"loss": "0.5", "cider": "1.25"}
    bar.on_train_end(None, state(7), None)
    assert "7/10" in capsys.readouterr().err
