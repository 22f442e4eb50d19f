"""A process of its own that takes the first steps: how long each takes, kernels compiled or found. Prints JSON.

``--without-nvrtc`` hides the compiler. ``--rule adamw`` chooses the rule.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def main(arguments: list[str]) -> None:
    started = perf_counter()
    import numpy as np
    import schuss
    from gpu_device import opened
    from schuss._engine.cuda import builder

    class Hidden:
        version = None

    class Timed:
        """The compiler, with the time that each kernel takes."""

        def __init__(self, own: builder.Compiler) -> None:
            self.own, self.version, self.seconds = own, own.version, {}

        def compile(self, text: str, options: tuple[str, ...], name: str) -> bytes:
            begun = perf_counter()
            made = self.own.compile(text, options, name)
            self.seconds[name] = perf_counter() - begun
            return made

    with opened(Path(tempfile.gettempdir())) as gpu:
        compiler = Timed(builder.compiler)
        builder.compiler = Hidden() if "--without-nvrtc" in arguments else compiler
        params, grads = gpu.array(np.zeros(1000, np.float32)), gpu.array(np.ones(1000, np.float32))
        gpu.runtime.deviceSynchronize()
        told = {"imports and a context": perf_counter() - started}
        begun = perf_counter()
        opt = schuss.AdamW(params, clip=1.0)
        for name in ("first step", "second step"):
            opt.step(grads)
            gpu.runtime.deviceSynchronize()
            told[name] = perf_counter() - begun
            begun = perf_counter()
        answer = {"seconds": told, "compiled": compiler.seconds, "bits": gpu.host(params).tobytes().hex()[:16]}
        print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1:])
