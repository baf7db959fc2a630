"""Numbers and folders that no example can use are refused before anything is made, in one line and with exit code 2."""

import importlib

import pytest

NUMBERS = {
    "augment": ["--beta", "--seed"],
    "complete": ["--lr", "--seed"],
    "control": ["--seed"],
    "denoise": ["--lr", "--sigma", "--seed"],
    "generate": ["--seed"],
    "train_cnn": ["--lr", "--seed"],
    "train_gan": ["--lr", "--generator-lr", "--seed"],
    "train_vae": ["--lr", "--std", "--beta", "--seed"],
}


@pytest.mark.parametrize(("script", "option"), [(script, name) for script, names in NUMBERS.items() for name in names])
def test_numbers_that_cannot_be(script, option, capsys):
    module = importlib.import_module(script)
    for number in ("-1", "x") if option == "--seed" else ("-1", "nan", "inf", "x"):
        with pytest.raises(SystemExit) as ended:
            module.parse_arguments([option, number])
        assert ended.value.code == 2
        assert f"argument {option}: " in capsys.readouterr().err


@pytest.mark.parametrize("script", NUMBERS)
def test_results_do_not_go_into_a_file(script, tmp_path, capsys):
    taken = tmp_path / "results"
    taken.write_text("mine")
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(script).parse_arguments(["--out", str(taken)])
    assert ended.value.code == 2 and taken.read_text() == "mine"
    assert f"argument --out: expected a folder, {taken} is a file" in capsys.readouterr().err
