"""A short run of every kernel, for compute-sanitizer: odd sizes, strides, misaligned leaves, clipping, skips."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def main() -> None:
    import numpy as np
    import schuss
    from gpu_device import opened
    from gpu_twins import FORMATS, CupyArrays, Twins, gradient, normal, plain, trees

    with opened(Path(tempfile.gettempdir())) as gpu:
        arrays = CupyArrays(gpu)
        shapes = {f"{p}-{g}": ((4130,), p, g) for p in FORMATS for g in FORMATS}
        params, grads = trees(1, shapes)
        twins = Twins(arrays, schuss.AdamW, params, {"clip": 1.0})
        for step in range(2):
            twins.step(grads(step))
        twins.check("every format")
        params, grads = trees(2, plain(sizes=(9001, 37, 1, 0)))
        for settings in (
            lambda: {"scaler": schuss.LossScaler(scale=8.0), "clip": schuss.clipping.LeafNorm(0.5)},
            lambda: {"accumulate": 2, "clip": schuss.clipping.Value(0.1)},
        ):
            twins = Twins(arrays, schuss.Nesterov, params, settings, offsets={"float32-37": 4})
            for step in range(4):
                given = grads(step)
                if step == 2:
                    given["float32-9001"][9000] = np.inf
                with twins.want.lookahead(), twins.got.lookahead():
                    twins.check_params("at the point")
                twins.step(given)
            twins.check_params("scaled and accumulated")
        twins = Twins(arrays, schuss.RMSprop, {"w": normal(3, (66, 67))}, looks={"w": lambda x: x.T[::2]})
        for step in range(2):
            whole = gradient(4 + step, (66, 67))
            twins.step({"w": whole.T[::2]}, {"w": arrays.like(whole, lambda x: x.T[::2])})
        twins.check("strided")
        tree = {"a": normal(5, 5000), "b": normal(6, 33)}
        there = {name: arrays.put(each) for name, each in tree.items()}
        assert schuss.clipping.by_global_norm(there, 1.0) == schuss.clipping.by_global_norm(tree, 1.0)
        gpu.runtime.deviceSynchronize()
    print("every kernel has run")


if __name__ == "__main__":
    main()
