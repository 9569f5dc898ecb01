"""A model's tokenizer files as its repository has them, with a tokenizer trained on the spot."""

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END = "<|im_end|>"
TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content if message.content else '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_MARKS = ["<|endoftext|>", "<|im_start|>", END]
# As in Qwen's: tokens of their own that text may have.
_WRITTEN_MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
_CORPUS = [
    "The quick brown fox jumps over the lazy dog. How much does a call cost? Nothing, on your own card.",
    "Wie geht es Ihnen heute? Heute ist ein schöner Tag, und morgen regnet es wieder in Zürich.",
    '{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}',
    "東京は日本の首都です。",
    "once upon a time there was a small card in a large rack, and it answered whoever asked it",
]


def trained(*, bos: bool = False) -> Tokenizer:
    """A byte-level BPE; `bos`: text gets a first token, as many models' does."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        _CORPUS * 4,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=_MARKS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.add_tokens(_WRITTEN_MARKS)
    if bos:
        first = "<|endoftext|>"
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return tokenizer


def put_tokenizer(
    catalogue: Path, model_id: str, *, template: str | None = TEMPLATE, bos: bool = False
) -> Path:
    """Into `<catalogue>/tokenizers/<model id>`, which is returned."""
    directory = catalogue / "tokenizers" / model_id
    directory.mkdir(parents=True)
    trained(bos=bos).save(str(directory / "tokenizer.json"))
    config: dict[str, object] = {"bos_token": "<|endoftext|>", "eos_token": {"content": END}}
    if template is not None:
        config["chat_template"] = template
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory
