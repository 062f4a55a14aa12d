"""Tokens against Stanford's PTBTokenizer as the COCO tools call it."""

import shutil

import pytest

from mmadapt_caption.tokens import tokenize

# Captions, and what the COCO tools' Java tokeniser makes of them after dropping punctuation.
REFERENCE = {
    "A man's dog, isn't it? I can't.": "a man 's dog is n't it i ca n't",
    "They're won't we'll I'd I'm you've": "they 're wo n't we 'll i 'd i 'm you 've",
    'He said "hello (world)"': "he said hello -lrb- world -rrb-",
    "[x] {y}": "-lsb- x -rsb- -lcb- y -rcb-",
    "A black-and-white cat -- on a mat...": "a black-and-white cat on a mat",
    "wow!!! really?! ok": "wow !!! really ?! ok",
    "It costs $3.50, 1,000 and 50% off": "it costs $ 3.50 1,000 and 50 % off",
    "“Curly” quotes ‘single’ it’s dogs’ – en": "curly quotes single it 's dogs en",
    "Mr. Smith at 5 p.m. in the U.S. today.": "mr. smith at 5 p.m. in the u.s. today",
    "He cannot go; gonna 'tis": "he can not go gon na 't is",
    "10:30 am, 2-3 people and/or 3/4": "10:30 am 2-3 people and/or 3/4",
    "rock o'clock 1990's": "rock o'clock 1990 's",
    "café naïve Über": "café naïve über",
    "two no. 5 no.": "two no. 5 no",
    "C++ at https://a.org/b_c, snake_case.": "c++ at https://a.org/b_c snake_case",
    "one\ttwo\nthree": "one two three",
    "": "",
    " . ! ": "",
}


@pytest.mark.parametrize("text", REFERENCE)
def test_captions_are_split_as_the_coco_tools_split_them(text):
    assert " ".join(tokenize(text)) == REFERENCE[text]


@pytest.mark.skipif(
    shutil.which("java") is None, reason="the reference tokeniser is a Java program"
)
def test_the_table_above_is_what_the_reference_gives():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = list(REFERENCE)
    try:
        given = PTBTokenizer().tokenize({i: [{"caption": t}] for i, t in enumerate(texts)})
    except OSError as error:
        pytest.skip(f"the reference cannot write its scratch file: {error}")
    assert [given[i][0] for i in range(len(texts))] == list(REFERENCE.values())
