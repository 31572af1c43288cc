"""Prompts as text of about so many tokens, for servers that take no token ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workloads.load.content import Content, Prompt, Segment, TokenIds
from workloads.load.prompts import token_prompts

_TEXT = """
able above act add age air all also animal answer any apple area arm art ask away baby back bad
bag ball bank base bath bear bed bell best big bird black blue boat body bone book born both box
boy bread bring brown build bus busy buy cake call camp car card care case cat cause cell chair
change city class clean clear clock close cloud coat cold come cook cool corn cost country cover
cow cup cut dance dark day deal deep desk door down draw dream dress drink drive dry duck dust
each ear early earth east easy eat edge egg eight end even eye face fact fair fall family farm
fast fat father feel few field fight fill film find fine fire fish five flat floor fly food foot
force form four free fresh friend front fruit full game garden gate gift girl give glass go gold
good grass gray great green ground group grow hair half hall hand happy hard hat head hear heart
heat heavy help high hill history hold hole home hope horse hot hotel hour house huge ice idea
inch inside iron island job join jump keep key kind king knee know lake land large last late law
lead leaf learn leave left leg letter life light line lion lip list long look loss lot loud love
low lunch main make man map mark market meal meat milk mind minute mix money month moon more
morning mouth move music name near neck need new news next nice night nine noise north nose note
number ocean office oil old open orange order other own page paint pair paper park part past
path pay peace pen people pick picture piece pink place plan plant play point pool poor power
press price public pull push queen quick quiet rain read ready real red rest rice rich ride
right ring river road rock room rose round rule run safe salt same sand save school sea seat see
sell send seven shape share ship shoe shop short show
"""
WORDS = tuple(_TEXT.split())
"""Common words; nearly all are one token, with the space before them, in any vocabulary."""
FEWEST = 1


@dataclass(frozen=True, slots=True)
class TextPrompts:
    """Draws text of about so many tokens; what a word and a template take, the server has said."""

    tokens_per_word: float = 1.0
    template_tokens: float = 0.0
    """What the server puts around each text: a chat template, a beginning-of-text token."""

    def words(self, length: int) -> int:
        """Return how many words make a prompt of `length` tokens, as near as whole words come."""
        return max(FEWEST, round((length - self.template_tokens) / self.tokens_per_word))

    def draw(self, rng: np.random.Generator, *, count: int, length: int) -> list[str]:
        """Draw `count` different texts of about `length` tokens each."""
        words = self.words(length)
        if len(WORDS) ** min(words, 16) < count:
            raise ValueError(f"{count} different prompts need more than {words} words")
        texts: dict[str, None] = {}
        while len(texts) < count:
            for row in rng.integers(0, len(WORDS), (count - len(texts), words)):
                texts[" ".join(WORDS[index] for index in row)] = None
        return list(texts)

    def write(self, content: Content, seed: int) -> list[Prompt]:
        """Write prompts that share what `content` says; a file's own stay as they are."""
        in_words = replace(content, chains=[self._in_words(chain) for chain in content.chains])
        written = in_words.prompts(seed, len(WORDS))
        return [
            " ".join(WORDS[i] for i in prompt)
            if isinstance(prompt, np.ndarray) and number not in content.literals
            else prompt
            for number, prompt in enumerate(written)
        ]

    def _in_words(self, chain: Sequence[Segment]) -> tuple[Segment, ...]:
        """Take a token of each piece for as many words; the first bears the template."""
        around = self.template_tokens
        words = []
        for segment in chain:
            tokens = segment.tokens - around
            words.append(Segment(segment.key, max(FEWEST, round(tokens / self.tokens_per_word))))
            around = 0.0
        return tuple(words)


def fitted(words: tuple[int, int], tokens: tuple[float, float]) -> TextPrompts:
    """Fit a straight line, tokens = template + rate · words, through what a server counted.

    A server that counts no more for more words has counted something else: then a word is a token.
    """
    rate = (tokens[1] - tokens[0]) / (words[1] - words[0])
    if rate <= 0:
        return TextPrompts()
    return TextPrompts(rate, max(0.0, tokens[0] - rate * words[0]))


def prompts_for(
    rng: np.random.Generator, count: int, length: int, vocab: int, texts: TextPrompts | None
) -> TokenIds | list[str]:
    """Draw prompts as token ids below `vocab`, or as text where that is what is sent."""
    if texts is not None:
        return texts.draw(rng, count=count, length=length)
    return token_prompts(rng, count=count, length=length, vocab=vocab)
