"""How much memory a model's weights take, by how they are stored. Pure."""

from collections.abc import Mapping

from daalu_wire.v1 import catalogue_pb2

FULL_BITS = 16
# Bits a weight of a quantized layer takes, with its share of scales and zero points in groups of 128
# (4 + 16/128 + 4/128), or one scale of 32 bits for a block of 128 x 128.
_BITS: Mapping[str, float] = {
    "awq": 4.16,
    "awq_marlin": 4.16,
    "auto_awq": 4.16,
    "gptq": 4.16,
    "gptq_marlin": 4.16,
    "auto_gptq": 4.16,
    "moe_wna16": 4.16,
    "mxfp4": 4.25,
    "modelopt_fp4": 4.5,
    "fp8": 8.002,
    "modelopt": 8.002,
    "fp8_per_tensor": 8.002,
    "experts_int8": 8.002,
}


def weights_bytes(model: catalogue_pb2.Model) -> int:
    """Parameters times their size. Embeddings and output layer stay at 16 bits in every quantization.

    An unknown quantization counts as none, which is never too little.
    """
    bits = _BITS.get(model.quantization, FULL_BITS)
    shape = model.architecture
    copies = 1 if shape.tied_embeddings else 2
    kept = min(model.parameters_count, copies * shape.vocabulary_size * shape.hidden_size)
    return int(((model.parameters_count - kept) * bits + kept * FULL_BITS) / 8)
