"""Time `recommend` once a predictor is loaded.

python benchmarks/choosing/recommend_speed.py PREDICTOR.npz
"""

import sys
import time
from pathlib import Path

from analysis.predict.predictor import load_predictor
from analysis.predict.recommend import RecommendationRequest, recommend
from analysis.predict.steady_state import Demand
from catalog.hardware_table import gpu
from catalog.model_table import model


def main() -> None:
    started = time.perf_counter()
    predictor = load_predictor(Path(sys.argv[1]))
    print(f"load: {time.perf_counter() - started:.2f} s")
    for name, gpus in (("OLMoE-1B-7B", 2), ("Qwen3-30B-A3B", 8), ("Qwen3-235B-A22B", 64)):
        request = RecommendationRequest(model(name), gpu("H200"), gpus, Demand(1024, 512, 320, 64))
        started = time.perf_counter()
        found = recommend(request, predictor)
        took = time.perf_counter() - started
        print(f"{name} on {gpus} GPUs, {len(found.options)} layouts: {took:.3f} s")


if __name__ == "__main__":
    main()
