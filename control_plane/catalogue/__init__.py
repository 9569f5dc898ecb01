"""The catalogue: the models that may be served and the cards that serve them, as this control plane knows
them.

An *entry* is a JSON file with one wire `Model`; some ship with the product, the operator's own lie in a
directory. An entry's *digest* names its exact content: the agent compares it with its own copy, so neither
side can make the other run something else. A *card class* says what a card is; it too is a JSON file, and a
card that no file describes gets a class that is *derived* from what it reports. A *fit* is the working of
whether a model fits on a card. A *counter* counts a model's tokens with the model's own *tokenizer*, where
the operator has put it beside the entries.
"""

from control_plane.catalogue.card_class import CardClass, Description, Form
from control_plane.catalogue.card_classes import CardClasses
from control_plane.catalogue.catalogue import Catalogue
from control_plane.catalogue.counter import ChoiceText, Counter, ToolCallText, Uncountable, why_uncountable
from control_plane.catalogue.entry import Entry, InvalidEntry, digest_of
from control_plane.catalogue.fit import CardFacts, Fit, Obstacle, fit, smallest_fit
from control_plane.catalogue.names import AUTO, ModelNames, load_names
from control_plane.catalogue.tokenizers import Tokenizers

__all__ = [
    "AUTO",
    "CardClass",
    "CardClasses",
    "CardFacts",
    "Catalogue",
    "ChoiceText",
    "Counter",
    "Description",
    "Entry",
    "Fit",
    "Form",
    "InvalidEntry",
    "ModelNames",
    "Obstacle",
    "Tokenizers",
    "ToolCallText",
    "Uncountable",
    "digest_of",
    "fit",
    "load_names",
    "smallest_fit",
    "why_uncountable",
]
