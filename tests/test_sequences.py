"""Recurrent networks with real weights give PyTorch's outputs: a voice encoder, and g2p."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import ferrum as fe
import ferrum_nn as nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

pytestmark = pytest.mark.torch
START, END, MOST = 2, 3, 20  # g2p-en's marks of a word's phonemes, and the most of them
LETTERS = {letter: k for k, letter in enumerate("abcdefghijklmnopqrstuvwxyz", 3)}  # 2 ends a word


def folder_of(package):
    """Return where a package lies, without importing it."""
    found = find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.origin).parent


@pytest.fixture(scope="module")
def voices():
    """Resemblyzer's three layers of LSTM, and the one behind them, of FERRUM and of PyTorch."""
    path = folder_of("resemblyzer") / "pretrained.pt"
    state = torch.load(path, weights_only=True, map_location="cpu")["model_state"]
    found = []
    for lib in (nn, torch.nn):
        parts = lib.LSTM(40, 256, 3, batch_first=True), lib.Linear(256, 256)
        for prefix, part in zip(("lstm.", "linear."), parts, strict=True):
            own = {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }
            if lib is nn:
                part.to("cpu")
                own = {key: fe.tensor(value.numpy()) for key, value in own.items()}
            part.load_state_dict(own)
        found.append(parts)
    return found


def embedded(parts, given):
    """Return voices as points on a sphere, as Resemblyzer does."""
    lstm, linear = parts
    _, (hidden, _) = lstm(given)
    found = linear(hidden[-1]).relu()
    return found / (found * found).sum(1, keepdim=True).sqrt()


def test_voices_are_embedded_as_pytorch_does(voices):
    ours, theirs = voices
    mels = np.random.default_rng(0).gamma(0.5, 0.02, size=(3, 160, 40)).astype(np.float32)
    with fe.no_grad(), torch.no_grad():
        one = embedded(ours, fe.tensor(mels, device="cpu"))
        two = embedded(theirs, torch.tensor(mels))
    np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=0, atol=1e-5)


def test_voices_of_several_lengths_are_packed(voices):
    """Each is what it is alone."""
    ours, _ = voices
    mels = np.random.default_rng(1).gamma(0.5, 0.02, size=(90, 3, 40)).astype(np.float32)
    lengths = [31, 90, 57]
    with fe.no_grad():
        x = fe.tensor(mels, device="cpu")
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        together = embedded(ours, packed).numpy()
        for k, length in enumerate(lengths):
            alone = embedded(ours, x[:length, k : k + 1].transpose(0, 1)).numpy()
            np.testing.assert_allclose(together[k], alone[0], rtol=0, atol=1e-5)


def phonemes(lib, t, weights, word, make):
    """Return the phonemes of a word, and what they were chosen by: an encoder and a decoder."""

    def gru(prefix):
        layer = lib.GRU(256, 256)
        names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
        short = "w_ih", "w_hh", "b_ih", "b_hh"
        state = {
            name: make(weights[f"{prefix}_{each}"]) for name, each in zip(names, short, strict=True)
        }
        layer.load_state_dict(state)
        return layer

    letters = [*(LETTERS[each] for each in word), 2]
    with t.no_grad():
        _, h = gru("enc")(make(weights["enc_emb"][letters][:, None]))
        decoder, found, scores = gru("dec"), [START], []
        while found[-1] != END and len(found) <= MOST:
            out, h = decoder(make(weights["dec_emb"][found[-1:]][:, None]), h)
            scores.append(out[0, 0].numpy() @ weights["fc_w"].T + weights["fc_b"])
            found.append(int(scores[-1].argmax()))
    return found[1:], np.stack(scores)


@pytest.mark.parametrize("word", ["recurrence", "ferrum", "xylophone", "attention", "a"])
def test_words_are_pronounced_as_pytorch_does(word):
    weights = np.load(folder_of("g2p_en") / "checkpoint20.npz")
    ours, scores = phonemes(nn, fe, weights, word, fe.tensor)
    theirs, expected = phonemes(torch.nn, torch, weights, word, torch.tensor)
    assert ours == theirs
    assert ours[-1] == END
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-4)
