"""A training process may be killed at any moment, also in the middle of a file, and goes on bit for bit."""

import itertools
import os
import random
import signal
import subprocess
import time

import pytest
from trainer import command

KILLS = 20


def killed_by_itself(train, folder, rng):
    """Killed before its n-th write, flush, rename, deletion or step."""
    result = train(folder, "--resume", "--die-at", rng.randint(1, 90))
    assert result.returncode in (0, -signal.SIGKILL), result.stderr
    return result.returncode != 0


def killed_from_outside(train, folder, rng):
    """Killed when the clock says so."""
    arguments = command(folder, "--resume", "--save-every", 1)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()  # it is about to begin
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
    return process.returncode != 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("kill", [killed_by_itself, killed_from_outside])
def test_a_run_killed_at_random_moments_goes_on_bit_for_bit(train, whole, assert_equal, tmp_path, kill):
    rng, kills, in_a_file = random.Random(0), 0, 0
    for attempt in itertools.count():
        folder = tmp_path / str(attempt)
        while kills < KILLS // 2 and kill(train, folder, rng):
            kills += 1
            in_a_file += any(name.endswith(".part") for name in os.listdir(folder))
        result = train(folder, "--resume")
        assert result.returncode == 0, result.stderr
        assert_equal(folder, whole)
        if kills == KILLS // 2:
            break
        assert attempt < 10 * KILLS, "the process is always done before it is killed"
    assert in_a_file or kill is not killed_by_itself, "no kill hit the middle of a file"
