"""The chain of LAFS' stages: which runs it makes and what it says of them. The stages themselves: test_resume.py."""

import json
import sys

import pytest

from experiments import lafs_chain
from facejax.errors import UserError

PRE_TRAINED_GAIN = 0.5


def test_chain(monkeypatch, tmp_path, capsys):
    calls = {}

    def train(config, workdir):
        calls[workdir.name] = config
        gain = PRE_TRAINED_GAIN if "pre-trained" in workdir.name else 0.0
        return {"trained": {"identity/top1_accuracy": config.data.images_per_class / 100 + gain}}

    monkeypatch.setattr(lafs_chain.train, "train", train)
    monkeypatch.setattr(lafs_chain, "log_to_stderr", lambda: None)  # it would be felt by the tests that follow
    monkeypatch.setattr(sys, "argv", ["lafs_chain", f"--workdir={tmp_path}"])
    lafs_chain.main()

    assert list(calls)[:2] == ["part_fvit", "lafs"]
    assert calls["part_fvit"].method == "supervised" and calls["lafs"].method == "lafs"
    assert calls["lafs"].landmark_network == str(tmp_path / "part_fvit")
    finetuned = {name: config for name, config in calls.items() if name.startswith("finetuned")}
    assert {name: config.data.images_per_class for name, config in finetuned.items()} == {
        f"finetuned_{count}_{start}": count for count in (1, 4, 10) for start in ("random", "pre-trained")
    }
    for name, config in finetuned.items():
        assert config.initialize_from.landmark_network == str(tmp_path / "part_fvit")
        assert config.initialize_from.transformer == (str(tmp_path / "lafs") if "pre-trained" in name else "random")
        assert config.optimizer.groups == "layer_decay"
        people, images = config.classifier.num_classes, config.data.images_per_class
        # No epoch has more steps than it is said to have: all compile the same schedules into their steps.
        assert people * images // config.batch_size <= config.min_steps_per_epoch == lafs_chain.STEPS_PER_EPOCH
        assert config.epochs == lafs_chain.EPOCHS

    assert list(calls) == list(lafs_chain.configs(tmp_path))
    rows = json.loads((tmp_path / "few_shot.json").read_text())
    assert [(row["images"], row["transformer"], row["identity/top1_accuracy"]) for row in rows] == [
        (count, start, count / 100 + gain)
        for count in (1, 4, 10)
        for start, gain in (("random", 0.0), ("pre-trained", PRE_TRAINED_GAIN))
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["images", "of", "a", "person", "metric", "random", "pre-trained"]
    assert lines[2].split() == ["4", "identity/top1_accuracy", "0.0400", "0.5400"]


def test_all_configs_are_checked_before_the_first_run(monkeypatch, tmp_path):
    configs = lafs_chain.configs(tmp_path)
    *_, last = configs.values()
    last.mixup.probability = 1.5
    monkeypatch.setattr(lafs_chain, "configs", lambda folder: configs)
    monkeypatch.setattr(lafs_chain, "run", lambda *_: pytest.fail("trained"))
    with pytest.raises(UserError, match=r"config\.mixup\.probability = 1\.5"):
        lafs_chain.chain(tmp_path)
