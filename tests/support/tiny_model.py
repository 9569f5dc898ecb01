"""Makes a two-layer Llama of random weights with a tokenizer of its own: a real engine's smallest model.

Run with the engine environment's Python, since it needs torch and transformers:

    python tests/support/tiny_model.py DIRECTORY

writes DIRECTORY/models/tiny-random-llama (the weights) and DIRECTORY/catalogue/tiny-random-llama.json (its
catalogue entry), the same bytes every time, in a few seconds. What it answers is noise; how many tokens,
when and in what shape is as real as any model's.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch  # type: ignore[import-not-found]
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import (  # type: ignore[import-not-found]
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

MODEL_ID = "tiny-random-llama"
SERVED_NAME = "tiny-random"
CONTEXT_TOKENS = 8192

ENTRY = {
    "modelId": MODEL_ID,
    "servedName": SERVED_NAME,
    "description": "Random weights: for tests, answers noise",
    "kind": "MODEL_KIND_GENERAL",
    "licence": "Apache-2.0",
    "source": {"directory": MODEL_ID},
    "parametersCount": "200000",
    "contextTokens": CONTEXT_TOKENS,
    "architecture": {"layersCount": 2, "kvHeadsCount": 2, "headSize": 32},
    "dtype": "bfloat16",
    "toolCallParser": "hermes",
    "maxRunningCalls": 16,
}

CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content if message.content else '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Text for the tokenizer to learn from: several scripts, so that one character may span several tokens.
CORPUS = [
    "The quick brown fox jumps over the lazy dog. How much does a call cost? Nothing, on your own card.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Ça va très bien, merci !",
    "Быстрая коричневая лиса прыгает через ленивую собаку. 東京は日本の首都です。 안녕하세요 세계",
    "def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}',
] * 40


def make(directory: Path) -> None:
    """Write model and catalogue entry under the directory; what is there already is left alone."""
    model = directory / "models" / MODEL_ID
    entry = directory / "catalogue" / f"{MODEL_ID}.json"
    if not model.exists():
        model.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{MODEL_ID}.", dir=model.parent))
        try:
            _save(unfinished)
            unfinished.rename(model)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    entry.parent.mkdir(parents=True, exist_ok=True)
    entry.write_text(json.dumps(ENTRY, indent=2) + "\n")


def _save(directory: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=1024,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=CONTEXT_TOKENS,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(directory)

    torch.manual_seed(20260101)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT_TOKENS,
        bos_token_id=fast.convert_tokens_to_ids("<|endoftext|>"),
        eos_token_id=fast.convert_tokens_to_ids("<|im_end|>"),
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
