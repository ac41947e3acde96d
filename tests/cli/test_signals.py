"""SIGINT, SIGTERM and SIGHUP end every command with 128 + their number, one line, and nothing half-done."""

import importlib
import signal

import pytest

from basis.runs.read import read_mixture

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
COMMANDS = {
    "separate": ["separate", "image.png", "--prior"],
    "colorize": ["colorize", "image.png", "--prior"],
    "count": ["count", "image.png", "--prior"],
    "evaluate": ["evaluate", "digits", "--n", 2, "--json", "figures.json", "--prior"],
    "demo": ["demo", "--prior"],
    "generate": ["generate"],
    "info": ["info"],
}


@pytest.mark.parametrize("send", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_with_the_signals_code(cli, prior, image, tmp_path, monkeypatch, name, send):
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("basis.cli.given.load_prior", lambda *_: signal.raise_signal(send))
    monkeypatch.setattr("basis.io.checkpoint.load_prior", lambda *_: signal.raise_signal(send))
    result = cli(*COMMANDS[name], prior)
    assert (result.code, result.out) == (128 + send, "")
    assert result.err == ["basis: stopped; what was finished before is whole"]
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]
    assert before == {number: signal.getsignal(number) for number in SIGNALS}


@pytest.mark.parametrize("send", SIGNALS)
def test_a_signal_in_the_second_input_leaves_the_first_whole(separate, image, array, out, monkeypatch, send):
    def stopped(path, *arguments, **options):
        return signal.raise_signal(send) if path == array else read_mixture(path, *arguments, **options)

    monkeypatch.setattr(importlib.import_module("basis.runs.read"), "read_mixture", stopped)
    result = separate(image, array)
    assert result.code == 128 + send
    assert result.err == [f"basis: stopped at {array}; what was finished before is whole in {out}"]
    assert [path.name for path in out.iterdir()] == ["image"]


def test_a_signal_that_is_ignored_stays_so(cli, prior, monkeypatch):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr("basis.io.checkpoint.load_prior", lambda *_: signal.raise_signal(signal.SIGHUP) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cli("info", prior)
    finally:
        signal.signal(signal.SIGHUP, before)
