"""How many sequences packing saves, on chats: PYTHONPATH=. python tests/tokenizer/measure_packing.py."""

import click

from evaluation.corpus import clean, load_chitchat
from tokenizer.examples import count_sequences
from tokenizer.text import tokenize

people = clean(load_chitchat()).messages
lengths = [[len(tokenize(message.text)) for message in messages] for messages in people.values()]
words = sum(map(sum, lengths))
click.echo(f"{len(people)} people, {words:,} words and marks")
for sequence_length in (12, 20, 40):
    alone = sum(-(-length // sequence_length) for person in lengths for length in person)
    packed = sum(count_sequences(person, sequence_length) for person in lengths)
    filled = [100 * words / (sequences * sequence_length) for sequences in (alone, packed)]
    shares = f"{filled[0]:.0f} % filled alone, {filled[1]:.0f} % packed"
    click.echo(f"{sequence_length}: {shares}; {alone / packed:.2f} times fewer sequences")
