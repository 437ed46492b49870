"""The demo model's text: the King James Bible as documents, a tokenizer for it, and batches of tokens.

The text is that of Debian's `bible-kjv-text` (public domain outside the United Kingdom), printed by the
`bible` program of `bible-kjv`. A document is one chapter: its name, a blank line, one verse per line.
"""

from __future__ import annotations

import random
import re
import subprocess
from typing import Any

import numpy as np

# Names and order follow o200k_harmony; the ids here are 0..8 because a small vocabulary has no room above.
SPECIAL = (
    "<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>",
    "<|start|>", "<|end|>", "<|message|>", "<|call|>",
)  # fmt: skip
END_OF_TEXT = SPECIAL.index("<|endoftext|>")
HELD_OUT_FRACTION = 0.05
# A word with its leading space, digits in threes, punctuation, runs of white space: the shape of the
# patterns of byte-level BPE tokenizers since GPT-2.
SPLIT = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def bible_text(folder: str = "/usr/lib") -> str:
    """What `bible -p folder` prints for all 66 books: chapter headings and numbered verses."""
    command = ["bible", "-p", folder, "-l100000", "gen1:1-rev22:21"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def chapters(printed: str) -> list[str]:
    """One document per chapter, in the order of the book, verse numbers removed."""
    documents: list[str] = []
    verses: list[str] = []
    heading = ""
    for line in [*printed.splitlines(), "End 0"]:
        verse = re.match(r"  \d+ (.*\S)\s*$", line)
        if verse:
            verses.append(verse.group(1))
        elif re.fullmatch(r"\S.* \d+", line.strip()):
            if heading:
                documents.append(f"{heading}\n\n" + "\n".join(verses) + "\n")
            heading, verses = line.strip(), []
    return documents


def split(documents: list[str], seed: int) -> tuple[list[str], list[str]]:
    """(training, held-out) chapters; the held-out ones are drawn at random from the whole book."""
    held = set(random.Random(seed).sample(range(len(documents)), round(len(documents) * HELD_OUT_FRACTION)))
    return (
        [d for i, d in enumerate(documents) if i not in held],
        [documents[i] for i in sorted(held)],
    )


def train_tokenizer(documents: list[str], vocabulary: int) -> Any:
    """A byte-level BPE `tokenizers.Tokenizer` of `vocabulary` entries, special tokens first."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def conversation(document: str, rng: random.Random) -> str:
    """A chapter as a harmony conversation: the user gives an opening, the assistant continues to a verse's end.

    Gives the markers of the chat format a meaning, so that a chat endpoint has something to show.
    """
    heading, verses = document.split("\n\n", 1)
    lines = verses.splitlines()
    first = rng.randrange(len(lines))
    answer = "\n".join(lines[first : first + rng.randint(1, 6)])
    words = answer.split(" ")
    cut = rng.randint(1, max(1, min(8, len(words) - 1)))
    if rng.random() < 0.25:
        question, rest = heading, answer
    else:
        question, rest = " ".join(words[:cut]), " " + " ".join(words[cut:])
    return (
        f"<|start|>user<|message|>{question}<|end|><|start|>assistant<|channel|>final<|message|>"
        f"{rest.strip() if question == heading else rest}<|return|>"
    )


def stream(documents: list[str], tokenizer: Any, seed: int, chat_fraction: float = 0.12) -> np.ndarray:
    """One epoch as a flat array of token ids: shuffled chapters, each ended by <|endoftext|>, and conversations."""
    rng = random.Random(seed)
    order = documents[:]
    rng.shuffle(order)
    pieces: list[int] = []
    for document in order:
        pieces += [*tokenizer.encode(document).ids, END_OF_TEXT]
        budget = chat_fraction * len(document)
        while budget > 0 and rng.random() < 0.9:
            text = conversation(rng.choice(documents), rng)
            budget -= len(text)
            pieces += tokenizer.encode(text).ids
    return np.array(pieces, dtype=np.int64)
